"""Tables, for Markdown and for the terminal."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from fgl.core.report.tables import Table

TABLE = Table(("class", "images"), [("cat", "12"), ("[red]horse[/red]", "7")], title="Held")


def test_columns_are_aligned_and_two_spaces_apart() -> None:
    assert TABLE.lines() == ["class             images", "cat                   12", "[red]horse[/red]       7"]
    assert TABLE.lines(indent=2)[1].startswith("  cat")


def test_an_alignment_of_choice() -> None:
    assert Table(("a", "b"), [("xxx", "yyy"), ("x", "y")], "rl").lines() == ["  a  b", "xxx  yyy", "  x  y"]


def test_a_table_without_headings_shows_its_rows_alone() -> None:
    assert Table(("", ""), [("a", "b")], "ll").lines() == ["a  b"]


def test_wide_letters_take_two_columns() -> None:
    assert Table(("", ""), [("林地", "x"), ("wood", "y")], "ll").lines() == ["林地  x", "wood  y"]


def test_nothing_is_cut_however_long_it_is() -> None:
    long = "x" * 3000
    assert long in Table(("a", "b"), [(long, "1")]).lines()[1]


def test_markdown_keeps_the_alignment_and_obeys_no_cell() -> None:
    assert TABLE.markdown() == [
        "| class | images |",
        "|---|---:|",
        "| cat | 12 |",
        r"| \[red\]horse\[/red\] | 7 |",
    ]


def test_rich_reads_no_markup_in_a_cell() -> None:
    console = Console(file=io.StringIO(), width=60)
    with console.capture() as shown:
        console.print(TABLE.rich())
    assert "[red]horse[/red]" in shown.get()
    assert "Held" in shown.get()


def test_characters_that_a_terminal_obeys_are_escapes() -> None:
    table = Table(("a",), [("\x1b[31mred",)])
    assert table.lines() == ["a", r"\x1b[31mred"]
    assert "\x1b[31m" not in table.markdown()[2]


def test_a_row_of_another_width_is_an_error() -> None:
    with pytest.raises(ValueError, match="2 columns"):
        Table(("a", "b"), [("1",)])
