"""What a person sees: progress, tables, errors. Imported by the command line only."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

_EVERY = 5.0  # seconds between two plain lines of one task


class RichTask:
    """A bar with rate and time left."""

    def __init__(self, bars: Progress, what: str, total: int, unit: str) -> None:
        self.bars, self.unit, self.start, self.done = bars, unit, time.monotonic(), 0
        self.id = bars.add_task(what, total=total, rate="")

    def __enter__(self) -> RichTask:
        return self

    def __exit__(self, *error: object) -> None:
        self.bars.update(self.id, visible=self.done > 0 and error[0] is None)
        self.bars.stop_task(self.id)

    def advance(self, count: int = 1, note: str = "") -> None:
        self.done += count
        seconds = max(time.monotonic() - self.start, 1e-3)
        self.bars.update(self.id, advance=count, rate=f"{self.done / seconds:,.0f} {self.unit}/s")


class RichProgress:
    """Bars on a terminal. A context manager."""

    def __init__(self, console: Console) -> None:
        self.bars = Progress(
            TextColumn("{task.description:<34}"), BarColumn(24), MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"), TimeElapsedColumn(), TextColumn("left"),
            TimeRemainingColumn(), console=console,
        )  # fmt: skip

    def __enter__(self) -> RichProgress:
        self.bars.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.bars.stop()

    def track(self, what: str, total: int, unit: str = "images") -> RichTask:
        return RichTask(self.bars, what, total, unit)


class PlainTask:
    """A line now and then, and one at the end."""

    def __init__(self, console: Console, what: str, total: int, unit: str) -> None:
        self.console, self.what, self.total, self.unit = console, what, total, unit
        self.start = self.shown = time.monotonic()
        self.done = 0

    def __enter__(self) -> PlainTask:
        return self

    def __exit__(self, *error: object) -> None:
        seconds = time.monotonic() - self.start
        # Short tasks that went well need no line.
        if error[0] is None and seconds >= 1:
            rate = self.done / seconds
            self.console.print(f"{self.what}: {self.done} {self.unit} in {seconds:.1f} s ({rate:,.0f} {self.unit}/s)")

    def advance(self, count: int = 1, note: str = "") -> None:
        self.done += count
        now = time.monotonic()
        if now - self.shown >= _EVERY and self.done < self.total:
            self.shown = now
            rate = self.done / (now - self.start)
            left = (self.total - self.done) / max(rate, 1e-9)
            self.console.print(f"{self.what}: {self.done}/{self.total} ({rate:,.0f} {self.unit}/s, {left:.0f} s left)")


class PlainProgress:
    """Lines where there is no terminal. A context manager."""

    def __init__(self, console: Console) -> None:
        self.console = console

    def __enter__(self) -> PlainProgress:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def track(self, what: str, total: int, unit: str = "images") -> PlainTask:
        return PlainTask(self.console, what, total, unit)


def progress(console: Console) -> RichProgress | PlainProgress:
    return RichProgress(console) if console.is_terminal else PlainProgress(console)


def result_table(rows: Sequence[dict[str, Any]], test_images: int) -> Table:
    table = Table(title=f"Top-1 on {test_images:,} real test images", title_justify="left")
    table.add_column("")
    for name in ("top-1", "last epoch", "bytes sent", "seconds"):
        table.add_column(name, justify="right")
    table.add_column("")
    for index, row in enumerate(rows):
        table.add_row(
            row["title"], f"{row['top1']:.1%}", f"{row['last']:.1%}", f"{row['bytes']:,}", f"{row['seconds']:.1f}",
            row["note"], style="bold" if index == 0 else None,
        )  # fmt: skip
    return table
