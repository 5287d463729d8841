"""What is installed is what was tested: the lock, the tested versions and the package's own metadata agree."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[3]
LOCK = (ROOT / "requirements.lock").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PINS = [Requirement(line.rstrip(" \\")) for line in LOCK.splitlines() if re.match(r"[A-Za-z0-9]", line)]


def _locked(name: str) -> list[Version]:
    """Versions of a package in the lock: one, or one for each range of Python."""
    pins = [pin for pin in PINS if canonicalize_name(pin.name) == canonicalize_name(name)]
    return [Version(next(iter(pin.specifier)).version) for pin in pins]


def _asked() -> list[Requirement]:
    extras = PROJECT["optional-dependencies"].values()
    return [Requirement(text) for text in [*PROJECT["dependencies"], *(text for extra in extras for text in extra)]]


def test_every_requirement_of_the_package_is_locked_to_a_version_that_it_allows() -> None:
    for asked in _asked():
        locked = _locked(asked.name)
        assert locked, f"{asked.name} is not in requirements.lock: run tools/lock.py"
        assert all(asked.specifier.contains(one) for one in locked), asked.name


def test_every_tested_version_is_the_locked_one() -> None:
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            asked = Requirement(line)
            assert _locked(asked.name), asked.name
            assert all(asked.specifier.contains(one) for one in _locked(asked.name)), asked.name


def test_every_pin_has_hashes_and_no_address() -> None:
    blocks = re.split(r"\n(?=[A-Za-z0-9])", LOCK.split("requirements.lock\n", 1)[1])
    assert len(blocks) == len(PINS)
    for block in blocks:
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", block), block.splitlines()[0]
    assert "://" not in LOCK


def test_what_is_installed_here_is_what_is_locked() -> None:
    for name in ("numpy", "transformers", "diffusers", "huggingface-hub", "pydantic"):
        assert Version(version(name)) in _locked(name), f"{name}: the environment was not made by `make`"


def test_a_system_that_is_not_posix_is_named_at_the_first_import() -> None:
    code = "import os; import numpy; os.name = 'nt'\nimport fgl"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 1
    assert "ImportError: fgl runs on POSIX systems" in done.stderr


@pytest.mark.parametrize("target", ["package", "sbom", "advisories"])
def test_the_targets_that_the_contributors_page_names_are_there(target: str) -> None:
    assert f"\n{target}:" in (ROOT / "Makefile").read_text()
    assert f"make {target}" in (ROOT / "CONTRIBUTING.md").read_text()
