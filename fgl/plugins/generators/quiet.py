"""Silences diffusers beside transformers."""

from __future__ import annotations

from functools import partial

from diffusers.utils import logging

from fgl.plugins import _logging

quiet = partial(_logging.quiet, logging)
