"""Makes text from outside safe for a terminal, a log, Markdown or HTML.

File names, class names, names of plugins, YAML keys, text from the Hub or from a client: their authors must not be able
to move a cursor, forge a line, reorder what is read, or put an image into a report.
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
# Blank, although their category is letter or mark: two names that differ only in one of these look alike.
_BLANK = "\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u2800\u3164\uffa0"
# Parentheses have a meaning only after a bracket.
_MARKDOWN = re.compile(r"([\\`*_{}\[\]#!|~^$]|(?<=\])\()")
_BREAKS = re.compile(r"[ \t\r\n\v\f\x85\u2028\u2029]+")
_BARE = re.compile(r"(?i)\bwww\.")


def plain(value: object, most: int | None = None) -> str:
    """One line for a terminal or a log. most: length in characters; longer text is cut.

    Any run of white space becomes one space. Invisible characters (control, format, bidirectional marks, unpaired
    surrogates, private use) become escapes, and bytes of a file name that are not UTF-8 become `\\xe9`. Queries and
    passwords are removed from addresses: a signed address lets anybody in.
    """
    text = _text(value)
    if most is not None and len(text) > 4 * most:
        text = text[: 4 * most]  # the rest would be cut anyway
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
    """A finished line of output: as `plain`, but spaces stay, so that columns stay aligned, and a line break becomes an
    escape like any other invisible character."""
    return escaped(without_secrets(_text(value)))


def lines(value: object) -> str:
    """As `plain`, but line breaks stay: for a message whose parts have gone through `plain`."""
    return "\n".join(escaped(one) for one in without_secrets(_text(value)).split("\n"))


def markdown(value: object, most: int | None = None) -> str:
    """As `plain`, for a list item or heading in any flavor of Markdown. Markup, HTML and addresses in the text have no
    effect."""
    # At the beginning of a line these would start a list or a rule.
    return re.sub(
        r"^([-+=]|\d+(?=[.)]))", lambda match: f"&#{ord(match[1][0])};{match[1][1:]}", markdown_cell(value, most)
    )


def markdown_cell(value: object, most: int | None = None) -> str:
    """As `markdown`, for a table cell, which is never at the beginning of a line: numbers stay as they are."""
    text = _MARKDOWN.sub(r"\\\1", plain(value, most))
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    # Renderers turn bare addresses into links; with an entity, which is shown as the character, they do not.
    return _BARE.sub(lambda match: f"{match[0][:-1]}&#46;", text.replace("://", "&#58;//").replace("@", "&#64;"))


def fenced(value: object, language: str = "") -> list[str]:
    """Lines of Markdown that show a text verbatim, in a fence that no line of the text can close."""
    text = lines(value)
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return [f"{fence}{language}", *text.split("\n"), fence]


def html(value: object, most: int | None = None) -> str:
    """As `plain`, for the text of an HTML element, or a quoted attribute."""
    return _html.escape(plain(value, most), quote=True)


def quoted(value: object, most: int = 60) -> str:
    """A sender's text in a message: quoted, in pure ASCII, so that look-alike letters show. most: length in characters;
    longer text is cut."""
    text = _text(value)
    cut = "..." if len(text) > most else ""
    return ascii(without_secrets(text[: 4 * most])[:most] + cut)


def without_secrets(text: str) -> str:
    """Remove from addresses what follows a question mark or a hash, and user names before the host."""
    return _USER.sub(r"\1", _QUERY.sub(r"\1", text)) if "://" in text else text


def first_line(error: BaseException, most: int = 300) -> str:
    """The first line of an error's message; libraries add advice or a traceback below it."""
    message = str(error).strip().splitlines()
    return plain(message[0], most).rstrip(".") if message and message[0].strip() else type(error).__name__


def kind_and_line(error: BaseException, most: int = 200) -> str:
    """The class of an error that a library raised, and its first line."""
    kind, message = type(error).__name__, first_line(error, most)
    return kind if message == kind else f"{kind}: {message}"


def escaped(text: str) -> str:
    """Escape each character that is invisible, or that a terminal obeys."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escape(text, index) for index in range(len(text)))


def is_unseen(character: str) -> bool:
    """Whether a character is invisible: control, format, unassigned, or a letter that looks blank."""
    return unicodedata.category(character) in _UNSEEN or character in _BLANK


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    try:
        return str(value)
    except (ValueError, RecursionError):  # a number with too many digits, or lists nested too deeply
        return f"{type(value).__name__}, too long to show"


def _escape(text: str, index: int) -> str:
    character = text[index]
    if not is_unseen(character) or (character in _JOINERS and _joins(text, index)):
        return character
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # how Python keeps a byte of a file name that is not UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _joins(text: str, index: int) -> bool:
    """Whether a joiner stands between two characters that a script or an emoji can join."""
    around = text[index - 1 : index] + text[index + 1 : index + 2]
    return len(around) == 2 and not any(one.isascii() or is_unseen(one) for one in around)
