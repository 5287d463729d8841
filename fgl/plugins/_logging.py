"""Silence while the libraries that load models work."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from transformers.utils import logging


@contextmanager
def quiet(*more: Any) -> Iterator[None]:
    """Turn off the libraries' progress bars and notices, which would mix with ours, or quote prompts in the log.

    more: the logging modules of libraries other than transformers.
    """
    libraries: tuple[Any, ...] = (logging, *more)
    before = [(library.get_verbosity(), library.is_progress_bar_enabled()) for library in libraries]
    for library in libraries:
        library.set_verbosity_error()
        library.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            # such as advice to send a model's author a patch of its configuration
            warnings.simplefilter("ignore")
            yield
    finally:
        for library, (verbosity, bars) in zip(libraries, before, strict=True):
            library.set_verbosity(verbosity)
            if bars:
                library.enable_progress_bar()


def quiet_diffusers() -> AbstractContextManager[None]:
    """As `quiet`, for diffusers too, which is imported if it has not been."""
    from diffusers.utils import logging as diffusers_logging

    return quiet(diffusers_logging)
