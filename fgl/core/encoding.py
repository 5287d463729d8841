"""Prompts → arrays, with one warning where the text encoder cuts prompts off."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from fgl.contracts.prompts import Prompt
from fgl.core.registry import changed
from fgl.errors import BrokenPluginError

if TYPE_CHECKING:
    from fgl.contracts.arrays import Array
    from fgl.contracts.generator import Encoder


log = logging.getLogger(__name__)
_SHOWN = 60  # characters of a prompt that a warning quotes


def encode_once_warned(encoder: Encoder, prompts: Sequence[Prompt]) -> tuple[Mapping[str, Array], Mapping[str, Array]]:
    """`encoder.encode`, where `warn_of_cuts` will say, or has said, what is cut: an encoder may warn with every call,
    and cannot say whose prompts they are."""
    if not truncated(encoder, prompts):
        return encoder.encode(prompts)
    its_log, filter_ = logging.getLogger(type(encoder).__module__), _AsInfo()
    its_log.addFilter(filter_)
    try:
        return encoder.encode(prompts)
    finally:
        its_log.removeFilter(filter_)


def warn_of_cuts(
    encoder: Encoder, prompts: Sequence[Prompt], whose: str, class_names: Sequence[str], quote: bool
) -> int:
    """How many of the prompts the encoder cuts; a warning says so once, with one of them. whose: for the warning.
    quote: whether it may say what the prompt is."""
    count = truncated(encoder, prompts)
    if count:
        low, high = 0, len(prompts)
        while high - low > 1:  # halved, so that each prompt is looked at twice at most
            middle = (low + high) // 2
            low, high = (low, middle) if truncated(encoder, prompts[low:middle]) else (middle, high)
        example = prompts[low]
        text = example.text if len(example.text) <= _SHOWN else f"{example.text[:_SHOWN]}…"
        said = f" ({text!r})" if quote else ""
        log.warning(
            "%s: %d of %d prompts are longer than the text encoder takes, and their ends are cut, such as one of class "
            "%r%s: put what matters first, shorten them by the prompt strategy's options (docs/prompts.md, Length), or "
            "choose a generator that reads more",
            whose,
            count,
            len(prompts),
            class_names[example.class_id],
            said,
        )
    return count


def truncated(encoder: Encoder, prompts: Sequence[Prompt]) -> int:
    """`encoder.truncated`. Raises BrokenPluginError for an encoder of a plugin from before there was such a method."""
    if not hasattr(encoder, "truncated"):
        name = f"{type(encoder).__module__}.{type(encoder).__qualname__}"
        raise BrokenPluginError(f"{name} has no method truncated: {changed('generator', 1)}")
    return encoder.truncated(prompts)


class _AsInfo(logging.Filter):
    """Makes information of warnings."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno == logging.WARNING:
            record.levelno, record.levelname = logging.INFO, "INFO"
        return record.levelno > logging.INFO or logging.getLogger(record.name).isEnabledFor(logging.INFO)
