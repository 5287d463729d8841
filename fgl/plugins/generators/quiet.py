"""Silences diffusers beside transformers."""

from __future__ import annotations

from functools import partial

from diffusers.utils import logging

from fgl.plugins import quiet as shared

quiet = partial(shared.quiet, logging)
