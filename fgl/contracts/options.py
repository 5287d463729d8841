"""Base class of every plugin's options."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError


@dataclass(frozen=True, slots=True)
class ModelRef:
    """A model that a component's options name (see `Options.models`).

    model: Hub id, or a folder. revision: branch, tag or commit, None where it is locked on the first pull. mirrors: Hub
    ids that hold the same files, for when the Hub no longer has `model`. files: patterns of all files that are needed.
    client_files: of those that a client needs. licence: as its source states it.
    """

    model: str
    revision: str | None = None
    mirrors: tuple[str, ...] = ()
    files: tuple[str, ...] = ("*",)
    client_files: tuple[str, ...] = ()
    licence: str = "not stated"


_REVISION = "expected a branch, tag or commit, as git names them"
# What git refuses in the name of a branch or tag: among it all that a file system would follow out of a folder.
_NO_REF = re.compile(r"[\s~^:?*\[\\]|\.\.|//|@\{|^[-/.]|/\.|[/.]$|\.lock(?:/|$)|^@$")
_LONGEST_REF = 200


def is_revision(text: str) -> bool:
    """Whether git could call a branch, tag or commit so. Names of files are made of it."""
    return 0 < len(text) <= _LONGEST_REF and text.isprintable() and _NO_REF.search(text) is None


def _check_revision(text: str) -> str:
    if not is_revision(text):
        raise ValueError(_REVISION)
    return text


Revision = Annotated[str, AfterValidator(_check_revision)]
"""Of a model or dataset on the Hub."""


class Options(BaseModel):
    """Typed, documented, immutable options of one plugin.

    Declare fields with `pydantic.Field(default, description=...)`: the description, with its unit, is what
    `fgl plugins show` prints. Unknown keys and wrong types are refused: a number in quotes is not a number.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, validate_default=True, protected_namespaces=(), allow_inf_nan=False
    )

    fixed_in_rounds: ClassVar[Mapping[str, str]] = {}
    """Of a classifier: options that `rounds.local` and `rounds.server` cannot change, and why or what to set instead;
    {part} in the text stands for local or server."""

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Self:
        """From values as YAML and records hold them: where a field is a path, a date or an enumeration, a text is one;
        where it is a set or a tuple, a list is. Raises pydantic.ValidationError."""
        try:
            return cls(**given)
        except ValidationError as error:
            try:
                return cls.model_validate_json(
                    json.dumps(dict(given), allow_nan=True)
                )  # pydantic refuses NaN, and names it
            except (TypeError, ValueError, RecursionError):
                raise error from None  # in the words that name what was given

    def models(self) -> tuple[ModelRef, ...]:
        """Models that a run with these options pulls, for `fgl models`; none unless a subclass says otherwise."""
        return ()

    def files(self) -> tuple[str, ...]:
        """Files and folders that these options name and whose contents count as part of them: where one changes, what
        was made with it is made anew."""
        return ()

    def local_paths(self) -> tuple[str, ...]:
        """Names of options that may be a path on this machine. Where something lies there, a run takes its absolute
        path, so that it finds it from any working directory."""
        known = {*self.files(), *(use.model for use in self.models())}
        values = {name: getattr(self, name) for name in type(self).model_fields}
        return tuple(name for name, value in values.items() if isinstance(value, str) and value in known)
