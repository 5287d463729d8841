"""Text from outside is text: on a terminal, in a log, in Markdown and in HTML."""

from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fgl.text import first_line, html, line, lines, markdown, plain, quoted

ANY = st.text(st.characters(codec=None, categories=None) | st.sampled_from("\x1b\u202e\u200b\udce9|<>[]()!*_`\n\r"))


@given(ANY)
def test_a_terminal_obeys_nothing_of_it_and_it_is_one_line(text: str) -> None:
    said = plain(text)
    assert len(said.splitlines()) <= 1
    said.encode()  # no unpaired surrogate is left
    for character in said:
        assert unicodedata.category(character) not in ("Cc", "Cs", "Zl", "Zp", "Co", "Cn")
        assert unicodedata.category(character) != "Cf" or character in "\u200c\u200d"


@given(ANY)
def test_markdown_holds_no_markup_of_it(text: str) -> None:
    said = markdown(text)
    assert "<" not in said
    assert ">" not in said
    for mark in "`*_[]!|#":
        assert said.count(mark) - said.count(f"\\{mark}") == (said.count("&#") if mark == "#" else 0)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("\x1b[31mred\x07", "\\x1b[31mred\\x07"),
        ("a\nb: accepted: client-09\r\nc", "a b: accepted: client-09 c"),
        ("caf\udce9.png", "caf\\xe9.png"),
        ("left\u202eright", "left\\u202eright"),
        ("zero\u200bwidth", "zero\\u200bwidth"),
        ("林地 été", "林地 été"),
        ("👩\u200d🔬", "👩\u200d🔬"),
        ("می\u200cخواهم", "می\u200cخواهم"),
        ("a\u200db", "a\\u200db"),
        ("https://who:secret@host/a?X-Amz-Signature=abc&b=c said no", "https://host/a said no"),
    ],
)
def test_plain_text_keeps_letters_and_escapes_the_rest(text: str, said: str) -> None:
    assert plain(text) == said


def test_long_text_is_cut() -> None:
    assert plain("x" * 1000, 10) == "x" * 10 + "…"
    assert plain("x" * 10, 10) == "x" * 10


def test_a_message_keeps_its_lines() -> None:
    assert lines("2 problems:\n  a\x1b[0m\n  b") == "2 problems:\n  a\\x1b[0m\n  b"


@pytest.mark.parametrize(
    "text",
    [
        "<img src=//evil.example/p.png>",
        "![x](http://evil.example/p.png)",
        "[a](b)",
        "# h",
        "- x",
        "1. x",
        "a|b",
        "<!--",
    ],
)
def test_markdown_of_a_hostile_name_is_shown_and_not_obeyed(text: str) -> None:
    said = markdown(text)
    assert "<" not in said
    assert "](" not in said
    assert "://" not in said
    assert not said.startswith(("#", "-", "1."))


def test_html_is_escaped_in_attributes_too() -> None:
    assert html("\"><script>'") == "&quot;&gt;&lt;script&gt;&#x27;"


def test_a_senders_word_is_quoted_in_ascii() -> None:
    assert quoted("аdmin\x1b") == "'\\u0430dmin\\x1b'"
    assert quoted("x" * 100) == repr("x" * 60 + "...")
    assert quoted(10**5000) == "'int, too long to show'"


def test_a_line_keeps_its_columns_and_breaks_into_no_second_one() -> None:
    assert line("  a   b\nx: accepted\x1b[0m") == "  a   b\\x0ax: accepted\\x1b[0m"


def test_letters_that_look_like_blanks_are_seen() -> None:
    assert plain("cat\u3164") == "cat\\u3164"
    assert plain("cat\u2800") == "cat\\u2800"


@pytest.mark.parametrize("text", ["WWW.evil.example", "www.evil.example", "who@evil.example", "ftp://evil.example"])
def test_an_address_in_markdown_is_no_link(text: str) -> None:
    from markdown_it import MarkdownIt

    shown = MarkdownIt("gfm-like", {"linkify": False}).render(markdown(text))
    assert "<a" not in shown
    assert not re.search(r"www\.|@|://", markdown(text), re.IGNORECASE)


def test_the_first_line_of_an_error_is_its_gist() -> None:
    assert first_line(ValueError("no such file.\nlong advice")) == "no such file"
    assert first_line(ValueError("\n")) == "ValueError"
