"""Help and lists must come at once, so what they import is held here."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

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
