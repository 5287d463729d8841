"""Write docs/plugin-list.md, the plugins of this repository, from their metadata: `python tools/plugins_page.py`."""

from __future__ import annotations

import sys
import tomllib
from importlib import import_module
from pathlib import Path
from typing import Any

from fgl.contracts.component import FAMILIES, SELECTED_BY
from fgl.text import markdown_cell

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "plugin-list.md"
HEAD = """\
# The plugins of this repository

Made from their metadata by `python tools/plugins_page.py`. Each is a distribution of its own that uses only the public
interface ([plugins.md](plugins.md)), lies in `plugins-contrib/`, and is installed by
`fgl plugins install ./plugins-contrib/NAME`. `fgl plugins show COMPONENT` then prints its options.

| distribution | what it is | adds | selected by |
|---|---|---|---|
"""


def page() -> str:
    rows = [
        row(folder) for folder in sorted((ROOT / "plugins-contrib").iterdir()) if (folder / "pyproject.toml").exists()
    ]
    return HEAD + "".join(f"{row}\n" for row in rows)


def row(folder: Path) -> str:
    project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    adds, keys = [], []
    for plugin, module in project["entry-points"]["fgl"].items():
        registered = _imported(folder, module)
        for family, hook in FAMILIES.items():
            for component in getattr(registered, hook, list)():
                adds.append(f"{family.replace('_', ' ')} `{component.name}`")
                keys.append(f"`{SELECTED_BY.get(family, family)}`")
        if hasattr(registered, "fgl_register_commands"):
            adds.append(f"commands `fgl {plugin} …`")
    place = f"../plugins-contrib/{folder.name}/README.md"
    link = f"[{project['name']}]({place}) {project['version']}"
    return (
        f"| {link} | {markdown_cell(project['description'])} | {', '.join(adds)} | {', '.join(dict.fromkeys(keys))} |"
    )


def _imported(folder: Path, module: str) -> Any:
    """The module that registers; it is light, so nothing else of the plugin is imported."""
    sys.path.insert(0, str(folder / "src"))
    try:
        return import_module(module)
    finally:
        sys.path.remove(str(folder / "src"))


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
