"""The kinds of files that leave a client, in one table: what a review, an approval and a signature know them by.

A kind is added by a module with a `FileKind`, and a row of `KINDS` that names it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any

from fgl.core.wire import container
from fgl.core.wire.signatures import Place
from fgl.core.wire.upload import METADATA
from fgl.errors import UploadError, UploadFormatError
from fgl.text import quoted

if TYPE_CHECKING:
    from fgl.contracts.aggregator import ClientUpload
    from fgl.contracts.codec import Codec

KINDS = {
    "upload": "fgl.core.wire.contents:UPLOAD",
    "update": "fgl.core.wire.contents:UPDATE",
    "probe": "fgl.core.wire.contents:PROBE",
    "vote": "fgl.core.wire.contents:VOTE",
}
"""Kind, as signatures call it → its `FileKind`, as module:attribute."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """What a file that is to leave says, whatever its kind."""

    place: Place
    """What it is for."""
    says: Sequence[str]
    """What is in it, in sentences."""
    codec: str | None = None
    """In which its rows are; None where it has none."""
    images: Sequence[float] = ()
    """Images that each of its rows stands for, by its own account."""
    groups: Mapping[str, float] = field(default_factory=dict)
    """What a number of it is about → the images behind that number."""
    blurred: bool = False
    """Whether the images behind its numbers cannot be told from it, as where there is noise on them: then only a ledger
    says what they give away."""
    texts: Sequence[str] = ()
    """Texts of prompts that can be read in it."""
    names: Sequence[str] = ()
    """Other free text in it, such as names of domains."""
    upload: ClientUpload | None = None
    """Its rows, where they are those of an upload."""


@dataclass(frozen=True, slots=True)
class FileKind:
    """A kind of file.

    recognizes: whether what a file states of itself, the JSON of its header or the file, is of this kind. read: (bytes,
    class names in label order or None, codecs that are known here) → what is in it; raises UploadError where it is not
    sound."""

    recognizes: Callable[[Mapping[str, object]], bool]
    read: Callable[[bytes, Sequence[str] | None, Mapping[str, Codec] | None], Contents]


def kind_of(name: str) -> FileKind:
    """A kind by its name."""
    module, _, attribute = KINDS[name].partition(":")
    found: FileKind = getattr(import_module(module), attribute)
    return found


def find(data: bytes) -> FileKind:
    """The kind of a file. Raises UploadFormatError where it is of none."""
    known = ", ".join(KINDS)
    try:
        stated = _stated(data)
    except UploadError as error:
        why, start = str(error).removeprefix("refused: "), data[:12].decode("latin-1")
        raise UploadFormatError(
            f"refused: no file that leaves a client ({known}), or not whole: it begins with "
            f"{quoted(start)}, and as a file of fgl's: {why}"
        ) from None
    for name in KINDS:
        found = kind_of(name)
        if found.recognizes(stated):
            return found
    told = quoted(stated.get("format", sorted(stated)[:5]))
    raise UploadFormatError(f"refused: no file that leaves a client ({known}); it says that it is {told}")


def _stated(data: bytes) -> Mapping[str, Any]:
    """What a file states of itself. Raises UploadError."""
    if data[:1] == b"{":
        return container.parse(data)
    header, _ = container.layout(data, model=True)
    return container.parse(header.get(METADATA, "").encode("utf-8", errors="replace"))
