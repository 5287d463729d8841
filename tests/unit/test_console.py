"""What progress looks like, with and without a terminal."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from fgl.console import PlainProgress, RichProgress, progress, rate


@pytest.mark.parametrize(
    ("done", "seconds", "text"),
    [(1000, 2.0, "500 images/s"), (3, 1.0, "3.0 images/s"), (1, 4.0, "4.0 s/image"), (0, 1.0, "0.0 images/s")],
)
def test_a_rate_is_readable_for_fast_and_slow_work(done: int, seconds: float, text: str) -> None:
    assert rate(done, seconds, "images") == text


def test_plain_lines_where_there_is_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 6.0, 12.0, 18.0])
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    out = io.StringIO()
    shown = progress(Console(file=out))
    assert isinstance(shown, PlainProgress)
    with shown.track("synthesize [x]", 30) as task:
        task.advance(10)
        task.advance(20)
    lines = out.getvalue().splitlines()
    assert lines == [
        "synthesize [x]: 10/30 (1.7 images/s, 12 s left)",
        "synthesize [x]: 30 images in 18.0 s (1.7 images/s)",
    ]


def test_a_finished_bar_makes_room_for_the_next() -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=120, height=6)
    with RichProgress(console) as shown:
        for number in range(12):
            with shown.track(f"stage {number}", 2) as task:
                task.advance(2)
                assert len(shown.bars.tasks) == 1
    assert not shown.bars.tasks
