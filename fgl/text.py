"""Text from outside, made fit for a terminal, a log, Markdown or HTML.

File names, class names, names of plugins, YAML keys, a Hub's words, what a client sends: whoever wrote them must not be
able to move a cursor, forge a line, reorder what is read, or put an image into a report.
"""

from __future__ import annotations

import html as _html
import re
import unicodedata
from collections.abc import Sequence

_QUERY = re.compile(r"(\b[a-zA-Z][a-zA-Z0-9+.-]{0,20}://[^\s?#'\"<>]*)[?#][^\s'\"<>]*")
_USER = re.compile(r"(\b[a-zA-Z][a-zA-Z0-9+.-]{0,20}://)[^\s/?#@'\"<>]+@")
# Joiners: letters of Persian and Indic scripts are written with them, and so are emoji of several people.
_JOINERS = "\u200c\u200d"
_UNSEEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
# Letters and marks by their category, and blank all the same: two names that differ in one of these look alike.
_BLANK = "\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u2800\u3164\uffa0"
# Parentheses mean something behind a bracket alone.
_MARKDOWN = re.compile(r"([\\`*_{}\[\]#!|~^$]|(?<=\])\()")
_BREAKS = re.compile(r"[ \t\r\n\v\f\x85\u2028\u2029]+")
_BARE = re.compile(r"(?i)\bwww\.")


def plain(value: object, most: int | None = None) -> str:
    """One line for a terminal or a log. most: characters; longer text is cut.

    White space of any kind is one space; characters that are not seen (control, format, bidirectional marks, unpaired
    surrogates, private use) are written as escapes, and bytes of a file name that are no UTF-8 as `\\xe9`. Queries and
    passwords in addresses are left out: a signed address lets anybody in."""
    text = _text(value)
    if most is not None and len(text) > 4 * most:
        text = text[: 4 * most]  # what is cut anyway need not be looked at
        cut = True
    else:
        cut = False
    text = _BREAKS.sub(" ", without_secrets(text)).strip()
    if most is not None and (cut or len(text) > most):
        text = text[:most].rstrip() + "…"
    return escaped(text)


def counted(number: int, what: str) -> str:
    """A number with its noun: 1 seed, 1,000 seeds."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def some(names: Sequence[str], most: int = 3, *, total: bool = False) -> str:
    """The first names, at most `most` of them: "a, b, c, …". total: also say how many there are: "(12 in all)"."""
    if len(names) <= most:
        return ", ".join(names)
    return ", ".join(names[:most]) + ", …" + (f" ({len(names):,} in all)" if total else "")


def line(value: object) -> str:
    """A finished line of output, whose columns stay where they are: as `plain`, but spaces stay, and a line break is an
    escape like any other character that is not seen."""
    return escaped(without_secrets(_text(value)))


def lines(value: object) -> str:
    """As `plain`, but line breaks stay: for a message whose parts have been through `plain`."""
    return "\n".join(escaped(one) for one in without_secrets(_text(value)).split("\n"))


def markdown(value: object, most: int | None = None) -> str:
    """As `plain`, for Markdown of any flavour: a line of a list, a heading. No markup, HTML or address in it has any
    effect."""
    # At the beginning of a line these make a list or a rule.
    return re.sub(
        r"^([-+=]|\d+(?=[.)]))", lambda found: f"&#{ord(found[1][0])};{found[1][1:]}", markdown_cell(value, most)
    )


def markdown_cell(value: object, most: int | None = None) -> str:
    """As `markdown`, for a cell of a table, which is never the beginning of a line: numbers stay as they are."""
    text = _MARKDOWN.sub(r"\\\1", plain(value, most))
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    # Renderers make links of bare addresses; an entity is shown as the character and makes none.
    return _BARE.sub(lambda found: f"{found[0][:-1]}&#46;", text.replace("://", "&#58;//").replace("@", "&#64;"))


def fenced(value: object, language: str = "") -> list[str]:
    """Lines of Markdown that show a text as it is, in a fence that no line of it can close."""
    text = lines(value)
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return [f"{fence}{language}", *text.split("\n"), fence]


def html(value: object, most: int | None = None) -> str:
    """As `plain`, for HTML: text of an element, or a quoted attribute."""
    return _html.escape(plain(value, most), quote=True)


def quoted(value: object, most: int = 60) -> str:
    """A sender's text in a message, in quotes, ASCII alone: what looks like another letter is seen. most: characters;
    longer text is cut."""
    text = _text(value)
    cut = "..." if len(text) > most else ""
    return ascii(without_secrets(text[: 4 * most])[:most] + cut)


def without_secrets(text: str) -> str:
    """Without what follows a question mark or a hash in an address, and without a user's name before its host."""
    return _USER.sub(r"\1", _QUERY.sub(r"\1", text)) if "://" in text else text


def first_line(error: BaseException, most: int = 300) -> str:
    """The gist of a library's complaint: its first line; what comes below is advice or a traceback."""
    said = str(error).strip().splitlines()
    return plain(said[0], most).rstrip(".") if said and said[0].strip() else type(error).__name__


def kind_and_line(error: BaseException, most: int = 200) -> str:
    """The class of an error that a library raised, and its first line."""
    kind, said = type(error).__name__, first_line(error, most)
    return kind if said == kind else f"{kind}: {said}"


def escaped(text: str) -> str:
    """With escapes for each character that is not seen, or that a terminal obeys."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escape(text, index) for index in range(len(text)))


def is_unseen(character: str) -> bool:
    """Whether it is a control or format character, no character at all, or a letter that looks like a blank."""
    return unicodedata.category(character) in _UNSEEN or character in _BLANK


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    try:
        return str(value)
    except (ValueError, RecursionError):  # a number of more digits than Python writes, lists in lists
        return f"{type(value).__name__}, too long to show"


def _escape(text: str, index: int) -> str:
    character = text[index]
    if not is_unseen(character) or (character in _JOINERS and _joins(text, index)):
        return character
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # how Python keeps a byte of a file name that is no UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _joins(text: str, index: int) -> bool:
    """Whether a joiner stands between two characters that such a script, or an emoji, may have there."""
    around = text[index - 1 : index] + text[index + 1 : index + 2]
    return len(around) == 2 and not any(one.isascii() or is_unseen(one) for one in around)
