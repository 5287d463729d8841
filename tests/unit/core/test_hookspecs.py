"""Every hook, by reflection: it is called with what it says, and docs/plugins.md has its signature."""

from __future__ import annotations

import inspect
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from fgl.cli import build
from fgl.contracts.component import FAMILIES
from fgl.contracts.events import StageContext
from fgl.core import hookspecs
from fgl.core.config.resolve import resolve
from fgl.core.events import Events
from fgl.core.plugin_manager import PluginManager
from fgl.core.store.run_dir import RunDir
from tests.helpers.installed import install

PAGE = (Path(__file__).parents[3] / "docs" / "plugins.md").read_text(encoding="utf-8")
SPECS = {name: value for name, value in vars(hookspecs).items() if hasattr(value, f"{hookspecs.PROJECT}_spec")}
CONTEXT = StageContext("run", "clients")
ROUND = {"round": 1, "clients": [], "dropped": [], "failed": {}}
HAPPENINGS: dict[str, tuple[str, tuple[Any, ...]]] = {
    "fgl_run_started": ("run_started", ()),
    "fgl_run_finished": ("run_finished", ({"schema_version": 1},)),
    "fgl_stage_started": ("stage_started", (CONTEXT,)),
    "fgl_stage_finished": ("stage_finished", (CONTEXT,)),
    "fgl_epoch_finished": ("epoch_finished", (CONTEXT, {"epoch": 1.0, "loss": 0.5})),
    "fgl_round_finished": ("round_finished", (CONTEXT, ROUND)),
    "fgl_run_failed": ("stage_failed", (CONTEXT, ValueError("x"))),
    "fgl_upload_accepted": ("upload_accepted", (CONTEXT, "client-0", "0" * 64, 10)),
    "fgl_upload_refused": ("upload_refused", (CONTEXT, "client-0", "shape", "refused: x")),
    "fgl_client_forgotten": ("client_forgotten", (CONTEXT, "client-0")),
}
"""Hook → the method of `Events` that calls it, and what happened."""


def parameters(name: str) -> list[str]:
    return list(inspect.signature(SPECS[name]).parameters)


def test_each_hook_registers_a_family_adds_commands_or_hears_of_a_run() -> None:
    assert set(SPECS) == {*FAMILIES.values(), *HAPPENINGS, "fgl_register_commands"}


@pytest.mark.parametrize("name", SPECS)
def test_the_page_has_the_signature_of_each_hook_and_the_hook_says_what_it_is_for(name: str) -> None:
    (shown,) = re.findall(rf"^\| `{name}\(([^)]*)\)` \|", PAGE, flags=re.MULTILINE)
    assert [word.strip() for word in shown.split(",") if word] == parameters(name)
    assert SPECS[name].__doc__
    assert all(
        parameter.annotation is not parameter.empty for parameter in inspect.signature(SPECS[name]).parameters.values()
    )


@pytest.mark.parametrize("name", HAPPENINGS)
def test_a_hook_of_a_run_is_called_with_all_that_it_says(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ", ".join(parameters(name))
    source = f"from fgl import hookimpl\nheard = []\n@hookimpl\ndef {name}({words}):\n    heard.append(({words},))\n"
    install(monkeypatch, tmp_path / "plugin", f"fgl_hears_{name}", source, "hears")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    manager = PluginManager.load()
    config = resolve([{"seed": 3}], manager.registry)
    method, arguments = HAPPENINGS[name]
    getattr(Events(manager, RunDir(tmp_path / "run"), config), method)(*arguments)
    (heard,) = sys.modules[f"fgl_hears_{name}"].heard
    given = dict(zip(parameters(name), heard, strict=True))
    assert given["context"].run_dir.endswith("run")
    if "run" in method:
        assert (given["context"].seed, given["context"].config["seed"]) == (3, 3)
    else:
        assert heard == arguments
    assert manager.hooks_of("hears") == [name]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_registering_hook_makes_its_component_known(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = (
        "from fgl import Component, hookimpl\n@hookimpl\n"
        f"def {FAMILIES[family]}(): return [Component('mine', 'nowhere:Mine', summary='what it is')]\n"
    )
    install(monkeypatch, tmp_path / "plugin", f"fgl_registers_{family}", source, "registers")
    entry = PluginManager.load().registry.find(family, "mine")
    assert (entry.plugin, entry.distribution, entry.builtin) == ("registers", "fgl-registers", False)


def test_the_hook_of_commands_adds_them_below_the_plugins_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = (
        "from fgl import hookimpl\n@hookimpl\ndef fgl_register_commands(app):\n"
        "    @app.command()\n    def hello(): print('hello')\n"
    )
    install(monkeypatch, tmp_path / "plugin", "fgl_commanding", source, "commanding")
    app = build(PluginManager.load())
    assert "commanding" in {group.name for group in app.registered_groups}
