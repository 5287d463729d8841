"""Cleans text that a model wrote for use in a prompt."""

from __future__ import annotations

import re
import unicodedata

_JOINERS = "\u200c\u200d"  # invisible, but letters of some scripts and emoji are wrong without them
_EDGES = " \t,.;:!?-–—_/|\\\"'`*#()[]{}<>"
_MOST = 10_000  # characters of a text that are read: far more than `max_new_tokens` tokens
_LONGEST = 12  # words of the longest phrase whose repetition is removed

# A caption that ends in one of these was cut off in the middle of a phrase.
_DANGLING_WORDS = (
    "a an the this of in on at by for from with without into onto over under near next beside behind to and or but "
    "as than is are was were has have that which who its their his her named called while"
)
_DANGLING = frozenset(_DANGLING_WORDS.split())


def clean(text: str, max_words: int) -> str:
    """One line without control characters, repeated words or phrases, or dangling ends, of at most `max_words` words;
    "" if nothing is left."""
    text = unicodedata.normalize("NFC", text[:_MOST])
    text = "".join(char if char in _JOINERS or unicodedata.category(char)[0] != "C" else " " for char in text)
    words = _once(text.split())[:max_words]
    return trim(" ".join(words))


def trim(text: str) -> str:
    """Without punctuation that has lost its words, and without dangling words at the end."""
    text = re.sub(r"\(\s*\)|\[\s*\]|\{\s*\}|\"\s*\"", " ", text)
    text = re.sub(r"\s+([,.;:!?])", r"\1", " ".join(text.split()))
    text = re.sub(r"([,.;:!?])(?:\s*[,.;:])+", r"\1", text).strip(_EDGES)
    words = text.split()
    while words and words[-1].casefold() in _DANGLING:
        words.pop()
        while words and not words[-1].strip(_EDGES):
            words.pop()
    return " ".join(words).strip(_EDGES)


def _once(words: list[str]) -> list[str]:
    """Without adjacent repetitions, ignoring case and punctuation: "a a dog, a dog" becomes "a dog,"."""
    keys = [word.casefold().strip(_EDGES) or word for word in words]
    length = 1
    while length <= min(_LONGEST, len(words) // 2):
        is_repeated = False
        start = 0
        while start + 2 * length <= len(words):
            if keys[start : start + length] == keys[start + length : start + 2 * length]:
                del words[start + length : start + 2 * length], keys[start + length : start + 2 * length]
                is_repeated = True
            else:
                start += 1
        length = 1 if is_repeated and length > 1 else length + 1  # the rest may repeat in shorter phrases
    return words


__all__ = ["clean", "trim"]
