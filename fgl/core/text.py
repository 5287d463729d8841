"""Text from outside, made fit for a terminal, a log, Markdown or HTML.

File names, class names, names of plugins, YAML keys, a Hub's words, what a client sends: whoever wrote them must not be
able to move a cursor, forge a line, reorder what is read, or put an image into a report.
"""

from __future__ import annotations

import html as _html
import re
import unicodedata

_QUERY = re.compile(r"(\b[a-zA-Z][a-zA-Z0-9+.-]{0,20}://[^\s?#'\"<>]*)[?#][^\s'\"<>]*")
_USER = re.compile(r"(\b[a-zA-Z][a-zA-Z0-9+.-]{0,20}://)[^\s/?#@'\"<>]+@")
# Joiners: letters of Persian and Indic scripts are written with them, and so are emoji of several people.
_JOINERS = "\u200c\u200d"
_UNSEEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
_MARKDOWN = re.compile(r"([\\`*_{}\[\]()#+!|~^$])")
_BREAKS = re.compile(r"[ \t\r\n\v\f\x85\u2028\u2029]+")


def plain(value: object, most: int | None = None) -> str:
    """One line for a terminal or a log. most: characters; longer text is cut.

    White space of any kind is one space; characters that are not seen (control, format, bidirectional marks, unpaired
    surrogates, private use) are written as escapes, and bytes of a file name that are no UTF-8 as `\\xe9`. Queries and
    passwords in addresses are left out: a signed address lets anybody in."""
    text = value if isinstance(value, str) else str(value)
    if most is not None and len(text) > 4 * most:
        text = text[: 4 * most]  # what is cut anyway need not be looked at
        cut = True
    else:
        cut = False
    text = _BREAKS.sub(" ", without_secrets(text)).strip()
    if most is not None and (cut or len(text) > most):
        text = text[:most].rstrip() + "…"
    return escaped(text)


def lines(value: object) -> str:
    """As `plain`, but line breaks stay: for a message whose parts have been through `plain`."""
    return "\n".join(escaped(line) for line in without_secrets(str(value)).split("\n"))


def markdown(value: object, most: int | None = None) -> str:
    """As `plain`, for Markdown of any flavour: a cell of a table, a line of a list, a heading. No markup, HTML or
    address in it has any effect."""
    text = _MARKDOWN.sub(r"\\\1", plain(value, most))
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    # Renderers make links of bare addresses; an entity is shown as the character and is none.
    text = text.replace("://", "&#58;//").replace("www.", "www&#46;").replace("@", "&#64;")
    # At the beginning of a line these make a list or a rule.
    return re.sub(r"^([-=]|\d+(?=\.))", lambda found: f"&#{ord(found[1][0])};{found[1][1:]}", text)


def html(value: object, most: int | None = None) -> str:
    """As `plain`, for HTML: text of an element, or a quoted attribute."""
    return _html.escape(plain(value, most), quote=True)


def quoted(value: object, most: int = 60) -> str:
    """A sender's text in a message, in quotes, ASCII alone: what looks like another letter is seen."""
    return ascii(plain(value, most)) if isinstance(value, str) else ascii(plain(str(value), most))


def without_secrets(text: str) -> str:
    """Without what follows a question mark or a hash in an address, and without a user's name before its host."""
    return _USER.sub(r"\1", _QUERY.sub(r"\1", text)) if "://" in text else text


def first_line(error: BaseException, most: int = 300) -> str:
    """The gist of a library's complaint: its first line; what comes below is advice or a traceback."""
    said = str(error).strip().splitlines()
    return plain(said[0], most).rstrip(".") if said and said[0].strip() else type(error).__name__


def escaped(text: str) -> str:
    """With escapes for each character that is not seen, or that a terminal obeys."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escape(text, index) for index in range(len(text)))


def _escape(text: str, index: int) -> str:
    character = text[index]
    if unicodedata.category(character) not in _UNSEEN or (character in _JOINERS and _joins(text, index)):
        return character
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # how Python keeps a byte of a file name that is no UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _joins(text: str, index: int) -> bool:
    """Whether a joiner stands between two characters that such a script, or an emoji, may have there."""
    around = text[index - 1 : index] + text[index + 1 : index + 2]
    return len(around) == 2 and not any(one.isascii() or unicodedata.category(one) in _UNSEEN for one in around)
