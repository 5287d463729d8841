"""docs/plugin-list.md is made from metadata; every option of every plugin of this repository is described."""

from __future__ import annotations

import importlib.util
import sys
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from fgl.core.plugin_manager import PluginManager

ROOT = Path(__file__).parents[3]
FOLDERS = sorted(path.parent for path in (ROOT / "plugins-contrib").glob("*/pyproject.toml"))


def test_the_list_is_what_the_metadata_says():
    spec = importlib.util.spec_from_file_location("plugins_page", ROOT / "tools" / "plugins_page.py")
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    assert tool.PAGE.read_text(encoding="utf-8") == tool.page(), "run python tools/plugins_page.py"
    assert len(FOLDERS) == tool.page().count("\n| [")


@pytest.mark.parametrize("folder", [None, *FOLDERS], ids=lambda folder: "built-in" if folder is None else folder.name)
def test_every_component_has_a_summary_and_every_option_a_description(folder, monkeypatch):
    points = []
    if folder is not None:
        monkeypatch.syspath_prepend(str(folder / "src"))
        entry_points = tomllib.loads((folder / "pyproject.toml").read_text())["project"]["entry-points"]["fgl"]
        points = [EntryPoint(f"{name}-of-the-test", module, "fgl") for name, module in entry_points.items()]
    registry = PluginManager.load(points).registry
    names = {point.name for point in points}
    entries = [one for one in registry.all() if (one.builtin if folder is None else one.plugin in names)]
    assert entries or folder is not None
    for entry in entries:
        assert entry.component.summary.strip(), entry.title
        for name, info in registry.options_class(entry).model_fields.items():
            assert info.description, f"{entry.title}: {name}"
    for module in [
        name for name in sys.modules if folder is not None and name.partition(".")[0] in {p.module for p in points}
    ]:
        monkeypatch.delitem(sys.modules, module)
