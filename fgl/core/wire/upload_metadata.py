"""The header of an upload: its form, and nothing of what it says."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TypeGuard

from fgl.core.wire import container
from fgl.core.wire.upload import FORMAT, METADATA, VERSION
from fgl.errors import UploadError, UploadFormatError
from fgl.text import quoted

METADATA_TEXTS = ("format", "version", "run", "client_id", "round", "encoder", "classes", "codec", "checksum")
_KEYS = {*METADATA_TEXTS, "domains", "error", "texts"}
_ERROR = re.compile(r"[0-9]\.[0-9]{6}e[+-][0-9]{2}")


@dataclass(frozen=True, slots=True)
class UploadMetadata:
    """The header of an upload. Its form has been checked, and nothing else.

    round: as text. error: array → largest error and relative RMS, as text. texts: the number of distinct texts, and
    their bytes. stated: all of it as the file states it, which is what the checksum is of.
    """

    version: str
    run: str
    client_id: str
    round: str
    encoder: str
    classes: str
    codec: str
    checksum: str
    domains: list[str]
    error: dict[str, list[str]]
    texts: list[int]
    stated: Mapping[str, object]


def metadata_of(header: Mapping[str, str]) -> UploadMetadata:
    """What a file's header says, if it is one of this format. Raises UploadFormatError."""
    require(set(header) == {METADATA}, UploadFormatError, f"metadata other than {METADATA!r}")
    try:
        stated = container.parse(header[METADATA].encode("utf-8"))
    except UnicodeEncodeError as error:
        raise UploadFormatError("refused: metadata that is not text") from error
    given = {name: text for name in METADATA_TEXTS if isinstance(text := stated.get(name), str)}
    complete = len(given) == len(METADATA_TEXTS)
    require(complete, UploadFormatError, f"metadata that lacks one of {', '.join(METADATA_TEXTS)}")
    rule = f"format is {quoted(given['format'])}, expected {FORMAT!r}"
    require(given.pop("format") == FORMAT, UploadFormatError, rule)
    rule = (
        f"version is {quoted(given['version'])}, expected {VERSION!r}: client and server must have the same version of "
        "fgl"
    )
    require(given["version"] == VERSION, UploadFormatError, rule)
    extra = set(stated) - _KEYS
    require(not extra, UploadFormatError, f"metadata with unknown keys {join_some(extra)}")
    texts, errors, domains = (stated.get(name) for name in ("texts", "error", "domains"))
    if not _is_count_of_texts(texts):
        rule = f"texts is {quoted(texts)}, expected the number of texts and their bytes"
        raise UploadFormatError(f"refused: {rule}")
    if not _are_errors(errors):
        raise UploadFormatError("refused: an error that is not two numbers an array, like 1.234567e-03")
    if not _are_names(domains):
        raise UploadFormatError("refused: domains that are not a list of printable names")
    require(len(set(domains)) == len(domains), UploadFormatError, "a domain that is named twice")
    return UploadMetadata(**given, domains=domains, error=errors, texts=texts, stated=stated)


def _is_count_of_texts(value: object) -> TypeGuard[list[int]]:
    return isinstance(value, list) and len(value) == 2 and all(type(n) is int and 0 <= n < 2**31 for n in value)


def _are_errors(value: object) -> TypeGuard[dict[str, list[str]]]:
    return isinstance(value, dict) and all(
        isinstance(pair, list) and len(pair) == 2 and all(isinstance(n, str) and _ERROR.fullmatch(n) for n in pair)
        for pair in value.values()
    )


def _are_names(value: object) -> TypeGuard[list[str]]:
    return isinstance(value, list) and all(
        isinstance(name, str) and 0 < len(name) <= 200 and name.isprintable() for name in value
    )


def join_some(names: Collection[str]) -> str:
    """A few of a sender's names, none long enough to fill a log."""
    return ", ".join(quoted(name) for name in sorted(names)[:5]) + (", ..." if len(names) > 5 else "")


def require(holds: bool, error: type[UploadError], rule: str) -> None:
    if not holds:
        raise error(f"refused: {rule}")
