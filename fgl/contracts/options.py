"""The base class of every plugin's options, and how options name models and files."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self, get_args, get_origin

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError


@dataclass(frozen=True, slots=True)
class ModelRef:
    """A model that a component's options name (see `Options.models`)."""

    model: str
    """Hub id, or a folder."""

    revision: str | None = None
    """Branch, tag or commit. None: locked to the commit of the first pull."""

    mirrors: tuple[str, ...] = ()
    """Hub ids that hold the same files, to use when the Hub no longer has `model`."""

    files: tuple[str, ...] = ("*",)
    """Patterns of all files that are needed."""

    client_files: tuple[str, ...] = ()
    """Patterns of the files that a client needs."""

    license: str = "not stated"
    """The license, as the model's source states it."""


_REVISION = "expected a branch, tag or commit, as git names them"
# What git rejects in the name of a branch or tag, which includes everything that could lead out of a folder.
_NO_REF = re.compile(r"[\s~^:?*\[\\]|\.\.|//|@\{|^[-/.]|/\.|[/.]$|\.lock(?:/|$)|^@$")
_LONGEST_REF = 200


def is_revision(text: str) -> bool:
    """Whether git accepts `text` as the name of a branch, tag or commit. File names are derived from it."""
    return 0 < len(text) <= _LONGEST_REF and text.isprintable() and _NO_REF.search(text) is None


def _check_revision(text: str) -> str:
    if not is_revision(text):
        raise ValueError(_REVISION)
    return text


Revision = Annotated[str, AfterValidator(_check_revision)]
"""The revision of a model or dataset on the Hub."""


class Options(BaseModel):
    """Typed, documented, immutable options of one plugin.

    Declare fields with `pydantic.Field(default, description=...)`: `fgl plugins show` prints the description, so state
    the unit there. Unknown keys and wrong types are rejected: a number in quotes is not a number.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, validate_default=True, protected_namespaces=(), allow_inf_nan=False
    )

    fixed_in_rounds: ClassVar[Mapping[str, str]] = {}
    """For classifiers: option that `rounds.local` and `rounds.server` cannot override → the reason, or what to set
    instead. "{part}" in the text stands for local or server."""

    renamed: ClassVar[Mapping[str, str]] = {}
    """Old name of an option → its present one. The old name is still taken, with a warning."""

    short_option: ClassVar[str] = ""
    """The option that a short form sets: with "path", `parquet:FILE` selects parquet with that `path`. "": there is no
    short form."""

    @classmethod
    def __pydantic_init_subclass__(cls, **_: Any) -> None:
        if "not_in_rounds" in vars(cls):
            said = (
                f"{cls.__name__}.not_in_rounds is called fixed_in_rounds since fgl 0.2; the old name goes with fgl 0.3"
            )
            warnings.warn(said, DeprecationWarning, stacklevel=2)
            cls.fixed_in_rounds = vars(cls)["not_in_rounds"]

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Self:
        """Build from values as YAML and records hold them.

        A string is accepted for a path, date or enumeration, and a list for a set or tuple. Raises
        pydantic.ValidationError.
        """
        try:
            return cls(**given)
        except ValidationError as error:
            try:
                return cls.model_validate_json(
                    json.dumps(dict(given), allow_nan=True)
                )  # pydantic rejects NaN, and names it
            except (TypeError, ValueError, RecursionError):
                raise error from None  # its messages name the values as they were given

    @classmethod
    def from_text(cls, text: str) -> dict[str, Any]:
        """Options that the short form `NAME:text` stands for, on the command line and in a configuration file. Raises
        ValueError if there is no short form, or the text cannot be one; the user sees its message."""
        if not cls.short_option:
            raise ValueError("has no short form; set its options one by one")
        return {cls.short_option: text}

    @classmethod
    def known_texts(cls) -> tuple[str, ...]:
        """Texts that the short form always accepts, for suggestions; those of a Literal unless overridden."""
        known = cls.model_fields.get(cls.short_option)
        return get_args(known.annotation) if known is not None and get_origin(known.annotation) is Literal else ()

    def short_name(self) -> str:
        """What a person calls what these options select, shown after the component's name. "": nothing to add."""
        return str(getattr(self, type(self).short_option) or "") if type(self).short_option else ""

    def is_here(self) -> bool:
        """Whether it can be opened without a network, as far as can be told without opening it."""
        named = [getattr(self, name) for name in self.local_paths()]
        return all(Path(path).expanduser().exists() for path in named if isinstance(path, str))

    def models(self) -> tuple[ModelRef, ...]:
        """Models that a run with these options pulls, for `fgl models`. None unless a subclass overrides this."""
        return ()

    def files(self) -> tuple[str, ...]:
        """Files and folders that these options name and whose contents count as part of them: when one changes,
        everything that depends on it is recomputed."""
        return ()

    def local_paths(self) -> tuple[str, ...]:
        """Names of options that may hold a path on this machine.

        If the path exists, the run records it as an absolute path, so that it can be found from any working directory.
        """
        known = {*self.files(), *(use.model for use in self.models())}
        values = {name: getattr(self, name) for name in type(self).model_fields}
        return tuple(name for name, value in values.items() if isinstance(value, str) and value in known)


SET_BY_NAME: Mapping[str, Mapping[str, str]] = {
    "dataset": {
        "skip_bad_images": "set by --skip-bad-images, and by fgl datasets check to count unreadable images",
        "labels": "the class list of a preset: label in the data to class name, in label order",
        "class_names": "class names in label order; a site takes them from the file that all share",
        "prompt_names": "what prompts call the classes; a site takes it from the file that all share",
        "unlisted_labels": "leave out or refuse: what happens to labels that are not classes of the preset",
        "holds": "set to train at a client with data of its own, to test at its server",
    },
    "partition": {"clients": "set by --clients", "beta": "set by --beta"},
    "generator": {"encode_batch_size": "raised by fgl audit where it encodes many texts"},
}
"""Family → option → what fgl sets it to. These names mean the same in every component that has them; none must."""
