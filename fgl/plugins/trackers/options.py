"""Options of the built-in trackers."""

from __future__ import annotations

from pydantic import Field, field_validator

from fgl.contracts.options import Options
from fgl.contracts.tracker import EventKind


class CsvOptions(Options):
    """A table in RUN/trackers/csv/, one row a number."""

    file: str = Field("events.csv", description="name of the table's file", min_length=1, max_length=100)
    events: list[EventKind] = Field(
        default_factory=list, description="kinds of events to write, such as [epoch_finished, round_finished]; []: all"
    )

    @field_validator("file")
    @classmethod
    def _a_name(cls, file: str) -> str:
        if file != file.strip(". ") or any(character in file for character in '/\\:*?"<>|') or not file.isprintable():
            raise ValueError(f"{file!r} is not a file name: expected a name without a path")
        return file
