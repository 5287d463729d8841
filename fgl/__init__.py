"""fgl: federated generative learning as a plugin framework.

Clients turn labelled images into prompt embeddings and upload only those; a server synthesizes a labelled training
set from them with a diffusion model and trains a classifier on it. `fgl.run(config)` is the whole method, and there are
functions for the other commands (`fgl.api`); plugins add to it through `fgl.hookimpl` and `fgl.Component`.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if os.name != "posix":  # locks, atomic renames and modes of files are POSIX's
    raise ImportError(f"fgl runs on POSIX systems (Linux, macOS, WSL), and this is {os.name!r}")

from fgl import _environment
from fgl.contracts.component import Component
from fgl.core.hookspecs import hookimpl
from fgl.errors import FGLError

if TYPE_CHECKING:
    from fgl.api import audit, compare, partition, probe, quality, resume, run
    from fgl.contracts.options import Options
    from fgl.plugins.datasets.decode import load_image

__version__ = "0.1.0"
__all__ = [
    "Component",
    "FGLError",
    "Options",
    "__version__",
    "audit",
    "compare",
    "hookimpl",
    "load_image",
    "partition",
    "probe",
    "quality",
    "resume",
    "run",
]

_environment.mend()

# What costs time to import is imported when it is asked for, so that `import fgl` stays light.
_API = ("audit", "compare", "partition", "probe", "quality", "resume", "run")
_LAZY = {
    "Options": "fgl.contracts.options",
    "load_image": "fgl.plugins.datasets.decode",
    **dict.fromkeys(_API, "fgl.api"),
}


if not TYPE_CHECKING:  # else mypy takes any name for one that is there

    def __getattr__(name: str) -> Any:
        if name in _LAZY:
            from importlib import import_module

            return getattr(import_module(_LAZY[name]), name)
        raise AttributeError(f"module 'fgl' has no attribute {name!r}")
