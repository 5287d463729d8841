"""Which words are ordinary: used for many images, and therefore not identifying."""

from __future__ import annotations

from functools import cache, lru_cache
from pathlib import Path

_LONGEST = 80


@cache
def ordinary_words() -> frozenset[str]:
    """The list that ships with fgl, in lower case."""
    text = (Path(__file__).parent / "words.txt").read_text(encoding="utf-8")
    return frozenset(word for line in text.splitlines() if not line.startswith("#") for word in line.split())


def is_ordinary(word: str) -> bool:
    """Whether a lower-case word, an inflection of it, or each part of a compound is in the list.

    Inflections are recognized by spelling alone, so a few other words pass ("rivers" as a surname).
    """
    # a word longer than any in the list and its compounds must not fill the cache
    return len(word) <= _LONGEST and _is_ordinary(word)


@lru_cache(maxsize=100_000)
def _is_ordinary(word: str) -> bool:
    known = ordinary_words()
    parts = [part for part in word.replace("’", "'").split("-") if part]
    return bool(parts) and all(any(stem in known for stem in _stems(part)) for part in parts)


def _stems(word: str) -> set[str]:
    """`word` and the words that it may be an inflection of: "run" for "running", "bush" for "bushes"."""
    word = word.removesuffix("'s").removesuffix("'")
    stems = {word}
    for ending, others in (
        ("ies", ("y",)),
        ("es", ("",)),
        ("s", ("",)),
        ("ied", ("y",)),
        ("ed", ("", "e")),
        ("ing", ("", "e")),
        ("ier", ("y",)),
        ("er", ("", "e")),
        ("iest", ("y",)),
        ("est", ("", "e")),
        ("ily", ("y",)),
        ("ly", ("", "le")),
        ("y", ("", "e")),
        ("ish", ("", "e")),
        ("less", ("",)),
    ):
        stem = word.removesuffix(ending)
        if stem == word or len(stem) < 3:
            continue
        if ending == "es" and not stem.endswith(
            ("s", "x", "z", "ch", "sh", "o")
        ):  # "james" is not an inflection of "jam"
            continue
        stems |= {stem + other for other in others}
        if stem[-1] == stem[-2]:  # "sitting", "reddish"
            stems.add(stem[:-1])
    return stems


__all__ = ["is_ordinary", "ordinary_words"]
