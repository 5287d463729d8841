"""The place of this in fgl 0.1: what a transport to other machines needs is in `fgl.core.client.policy` now."""

from __future__ import annotations

from fgl.core._moved import moved, names

__getattr__, __dir__ = moved(__name__, names("fgl.core.client.policy", "Policy at_site split"))
