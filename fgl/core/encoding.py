"""Prompts → arrays, with one warning where the text encoder cuts prompts off, and one of words that it cannot know."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from fgl.contracts.prompts import Prompt
from fgl.core.registry import changed
from fgl.errors import BrokenPluginError
from fgl.text import counted, escaped

if TYPE_CHECKING:
    from fgl.contracts.arrays import Array
    from fgl.contracts.dataset import DatasetInfo
    from fgl.contracts.generator import Encoder


log = logging.getLogger(__name__)
_SHOWN = 60  # characters of a prompt that a warning quotes
_NAMES = 5  # class names that a warning quotes
# What a text encoder has never read in a caption: ids, numbers, joined words, and letters that no word is made of.
_CODE = (
    re.compile(r"n\d{8}"),
    re.compile(r"[\d\W_]+"),
    re.compile(r"(?:class|label|cls|category|cat|c|id)[\s_-]?\d+", re.I),
    re.compile(r"\w*[a-z][A-Z]\w*"),
    re.compile(r"[A-Z]{1,4}\d*"),
    re.compile(r"\w+_\w+"),
    re.compile(r"(?!ox\b)[A-Za-z]{1,2}"),
    re.compile(r"[b-df-hj-np-tv-xz]{2,6}\d*", re.I),
)


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


def is_doubtful_name(name: str) -> bool:
    """Whether a class name looks like an abbreviation, a number or joined words, and not like words of a caption."""
    return any(code.fullmatch(name) for code in _CODE)


def doubtful_names(info: DatasetInfo) -> str:
    """A warning where prompts would call classes by names that a text encoder is unlikely to know; "" elsewhere."""
    names = [name for name in info.names_in_prompts if is_doubtful_name(name)]
    if not names:
        return ""
    listed = ", ".join(f"'{escaped(name)}'" for name in names[:_NAMES]) + (", …" if len(names) > _NAMES else "")
    look = "looks" if len(names) == 1 else "look"
    return (
        f"{counted(len(names), 'class name')} ({listed}) {look} like an abbreviation, a number or joined words: class "
        "names go into prompts as they are, and a generator knows ordinary words; say what prompts call them with "
        "dataset.prompt_names, such as {RBC: red blood cell} (docs/datasets.md)"
    )


class _AsInfo(logging.Filter):
    """Makes information of warnings."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno == logging.WARNING:
            record.levelno, record.levelname = logging.INFO, "INFO"
        return record.levelno > logging.INFO or logging.getLogger(record.name).isEnabledFor(logging.INFO)
