"""The place of this in fgl 0.1: every name is in `fgl.text` now."""

from __future__ import annotations

from fgl.core._moved import moved, names

_NAMES = (
    "plain counted line lines markdown fenced html quoted without_secrets first_line kind_and_line escaped is_unseen"
)
__getattr__, __dir__ = moved(__name__, names("fgl.text", _NAMES))
