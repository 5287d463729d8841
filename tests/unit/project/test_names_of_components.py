"""The core and the commands know no component by name, outside of the table of what is chosen by default."""

from __future__ import annotations

import ast
from pathlib import Path

from fgl.core.plugin_manager import PluginManager

ROOT = Path(__file__).parents[3] / "fgl"
TABLE = "core/config/defaults.py"
FILES = [
    path
    for path in (ROOT / "api.py", ROOT / "cli.py", *(ROOT / "core").rglob("*.py"), *(ROOT / "commands").rglob("*.py"))
    if path.parent.name != "_templates"  # what an author's plugin begins as, which no command imports
]

WORDS = {
    "fgl": "the program, its package and its plugin group; in a comparison, the run of the configuration itself",
    "fgl-rounds": "in an audit, the model after the rounds of the run",
    "domain": "a column of uploads and plans, and a word of tables",
    "int8": "a dtype of tensors",
    "local": "a baseline, a part of the rounds' options, and a column of their history",
    "fedavg": "a baseline: the row that compares with one round of FedAvg",
    "median": "a quantile of distances",
    "parquet": "the suffix of a shard's file",
    "pixels": "a field of ImageBatch",
    "transformers": "a library, whose version a run keeps",
    "trained": "a key of what rounds and shadow models keep",
}
"""Names of components that are words of the core's own too, and what they mean there."""


def named() -> dict[str, set[str]]:
    """Name of a component → files with that text in them, the table left out."""
    registry = PluginManager.load().registry
    names = {entry.component.name for entry in registry.all() if entry.distribution == "fgl"}
    found: dict[str, set[str]] = {}
    for file in FILES:
        path = file.relative_to(ROOT).as_posix()
        tree = ast.parse(file.read_text(encoding="utf-8"))
        texts = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)]
        for text in texts:
            if isinstance(text, str) and path != TABLE:
                for name in {text, text.partition(":")[0]} & names:
                    found.setdefault(name, set()).add(path)
    return found


def test_no_component_is_named_outside_of_the_table_of_defaults() -> None:
    found = named()
    assert {name: files for name, files in found.items() if name not in WORDS} == {}


def test_every_word_that_is_allowed_is_used() -> None:
    assert set(WORDS) <= set(named())
