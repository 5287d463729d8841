"""Who looks for the tests of a module finds them in the folder of the same name, and no source file grows too long."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PROJECT = Path("project")
"""Tests of the project as a whole: documents, dependencies, import times, this layout."""
TESTS = sorted(path.relative_to(ROOT / "tests" / "unit") for path in (ROOT / "tests" / "unit").rglob("test_*.py"))


@pytest.mark.parametrize("path", TESTS, ids=str)
def test_a_unit_test_lies_in_the_folder_of_what_it_tests(path):
    assert path.parent == PROJECT or (ROOT / "fgl" / path.parent).is_dir()


def test_a_test_beside_the_packages_is_of_a_module_beside_them():
    for path in (path for path in TESTS if path.parent == Path()):
        name = path.stem.removeprefix("test_")
        assert any((ROOT / "fgl" / f"{module}.py").is_file() for module in (name, f"_{name}")), path


MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in (ROOT / "fgl").rglob("*.py")
}
LONGEST = 400


def test_no_file_is_longer_than_can_be_read_at_once():
    lengths = {name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in MODULES.items()}
    assert {name: length for name, length in lengths.items() if length > LONGEST} == {}


def _imported(path: Path) -> set[str]:
    """Modules of fgl that a module imports, wherever it does, also where only types are checked."""
    imported = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                imported.add(full if full in MODULES else node.module)
        elif isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
    return imported & set(MODULES)


def test_no_module_imports_itself_in_a_circle():
    # the top package names all that it gives on request, and imports none of it before
    graph = {name: _imported(path) - {"fgl"} for name, path in MODULES.items() if name != "fgl"}
    tuple(TopologicalSorter(graph).static_order())
