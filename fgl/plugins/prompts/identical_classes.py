"""Class names that a text encoder cannot distinguish: CLIP's, which the built-in generators use, ignores case."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from fgl.errors import ClassListError
from fgl.text import escaped

_SHOWN = 5


def folded(text: str) -> str:
    """Equal for two texts that differ only in case, white space or the Unicode spelling of a letter."""
    return " ".join(unicodedata.normalize("NFC", text).lower().split())


def check_class_names(class_names: Sequence[str]) -> None:
    """Raise ClassListError if two names would yield the same prompt."""
    groups: dict[str, list[str]] = {}
    for name in class_names:
        groups.setdefault(folded(name), []).append(name)
    alike = [" and ".join(f"'{escaped(name)}'" for name in names) for names in groups.values() if len(names) > 1]
    if alike:
        raise ClassListError(
            f"classes alike: {'; '.join(alike[:_SHOWN])}{'; …' if len(alike) > _SHOWN else ''} differ only in "
            "case or spaces, which text encoders ignore: their prompts would be the same, and so would their "
            "images. Give them different words with the dataset's option prompt_names, or make them one class with "
            "its option labels (docs/datasets.md)"
        )


__all__ = ["check_class_names", "folded"]
