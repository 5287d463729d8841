"""Who looks for the tests of a module finds them in the folder of the same name, and no source file grows too long."""

from __future__ import annotations

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
