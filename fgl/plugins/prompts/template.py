"""Templates of prompts: `{label}, real world images`.

Not `str.format`: with it a template could access attributes of its arguments, and its messages are about Python. A
class called "{x}" is ordinary text, because filled-in text is never read as a template again.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence

LABEL, A_LABEL, DOMAIN, ATTRIBUTES = "label", "a label", "domain", "attributes"
CAPTION, DETAILS = "caption", "details"

_TOKEN = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")

# Letters whose name begins with a vowel sound: an X-ray, an SUV; but a T-shirt, a UFO. Up to three capitals are assumed
# to be spelled out.
_VOWEL_NAMED = "AEFHILMNORSX"
# Spelled with a vowel but pronounced with a consonant, and the reverse.
_SPOKEN_CONSONANT = re.compile(r"(?:eu|ewe|one\b|once|ubiq|uk|unanim|uni(?!n|m)|ur[aei]n|us[aeu]|uten|ut[io])", re.I)
_SPOKEN_VOWEL = re.compile(r"(?:heir|honou?r|hour|honest|8|1[18](?!\d))", re.I)
_HAS_ARTICLE = re.compile(r"(?:a|an|the)\s", re.I)


def check_template(template: str, allowed: Collection[str], required: Collection[str] = (LABEL,)) -> str:
    """Return `template`, or raise ValueError, which names the wrong placeholder and the allowed ones.

    allowed: placeholders that may occur. required: placeholders that must occur; {a label} counts as {label}.
    """
    offered = ", ".join(f"{{{name}}}" for name in allowed)
    used = set()
    for token in _TOKEN.finditer(template):
        name = token[1]
        if token[0] in ("{", "}"):
            raise ValueError(
                f"template {template!r} has a single {token[0]!r}: write {token[0] * 2!r} for the character"
            )
        if name is not None and name not in allowed:
            raise ValueError(f"template {template!r} has the unknown placeholder {{{name}}}: expected one of {offered}")
        if name is not None:
            used.add(LABEL if name == A_LABEL else name)
    for name in required:
        if name not in used:
            raise ValueError(f"template {template!r} lacks {{{name}}}: without it every prompt would read the same")
    return template


def fill(template: str, values: Mapping[str, str]) -> str:
    """Replace the placeholders of a checked template, in one pass. `{a label}` is derived from `{label}`."""
    if LABEL in values:
        values = {**values, A_LABEL: with_article(values[LABEL])}

    def replace(token: re.Match[str]) -> str:
        return token[0][0] if token[1] is None else values[token[1]]

    return _TOKEN.sub(replace, template)


def phrases(template: str, values: Mapping[str, Sequence[Sequence[str]]]) -> list[list[str]]:
    """For each place of a checked template's texts, in order, the phrases that can stand there (see `Grammar`).

    values: placeholder → the places that it stands for, each with its phrases. `{a label}` is derived from `{label}`,
    which is one place.
    """
    if LABEL in values:
        values = {**values, A_LABEL: [[with_article(one) for one in values[LABEL][0]]]}
    places: list[list[str]] = []
    end = 0
    for token in _TOKEN.finditer(template):
        places += [[template[end : token.start()]]] if token.start() > end else []
        places += [[token[0][0]]] if token[1] is None else [list(place) for place in values[token[1]]]
        end = token.end()
    return [*places, [template[end:]]] if end < len(template) else places


def names_domain(template: str) -> bool:
    """Whether a checked template contains {domain}."""
    return any(token[1] == DOMAIN for token in _TOKEN.finditer(template))


def with_article(label: str) -> str:
    """The label with its article: "a clock", "an airplane", "an hourglass", "a unicorn", "an X-ray".

    As in the paper's quickdraw template. By spelling, with the usual exceptions. A label with an article keeps it.
    Plurals are not recognized.
    """
    if not label or _HAS_ARTICLE.match(label):
        return label
    first = re.split(r"[\s\-]", label, maxsplit=1)[0]
    if first.isalpha() and first.isupper() and len(first) <= 3:
        vowel = first[0] in _VOWEL_NAMED
    elif _SPOKEN_VOWEL.match(label):
        vowel = True
    else:
        vowel = label[0].lower() in "aeiou" and not _SPOKEN_CONSONANT.match(label)
    return f"{'an' if vowel else 'a'} {label}"


__all__ = [
    "ATTRIBUTES",
    "A_LABEL",
    "CAPTION",
    "DETAILS",
    "DOMAIN",
    "LABEL",
    "check_template",
    "fill",
    "names_domain",
    "phrases",
    "with_article",
]
