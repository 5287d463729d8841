"""Templates of prompts: `{label}, real world images`.

Not `str.format`: that would let a template reach into attributes of its arguments, and its messages speak of Python.
A class called "{x}" is text like any other, because what is filled in is never read as a template again.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence

LABEL, A_LABEL, DOMAIN, ATTRIBUTES = "label", "a label", "domain", "attributes"
CAPTION, DETAILS = "caption", "details"

_TOKEN = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")

# Letters whose name begins with a vowel sound: an X-ray, an SUV; but a T-shirt, a UFO. Up to three capitals are taken
# to be spelt out.
_VOWEL_NAMED = "AEFHILMNORSX"
# Spelt with a vowel but spoken with a consonant, and the reverse.
_SPOKEN_CONSONANT = re.compile(r"(?:eu|ewe|one\b|once|ubiq|uk|unanim|uni(?!n|m)|ur[aei]n|us[aeu]|uten|ut[io])", re.I)
_SPOKEN_VOWEL = re.compile(r"(?:heir|honou?r|hour|honest|8|1[18](?!\d))", re.I)
_HAS_ARTICLE = re.compile(r"(?:a|an|the)\s", re.I)


def check_template(template: str, allowed: Collection[str], required: Collection[str] = (LABEL,)) -> str:
    """Return `template`, or raise ValueError, which names the placeholder at fault and those that there are.

    allowed: names of placeholders that may occur. required: those that must; {a label} counts as {label}.
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
    """Put `values` in place of the placeholders of a checked template, in one pass. `{a label}` comes of itself."""
    if LABEL in values:
        values = {**values, A_LABEL: with_article(values[LABEL])}

    def replace(token: re.Match[str]) -> str:
        return token[0][0] if token[1] is None else values[token[1]]

    return _TOKEN.sub(replace, template)


def phrases(template: str, values: Mapping[str, Sequence[Sequence[str]]]) -> list[list[str]]:
    """A checked template as what can stand at each place of its text, in order: texts are one phrase a place, joined.

    values: placeholder → the places that it stands for, each with its phrases. `{a label}` comes of {label}, which is
    one place."""
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
    """Whether a checked template says {domain}."""
    return any(token[1] == DOMAIN for token in _TOKEN.finditer(template))


def with_article(label: str) -> str:
    """ "a clock", "an airplane", "an hourglass", "a unicorn", "an X-ray": as the paper's quickdraw template has it.

    By spelling, with the usual exceptions. A label that brings its article keeps it. Plurals are not known.
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
