"""Plugins as pip installs them: a module, and the metadata of its distribution beside it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest


def install(
    monkeypatch: pytest.MonkeyPatch, folder: Path, module: str, source: str, name: str, version: str = "0.1.0"
) -> None:
    """The distribution fgl-NAME, whose plugin NAME is `module`, until the test is over."""
    folder.mkdir(exist_ok=True)
    (folder / f"{module}.py").write_text(source, encoding="utf-8")
    info = folder / f"fgl_{name}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: fgl-{name}\nVersion: {version}\n", encoding="utf-8")
    (info / "entry_points.txt").write_text(f"[fgl]\n{name} = {module}\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(folder))
    # what is imported in the test is forgotten with it: setitem notes that nothing was there before
    monkeypatch.setitem(sys.modules, module, sys)
    del sys.modules[module]
