"""What a user can set under `prompt_strategy:`. Each description is shown by `fgl plugins show seasons`."""

from __future__ import annotations

from fgl import Options
from pydantic import Field, field_validator


class SeasonsOptions(Options):
    seasons: list[str] = Field(
        ["spring", "summer", "autumn", "winter"],
        min_length=1,
        description="One prompt for each; the samples of a class are shared evenly among them.",
    )
    template: str = Field(
        "{label} in {season}, real world images, high resolution", description="Text with {label} and {season}."
    )
    negative_prompt: str | None = Field(
        "low quality, low resolution", description="What pictures should not look like; null for no negative prompt."
    )

    @field_validator("template")
    @classmethod
    def _has_both(cls, template: str) -> str:
        for placeholder in ("{label}", "{season}"):
            if placeholder not in template:
                raise ValueError(f"template {template!r} lacks {placeholder}")
        return template
