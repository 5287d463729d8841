"""The place of this in fgl 0.1: every name is in `fgl` now, or in `fgl.contracts`."""

from __future__ import annotations

from fgl.core._moved import moved, names

__getattr__, __dir__ = moved(
    __name__,
    {
        **names("fgl.contracts.options", "is_revision Revision Options"),
    },
)
