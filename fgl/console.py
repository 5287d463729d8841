"""Progress that a person sees: bars on a terminal, lines elsewhere."""

from __future__ import annotations

import time

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from fgl.text import line

_EVERY = 5.0  # seconds between two plain lines of one task


def rate(done: int, seconds: float, unit: str) -> str:
    """How fast: images a second, or seconds an image if there is less than one a second."""
    a_second = done / max(seconds, 1e-3)
    if 0 < a_second < 1:
        return f"{1 / a_second:.1f} s/{unit.removesuffix('s')}"
    return f"{a_second:,.0f} {unit}/s" if a_second >= 10 else f"{a_second:.1f} {unit}/s"


def finished(what: str, done: int, seconds: float, unit: str) -> str:
    noun = unit.removesuffix("s") if done == 1 else unit
    return f"{what}: {done:,} {noun} in {seconds:.1f} s ({rate(done, seconds, unit)})"


class RichTask:
    """A bar with rate and time left."""

    def __init__(self, bars: Progress, what: str, total: int, unit: str) -> None:
        self.bars, self.what, self.unit, self.start, self.done = bars, line(what), unit, time.monotonic(), 0
        self.id = bars.add_task(line(what), total=total, rate="")

    def __enter__(self) -> RichTask:
        return self

    def __exit__(self, *error: object) -> None:
        # A line replaces the bar: with the bars of all stages on screen, the current ones would be below its edge.
        self.bars.remove_task(self.id)
        seconds = time.monotonic() - self.start
        if error[0] is None and seconds >= 1:
            self.bars.console.print(finished(self.what, self.done, seconds, self.unit), highlight=False, markup=False)

    def advance(self, count: int = 1, note: str = "") -> None:
        self.done += count
        shown = rate(self.done, time.monotonic() - self.start, self.unit)
        self.bars.update(self.id, advance=count, rate=shown)


class RichProgress:
    """Bars on a terminal. A context manager."""

    def __init__(self, console: Console) -> None:
        self.bars = Progress(
            TextColumn("{task.description:<34}", markup=False),
            BarColumn(24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}", markup=False),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
        )

    def __enter__(self) -> RichProgress:
        self.bars.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.bars.stop()

    def heading(self, text: str) -> None:
        self.bars.console.print(line(text), style="bold", highlight=False, markup=False, soft_wrap=True)

    def track(self, what: str, total: int, unit: str = "images") -> RichTask:
        return RichTask(self.bars, what, total, unit)


class PlainTask:
    """A line every few seconds, and one at the end."""

    def __init__(self, console: Console, what: str, total: int, unit: str) -> None:
        self.console, self.what, self.total, self.unit = console, line(what), total, unit
        self.start = self.shown = time.monotonic()
        self.done = 0

    def __enter__(self) -> PlainTask:
        return self

    def __exit__(self, *error: object) -> None:
        seconds = time.monotonic() - self.start
        # Short tasks that succeed need no line.
        if error[0] is None and seconds >= 1:
            words = finished(self.what, self.done, seconds, self.unit)
            self.console.print(words, highlight=False, markup=False, soft_wrap=True)

    def advance(self, count: int = 1, note: str = "") -> None:
        self.done += count
        now = time.monotonic()
        if now - self.shown >= _EVERY and self.done < self.total:
            self.shown = now
            seconds = now - self.start
            left = (self.total - self.done) * seconds / max(self.done, 1)
            words = f"{self.what}: {self.done}/{self.total} ({rate(self.done, seconds, self.unit)}, {left:.0f} s left)"
            self.console.print(words, highlight=False, markup=False, soft_wrap=True)


class PlainProgress:
    """Lines where there is no terminal. A context manager."""

    def __init__(self, console: Console) -> None:
        self.console = console

    def __enter__(self) -> PlainProgress:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def heading(self, text: str) -> None:
        self.console.print(line(text), highlight=False, markup=False, soft_wrap=True)

    def track(self, what: str, total: int, unit: str = "images") -> PlainTask:
        return PlainTask(self.console, what, total, unit)


def progress(console: Console) -> RichProgress | PlainProgress:
    return RichProgress(console) if console.is_terminal else PlainProgress(console)
