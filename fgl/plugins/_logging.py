"""What all families that load models share: silence while the libraries work."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from transformers.utils import logging


@contextmanager
def quiet(*more: Any) -> Iterator[None]:
    """Without the libraries' progress bars and notices, which would run into ours, or quote prompts in the log.

    more: the logging modules of libraries beside transformers."""
    libraries: tuple[Any, ...] = (logging, *more)
    before = [(library.get_verbosity(), library.is_progress_bar_enabled()) for library in libraries]
    for library in libraries:
        library.set_verbosity_error()
        library.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            # such as that a model's author should be sent a patch of its configuration
            warnings.simplefilter("ignore")
            yield
    finally:
        for library, (verbosity, bars) in zip(libraries, before, strict=True):
            library.set_verbosity(verbosity)
            if bars:
                library.enable_progress_bar()
