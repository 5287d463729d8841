"""Silence while libraries work."""

from __future__ import annotations

import warnings

import pytest
from diffusers.utils import logging as diffusers_logging
from transformers.utils import logging as transformers_logging

from fgl.plugins._logging import quiet, quiet_diffusers


def test_libraries_are_silent_inside_and_as_before_outside() -> None:
    libraries = (transformers_logging, diffusers_logging)
    transformers_logging.enable_progress_bar()
    diffusers_logging.disable_progress_bar()
    before = [(one.get_verbosity(), one.is_progress_bar_enabled()) for one in libraries]

    def fail() -> None:
        with quiet_diffusers():
            warnings.warn("send the author a patch", FutureWarning, stacklevel=1)
            assert [one.get_verbosity() for one in libraries] == [transformers_logging.ERROR] * 2
            assert not any(one.is_progress_bar_enabled() for one in libraries)
            raise ValueError("inside")

    try:
        with warnings.catch_warnings(record=True) as heard, pytest.raises(ValueError, match="inside"):
            fail()
        assert heard == []
        assert [(one.get_verbosity(), one.is_progress_bar_enabled()) for one in libraries] == before
        with quiet():
            assert diffusers_logging.get_verbosity() == before[1][0]
    finally:
        diffusers_logging.enable_progress_bar()
