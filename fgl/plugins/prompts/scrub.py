"""Takes out of captions what could say whose pictures they are of.

A filter of words and no guarantee: it knows no names but by how they are written, and what is left still describes
the pictures. docs/prompts.md says what gets through.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Sequence

from fgl.plugins.prompts.clean import trim
from fgl.plugins.prompts.vocabulary import is_ordinary

KINDS = ("emails", "links", "handles", "numbers", "names", "rare")

_PATTERNS = {
    "emails": re.compile(r"[\w.+%-]+\s?@\s?[\w-]+(?:\s?\.\s?[\w-]+)+"),
    "links": re.compile(
        r"(?:\bhttps?\s?:\s?//|\bwww\s?\.\s?)\S+|\b(?:[\w-]+\.)+(?:com|org|net|info|edu|gov|io|co)\b\S*", re.I
    ),
    "handles": re.compile(r"(?<!\w)[@#]\s?\w[\w.]*"),
    # telephone numbers, dates and the like first, so that their signs go with them
    "numbers": re.compile(r"[+(]?\d[\d\s()./:+-]{4,}\d|(?:[#№$€£]\s?)?\b[\w.,'/-]*\d[\w'/%-]*(?:[.,:]\d+)*"),
}  # fmt: skip
_WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")
_TITLE = re.compile(r"\b(?:mr|mrs|ms|miss|mister|dr|prof|professor|sir|saint|st|president|senator|captain)\b\.?$", re.I)
_NAMED = re.compile(r"\b(?:named|called|nicknamed|name is|names are)[\s\"'“‘]*$", re.I)
_SENTENCE_END = re.compile(r"(?:^|[.!?]\s)[\s\"'“‘(]*$")

# Written with a capital in English though they name nobody.
_CAPITAL_WORDS = (
    "i monday tuesday wednesday thursday friday saturday sunday january february march april may june july august "
    "september october november december christmas easter halloween american african asian european chinese japanese "
    "indian german french english british italian spanish mexican russian dutch egyptian arctic tv suv usb led lcd dvd "
    "cd pc x-ray t-shirt north south east west"
)
_CAPITALS = frozenset(_CAPITAL_WORDS.split())
_ORPHAN = re.compile(
    r"\b(?:(?:an?|the|named|called|nicknamed|of|by|with|from)\s+)+"
    r"(?=(?:in|on|of|at|by|for|from|with|and|or|to|is|are|next|near|under|over|behind)\b|[,.;:])",
    re.I,
)
_LITTLE_WORDS = "a an the in on of at by for from with and or to is are it its his her their this that one two three"
_LITTLE = frozenset(_LITTLE_WORDS.split())
_TITLE_CASE = 0.5  # share of capitalised words inside sentences from which capitals say nothing


def scrub(
    captions: Sequence[str], kinds: Collection[str], class_names: Iterable[str], keep: Iterable[str], rare_below: int
) -> tuple[list[str], Counter[str]]:
    """(captions without what `kinds` names, how many of each kind were taken out).

    captions: one an image, of one client, because a word is rare or not among them all. kinds: of KINDS. class_names,
    keep: their words stay. rare_below: a word that is not ordinary stays from so many captions on.
    """
    kept = {word for text in (*class_names, *keep) for word in _forms(text)}
    counts: Counter[str] = Counter()
    texts = list(captions)
    for kind in (kind for kind in ("emails", "links", "handles", "numbers") if kind in kinds):
        texts = [_without(_PATTERNS[kind], text, kind, kept, counts) for text in texts]
    if "names" in kinds:
        texts = _without_names(texts, kept, counts)
    if "rare" in kinds:
        texts = _without_rare(texts, kept, rare_below, counts)
    return [old if old == text else _tidy(text) for old, text in zip(captions, texts, strict=True)], counts


def _tidy(text: str) -> str:
    """Without what words leave behind that were taken out: "with a on her wrist". Empty where no word says anything."""
    text = trim(_ORPHAN.sub("", " ".join(text.split())))
    return text if any(word.casefold() not in _LITTLE for word, _ in _words(text)) else ""


def _without(pattern: re.Pattern[str], text: str, kind: str, kept: Collection[str], counts: Counter[str]) -> str:
    def replace(found: re.Match[str]) -> str:
        if found[0].casefold().strip(" .,") in kept:
            return found[0]
        counts[kind] += 1
        return " "

    return pattern.sub(replace, text)


def _without_names(texts: Sequence[str], kept: Collection[str], counts: Counter[str]) -> list[str]:
    inside = [word[0] for text in texts for word, start in _words(text) if not _SENTENCE_END.search(text[:start])]
    told = not inside or sum(letter.isupper() for letter in inside) <= _TITLE_CASE * len(inside)
    spans = [_name_spans(text, kept, told) for text in texts]
    # What is a name in one caption is one in every other, at the beginning of a sentence or in lower case too.
    names = {
        _base(text[start:end])
        for text, found in zip(texts, spans, strict=True)
        for start, end in found
        if not is_ordinary(text[start:end].casefold())
    }
    result = []
    for text, found in zip(texts, spans, strict=True):
        again = {(start, start + len(word)) for word, start in _words(text) if _base(word) in names}
        result.append(_cut(text, sorted({*found, *again}), "names", counts))
    return result


def _name_spans(text: str, kept: Collection[str], told: bool) -> list[tuple[int, int]]:
    """Where words stand that are written as names are. told: whether capitals mean anything here."""
    spans: list[tuple[int, int]] = []
    for word, start in _words(text):
        before, span = text[:start], (start, start + len(word))
        if _base(word) in kept:
            continue
        ordinary = is_ordinary(word.casefold())
        named = word[0].isupper() and word.casefold() not in _CAPITALS
        capital = told and named and not _SENTENCE_END.search(before)
        # "a dog called rose", but "a captain standing": a title is often no more than a word
        called = _NAMED.search(before) is not None and word.casefold() not in _LITTLE
        titled = _TITLE.search(before.rstrip()) is not None and not ordinary
        # "mr john smith": a second word that is not ordinary goes with the first
        goes_on = bool(spans) and not ordinary and text[spans[-1][1] : start] == " "
        if capital or called or titled or (goes_on and _introduced(text, spans[-1][0])):
            spans.append(span)
    return spans


def _introduced(text: str, start: int) -> bool:
    return _TITLE.search(text[:start].rstrip()) is not None or _NAMED.search(text[:start]) is not None


def _without_rare(texts: Sequence[str], kept: Collection[str], below: int, counts: Counter[str]) -> list[str]:
    said = Counter(word for text in texts for word in {_base(word) for word, _ in _words(text)})

    def rare(word: str) -> bool:
        if said[_base(word)] >= below or _base(word) in kept:
            return False
        return not is_ordinary(word.casefold()) and word.casefold() not in _CAPITALS

    return [
        _cut(text, [(start, start + len(word)) for word, start in _words(text) if rare(word)], "rare", counts)
        for text in texts
    ]


def _cut(text: str, spans: Iterable[tuple[int, int]], kind: str, counts: Counter[str]) -> str:
    parts, last = [], 0
    for start, end in spans:
        parts.append(text[last:start])
        last = end
        counts[kind] += 1
    return " ".join([*parts, text[last:]]) if parts else text


def _words(text: str) -> list[tuple[str, int]]:
    return [(found[0], found.start()) for found in _WORD.finditer(text)]


def _base(word: str) -> str:
    word = word.casefold().replace("’", "'").removesuffix("'s")
    # Singular and plural are one word. What this makes of "glass" is no word, but the same one every time.
    return word[:-1] if len(word) > 3 and word.endswith("s") else word


def _forms(text: str) -> set[str]:
    """Words of a class name as `_base` has them, and its numbers."""
    return {_base(word) for word, _ in _words(text)} | set(text.casefold().split())


__all__ = ["KINDS", "scrub"]
