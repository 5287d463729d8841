"""What a site's owner states in the section `site:` of its own file."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator

from fgl.contracts.options import Options
from fgl.core.config.defaults import CODECS_ALLOWED
from fgl.core.wire.kinds import KINDS


class EgressOptions(Options):
    """The section `site.egress`: what a file must be for it to leave, by whoever asks for it. Without a rule it is
    shown, and nothing is refused."""

    kinds: list[str] | None = Field(
        None, description="kinds of files that may leave (upload, update, probe, vote); null: any"
    )
    codecs: list[str] | None = Field(None, description="codecs in which rows may leave; null: any")
    min_images_per_row: int = Field(
        1, ge=1, description="fewest images that a row of an upload may stand for; 1: a row may describe one image"
    )
    min_images_per_number: int = Field(
        1, ge=1, description="fewest images behind any count or score, such as the images of a class"
    )
    free_text: bool = Field(True, description="whether prompts as text and names of domains may leave")
    max_epsilon: float | None = Field(
        None,
        gt=0,
        description="most that all answers about the images may cost, with this file; a file that no ledger prices is "
        "refused. null: any",
    )
    max_recovered: float | None = Field(
        None,
        ge=0,
        le=1,
        description="largest share of the rows whose text the review may recover from the file; null: any",
    )
    ask: bool = Field(False, description="whether a person must say yes before a file is approved")

    @field_validator("kinds")
    @classmethod
    def _known(cls, names: list[str] | None) -> list[str] | None:
        unknown = [name for name in names or [] if name not in KINDS]
        if unknown:
            raise ValueError(f"expected kinds of files that leave a client ({', '.join(KINDS)}), not {unknown[0]!r}")
        return names


class SiteOptions(Options):
    """The section `site:` of a site's own file: what a server may ask of this client."""

    tasks: list[Literal["upload", "rounds", "adapt", "evaluate", "probe", "vote"]] = Field(
        ["upload"],
        min_length=1,
        description="what may be asked for: upload, rows of prompts; rounds, adapt: models, adapters of the generator, "
        "trained on the images; evaluate, counts of images that a classifier has right; probe, scores of pictures; "
        "vote, noisy counts of the images that are nearest to candidates",
    )
    prompt_strategies: list[str] | None = Field(
        None, description="prompt strategies that may be asked for; null: any that is installed here"
    )
    codecs: list[str] = Field(
        list(CODECS_ALLOWED),
        min_length=1,
        description="codecs that may be asked for; text, with which the prompts themselves leave, only where it is "
        "named here or is the site's own choice",
    )
    upload_filters: list[str] | None = Field(
        None, description="upload filters that may be asked for; null: any that is installed here"
    )
    required_filters: list[str | dict[str, Any]] = Field(
        [],
        description="upload filters that this site applies to all that it sends, noise before those that were asked "
        "for and others after them: names, or mappings with a name and options",
    )
    paths: list[str] = Field(
        [],
        description="files and folders of this machine, absolute or below ~, that others may name in a configuration, "
        "with all that is below them",
    )
    hub_models: list[str] | None = Field(
        None, description="models of the Hub that may be asked for, by id or pattern (stabilityai/*); null: any"
    )
    plugins: list[str] | None = Field(
        None, description="distributions, beside fgl, whose plugins may be asked for; null: any that is installed here"
    )
    ledger: str | None = Field(
        None,
        description="folder for what was answered about the images and what it cost (ledger.jsonl), absolute or below "
        "~; null: fgl/ledger in the user's folder for state (XDG_STATE_HOME, else ~/.local/state)",
    )
    private: str | None = Field(
        None, description="folder for what stays here, absolute or below ~; null: CLIENT.private where one stands"
    )

    egress: EgressOptions = Field(
        default_factory=EgressOptions,
        description="what files must be for fgl client approve to sign them: kinds, codecs, min_images_per_row, "
        "min_images_per_number, free_text, max_epsilon, max_recovered, ask",
    )

    @field_validator("paths", "private", "ledger")
    @classmethod
    def _anchored(cls, value: Any) -> Any:
        for path in value if isinstance(value, list) else [value] * (value is not None):
            if not Path(path).expanduser().is_absolute():
                raise ValueError(f"{path!r} is relative: expected a path from / or ~, the same wherever one stands")
        return value
