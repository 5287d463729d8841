"""Help and lists must come at once, so what they import is held here."""

from __future__ import annotations

import ast
import importlib
import json
import pkgutil
import subprocess
import sys
import typing
from pathlib import Path

import numpy as np
import pytest

import fgl
import fgl.contracts.arrays

# pydantic is not among them: typer imports it by itself where it is installed.
HEAVY = (
    "torch",
    "diffusers",
    "transformers",
    "datasets",
    "huggingface_hub",
    "numpy",
    "pyarrow",
    "PIL",
    "skimage",
    "scipy",
    "yaml",
    "safetensors",
    "torchmetrics",
    "accelerate",
    "rich.progress",
    "matplotlib",
)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["run", "--help"],
        ["probe", "--help"],
        ["quality", "--help"],
        ["audit", "--help"],
        ["plugins", "list"],
        ["plugins", "--help"],
        ["models", "--help"],
        ["--version"],
        ["presets", "--help"],
        ["datasets", "check", "--help"],
        ["partition", "--help"],
    ],
    ids=" ".join,
)
def test_help_and_lists_import_nothing_heavy(arguments: list[str]) -> None:
    source = f"""
import json, sys
sys.argv = ["fgl", *{arguments!r}]
from fgl.cli import main
try:
    main()
except SystemExit as stop:
    assert not stop.code, stop.code
print("\\n" + json.dumps([name for name in {HEAVY!r} if name in sys.modules]))
"""
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.splitlines()[-1]) == []


def test_import_fgl_is_light_and_its_public_names_are_there() -> None:
    source = f"""
import json, sys, fgl
heavy = [name for name in {HEAVY!r} if name in sys.modules]
assert sorted(fgl.__all__) == fgl.__all__
print(json.dumps([heavy, [name for name in fgl.__all__ if not hasattr(fgl, name)]]))
"""
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [[], []]


def test_the_public_names_are_the_same_to_mypy_to_python_and_to_a_star() -> None:
    tree = ast.parse(Path(fgl.__file__).read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    typed = {
        (alias.name, node.module) for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    assert typed == set(fgl._LAZY.items())
    assert {*fgl._LAZY, "Component", "FGLError", "__version__", "hookimpl"} == set(fgl.__all__)
    assert set(fgl.__all__) <= set(dir(fgl))


def test_all_that_a_contract_or_an_author_names_comes_from_the_top() -> None:
    for module in pkgutil.iter_modules(fgl.contracts.__path__):
        found = vars(importlib.import_module(f"fgl.contracts.{module.name}"))
        classes = {name for name, value in found.items() if isinstance(value, type) and name[0].isupper()}
        own = {name for name in classes if found[name].__module__ == f"fgl.contracts.{module.name}"}
        assert own <= {*fgl.__all__, "Announcing"}, module.name  # the last is for progress of the command line


def test_arrays_have_names_at_run_time() -> None:
    from fgl import Array, Labels, Pixels, Prompt

    assert np.uint8 in typing.get_args(Pixels)[1].__args__
    assert typing.get_origin(Array) is typing.get_origin(Labels) is np.ndarray
    assert typing.get_type_hints(Prompt)["class_id"] is int
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        fgl.contracts.arrays.Nothing  # noqa: B018


def test_config_show_does_without_torch() -> None:
    source = """
import sys
sys.argv = ["fgl", "config", "show"]
from fgl.cli import main
try:
    main()
except SystemExit as stop:
    assert not stop.code
assert not {"torch", "diffusers", "transformers", "datasets"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", source], capture_output=True, check=True)


def test_presets_are_listed_and_partitions_counted_without_torch_and_matplotlib() -> None:
    for arguments in (["presets", "list"], ["partition", "--quiet"]):
        source = f"""
import sys
sys.argv = ["fgl", *{arguments!r}]
from fgl.cli import main
try:
    main()
except SystemExit as stop:
    assert not stop.code
assert not {{"torch", "diffusers", "transformers", "datasets", "matplotlib"}} & set(sys.modules)
"""
        subprocess.run([sys.executable, "-c", source], capture_output=True, check=True)
