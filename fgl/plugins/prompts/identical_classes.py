"""Texts that a text encoder takes for the same: CLIP's, which the built-in generators have, reads no case."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from fgl.errors import ClassListError
from fgl.text import escaped

_SHOWN = 5


def folded(text: str) -> str:
    """Equal for two texts that differ in case, in white space or in the Unicode spelling of a letter alone."""
    return " ".join(unicodedata.normalize("NFC", text).lower().split())


def check_class_names(class_names: Sequence[str]) -> None:
    """Raises ClassListError where two names would become the same prompt."""
    groups: dict[str, list[str]] = {}
    for name in class_names:
        groups.setdefault(folded(name), []).append(name)
    alike = [" and ".join(f"'{escaped(name)}'" for name in names) for names in groups.values() if len(names) > 1]
    if alike:
        raise ClassListError(
            f"classes alike: {'; '.join(alike[:_SHOWN])}{'; …' if len(alike) > _SHOWN else ''} differ in case or "
            "spaces alone, which text encoders do not read: their prompts would be the same, and so would their "
            "images. Give them different words by the dataset's option labels (docs/datasets.md), which can also make "
            "them one class"
        )


__all__ = ["check_class_names", "folded"]
