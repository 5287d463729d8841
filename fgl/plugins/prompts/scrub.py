"""Removes from captions what could identify people.

It filters words and guarantees nothing: it recognizes names only by how they are written, and what is left still
describes the images. docs/prompts.md says what gets through.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Sequence

from fgl.plugins.prompts.clean import trim
from fgl.plugins.prompts.vocabulary import is_ordinary

KINDS = ("emails", "links", "handles", "numbers", "names", "rare")

# Each matches only from the beginning of a run of its characters, not inside it: a word of a million letters is read
# once, not from each of its letters on.
_PATTERNS = {
    "emails": re.compile(r"(?<![\w.+%-])[\w.+%-]+\s?@\s?[\w-]+(?:\s?[.。]\s?[\w-]+)+"),
    "links": re.compile(
        r"(?:\bhttps?\s?:\s?//|\bwww\s?\.\s?)\S+"
        r"|(?<![\w-])(?<![\w-][.。])(?:[\w-]+[.。])+(?:com|org|net|info|edu|gov|io|co)\b\S*",
        re.I,
    ),
    "handles": re.compile(r"(?<!\w)[@#]\s?\w[\w.]*"),
    # telephone numbers, dates and the like first, so that their punctuation goes with them
    "numbers": re.compile(
        r"[+(]?\d[\d\s()./:+-]{4,}\d|(?:[#№$€£]\s?)?(?<![\w.,'/-])[\w.,'/-]*\d[\w'/%-]*(?:[.,:]\d+)*"
    ),
}
_WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")
_NAMED = re.compile(r"\b(?:named|called|nicknamed|name is|names are)[\s\"'“‘]*$", re.I)
# A title that is an ordinary word says little ("a captain standing on a ship"). What follows an abbreviated title is a
# name, even if it is an ordinary word ("dr. house"), and the title itself does not describe the image.
_WORD_TITLE = re.compile(
    r"\b(?:miss|mister|professor|sir|saint|st|president|senator|captain|doctor|judge|officer|sergeant)\b\.?\s*$", re.I
)
_TITLES = "mr|mrs|ms|mx|dr|prof|messrs|mme|mlle"
_DOTTED_TITLES = "rev|sgt|lt|capt|col|gen|gov|sen|hon|fr"
_TITLE = re.compile(rf"(?:\b(?:(?:{_TITLES})\b\.?|(?:{_DOTTED_TITLES})\.)\s*(?:(?:and|&)\s+)?)+$", re.I)
_TITLE_WORDS = frozenset(f"{_TITLES}|{_DOTTED_TITLES}".split("|"))
_SENTENCE_END = re.compile(r"(?:^|[.!?]\s)[\s\"'“‘(]*$")
# Periods that do not end a sentence: "Dr. House", "John F. Kennedy".
_ABBREVIATION = re.compile(rf"\b(?:{_TITLES}|{_DOTTED_TITLES}|st|jr|sr|vs|[^\W\d_])\.\s[\s\"'“‘(]*$", re.I)
_LOOK_BACK = 64
"""Characters before a word that are used to classify it."""
# Marks on letters and joiners between letters, invisible or nearly so, which would hide a word from the patterns.
_DECORATION = re.compile("(?<=[!-~])[\u0300-\u036f\u200c\u200d\u20d0-\u20ff\ufe00-\ufe0f]+")

# Capitalized in English, although they name nobody.
_CAPITAL_WORDS = (
    "i monday tuesday wednesday thursday friday saturday sunday january february march april may june july august "
    "september october november december christmas easter halloween american african asian european chinese japanese "
    "indian german french english british italian spanish mexican russian dutch egyptian arctic tv suv usb led lcd dvd "
    "cd pc x-ray t-shirt north south east west"
)
_CAPITALS = frozenset(_CAPITAL_WORDS.split())
_ORPHAN = re.compile(
    r"\b(?:(?:an?|the|named|called|nicknamed|of|by|with|from)\s+){1,8}"
    r"(?=(?:in|on|of|at|by|for|from|with|and|or|to|is|are|next|near|under|over|behind)\b|[,.;:])",
    re.I,
)
_LITTLE_WORDS = "a an the in on of at by for from with and or to is are it its his her their this that one two three"
_LITTLE = frozenset(_LITTLE_WORDS.split())
_TITLE_CASE = 0.5  # share of capitalized words inside sentences above which capitals mean nothing


def scrub(
    captions: Sequence[str], kinds: Collection[str], class_names: Iterable[str], keep: Iterable[str], rare_below: int
) -> tuple[list[str], Counter[str]]:
    """Remove words from captions.

    Args:
        captions: All captions of one client, one for each image: rarity is judged among them.
        kinds: What to remove, of KINDS.
        class_names: Their words stay.
        keep: These words stay too.
        rare_below: A word that is not ordinary stays if at least this many captions have it.

    Returns: (the captions, how many words of each kind were removed).
    """
    kept = {word for text in (*class_names, *keep) for word in _forms(_folded(text))}
    counts: Counter[str] = Counter()
    folded = texts = [_folded(text) for text in captions]
    for kind in (kind for kind in ("emails", "links", "handles", "numbers") if kind in kinds):
        texts = [_without(_PATTERNS[kind], text, kind, kept, counts) for text in texts]
    if "names" in kinds:
        texts = _without_names(texts, kept, counts)
    if "rare" in kinds:
        texts = _without_rare(texts, kept, rare_below, counts)
    # a caption from which nothing was removed stays as it was written
    return [
        old if before == text else _tidy(text) for old, before, text in zip(captions, folded, texts, strict=True)
    ], counts


def _folded(text: str) -> str:
    """`text` with look-alike characters replaced by plain ones, so that "ｊａｎｅ＠ｄｅ．ｏｒｇ" and "①②③" match."""
    if text.isascii():
        return text
    text = _DECORATION.sub("", unicodedata.normalize("NFKC", text))
    return "".join(_digits(char) if unicodedata.category(char) in ("No", "Nl") else char for char in text)


def _digits(char: str) -> str:
    """A number character, such as a negative circled one, in digits."""
    return f"{unicodedata.numeric(char, 0):g}"


def _tidy(text: str) -> str:
    """Without the remains of removed words: "with a on her wrist". "" if only function words are left."""
    text = trim(_ORPHAN.sub("", " ".join(text.split())))
    return text if any(word.casefold() not in _LITTLE for word, _ in _words(text)) else ""


def _without(pattern: re.Pattern[str], text: str, kind: str, kept: Collection[str], counts: Counter[str]) -> str:
    def replace(match: re.Match[str]) -> str:
        if match[0].casefold().strip(" .,") in kept:
            return match[0]
        counts[kind] += 1
        return " "

    return pattern.sub(replace, text)


def _without_names(texts: Sequence[str], kept: Collection[str], counts: Counter[str]) -> list[str]:
    inside = [word[0] for text in texts for word, start in _words(text) if not _begins_sentence(text, start)]
    capitals_count = not inside or sum(letter.isupper() for letter in inside) <= _TITLE_CASE * len(inside)
    spans = [_name_spans(text, kept, capitals_count) for text in texts]
    # A name in one caption is a name in all others, also at the beginning of a sentence or in lower case.
    names = {
        _base(text[start:end])
        for text, name_spans in zip(texts, spans, strict=True)
        for start, (_, end) in name_spans.items()
        if end - start > 2 and not is_ordinary(text[start:end].casefold())  # an initial means nothing elsewhere
    }
    result = []
    for text, name_spans in zip(texts, spans, strict=True):
        again = {start: (start, start + len(word)) for word, start in _words(text) if _base(word) in names}
        result.append(_cut(text, sorted({**again, **name_spans}.values()), "names", counts))
    return result


def _name_spans(text: str, kept: Collection[str], capitals_count: bool) -> dict[int, tuple[int, int]]:
    """Position of a word that is written like a name → the span to cut.

    The span covers the word, an abbreviated title before it, and the period of an initial. capitals_count: whether
    capitals mean anything in these captions.
    """
    spans: dict[int, tuple[int, int]] = {}
    last = -1  # end of the last introduced name, however long
    for word, start in _words(text):
        plain, end = word.casefold(), start + len(word)
        if _base(word) in kept or plain in _TITLE_WORDS:
            continue
        ordinary = is_ordinary(plain)
        title = None if plain in _LITTLE else _before(_TITLE, text, start)
        # "a dog called rose", but "a captain standing"
        introduced = (
            title is not None
            or (plain not in _LITTLE and _before(_NAMED, text, start) is not None)
            or (not ordinary and _before(_WORD_TITLE, text, start) is not None)
            # "mr john smith": a word that is not ordinary and follows a name belongs to it
            or (not ordinary and start == last + 1 and text[last] == " ")
        )
        capital = capitals_count and word[0].isupper() and plain not in _CAPITALS and not _begins_sentence(text, start)
        if introduced or capital:
            end += len(word) == 1 and text[end : end + 1] == "."
            spans[start] = (title.start() if title else start, end)
        if introduced or (capital and start == last + 1):
            last = end
    return spans


def _before(pattern: re.Pattern[str], text: str, end: int) -> re.Match[str] | None:
    """A match of `pattern`, which ends in $, in the text before `end`."""
    return pattern.search(text, max(0, end - _LOOK_BACK), end)


def _begins_sentence(text: str, start: int) -> bool:
    if start > 1 and text[start - 1] == " " and text[start - 2].isalnum():  # true for most words, without a pattern
        return False
    return _before(_SENTENCE_END, text, start) is not None and _before(_ABBREVIATION, text, start) is None


def _without_rare(texts: Sequence[str], kept: Collection[str], below: int, counts: Counter[str]) -> list[str]:
    frequency = Counter(word for text in texts for word in {_base(word) for word, _ in _words(text)})

    def rare(word: str) -> bool:
        if frequency[_base(word)] >= below or _base(word) in kept:
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
    # Singular and plural are one word. "glass" becomes something that is not a word, but always the same.
    return word[:-1] if len(word) > 3 and word.endswith("s") else word


def _forms(text: str) -> set[str]:
    """The words of a class name in their `_base` form, and its numbers."""
    return {_base(word) for word, _ in _words(text)} | set(text.casefold().split())


__all__ = ["KINDS", "scrub"]
