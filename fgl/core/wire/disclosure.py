"""What an upload tells whoever has the file, in plain words: a person should know what leaves before it does.

Reads a file as strictly as a server does, but without a configuration: it is checked against what the file itself
states.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fgl.contracts.aggregator import ClientUpload
from fgl.contracts.dataset import CLIENT_ID
from fgl.contracts.generator import ArraySpec, UploadSchema
from fgl.core.store.typed import json_field
from fgl.core.wire import codecs, container, upload, upload_reader
from fgl.core.wire.codecs import INDEX, NEGATIVES, OFFSETS, PROMPTS, ROWS, TEXT, TEXTS
from fgl.core.wire.upload_metadata import UploadMetadata
from fgl.errors import UploadFormatError, UploadSizeError
from fgl.text import quoted

if TYPE_CHECKING:
    from fgl.contracts.codec import Codec

FEW = 10
"""Samples of a class: fewer than this may point at persons, and leave as exactly as any other count."""
MAX_BYTES = 2**30
_COLUMNS = {
    "class_id": "the class of each row",
    "weight": "how many samples each row stands for",
    "domain": "the domain of each row, -1 for none",
    "guidance_scale": "how closely each row's images are to follow it, where a prompt says so",
    TEXTS: "the prompts and negative prompts as text, each distinct one once",
    OFFSETS: "where each of these texts begins",
    PROMPTS: "which text is each row's prompt",
    NEGATIVES: "which text is each row's negative prompt",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassCount:
    """What the rows of a class say."""

    class_id: int
    """Its place among the labels."""
    name: str | None = json_field("class")
    """None where class names are not known."""
    rows: int
    """Rows of this class."""
    samples: float
    """Samples that its rows stand for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileField:
    """An array of the file."""

    name: str
    """As the file calls it."""
    dtype: str
    """As numpy calls it."""
    shape: list[int]
    """Of the whole array."""
    bytes: int
    """Of the whole array."""
    what: str
    """What it holds, in words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Disclosure:
    """Everything that an upload says, and what follows from it."""

    client_id: str
    """Whose upload it is."""
    run_id: str
    """Empty where the run has no id."""
    round: int
    """Of the run."""
    codec: str
    """In which the embeddings are, or text."""
    encoder: str
    """Fingerprint of the text encoder; empty for texts."""
    class_list: str
    """Digest of the class names."""
    format_version: str
    """Of the file format."""
    bytes: int
    """Of the file."""
    sha256: str
    """Of the file."""
    rows: int
    """Of the upload."""
    classes: list[ClassCount]
    """Those that have rows."""
    small_counts: list[ClassCount]
    """Those of fewer than `FEW` samples."""
    class_names_known: bool
    """Whether the class names were known, and are those of the file."""
    domains: dict[str, float]
    """Domain → samples; empty where no row has one."""
    distinct_texts: int
    """Distinct prompts and negative prompts."""
    text_bytes: int
    """Of these."""
    texts: list[str]
    """Distinct prompts, with the codec text."""
    negative_texts: list[str]
    """Distinct negative prompts, with the codec text."""
    codec_error: Mapping[str, tuple[float, float]]
    """Array → largest error and relative RMS."""
    bytes_by_codec: Mapping[str, int]
    """Codec → bytes of an upload that says the same."""
    fields: list[FileField]
    """Every array of the file."""
    exposes: list[str]
    """What whoever has the file can make of it, in sentences."""


def disclosed(
    data: bytes, class_names: Sequence[str] | None = None, known: Mapping[str, Codec] | None = None
) -> Disclosure:
    """Everything that the file says, and what follows from it. class_names: in label order, where they are known;
    those of another list are not used. known: codecs by name; None: the built-in ones. Raises UploadError."""
    return opened(data, class_names, known)[0]


def opened(
    data: bytes, class_names: Sequence[str] | None = None, known: Mapping[str, Codec] | None = None
) -> tuple[Disclosure, ClientUpload]:
    """As `disclosed`, and its rows."""
    known = codecs.built_in() if known is None else known
    if len(data) > MAX_BYTES:
        raise UploadSizeError(f"refused: a file of {len(data)} bytes; no upload is larger than {MAX_BYTES}")
    metadata, slots = upload_reader.opened(data)
    _check_identity(metadata, known)
    names = None
    if class_names is not None and upload.classes_digest(class_names) == metadata.classes:
        names = list(class_names)
    client_upload = upload_reader.accepted(
        data, metadata, slots, _expected(metadata, slots, len(names) if names else None, known)
    )
    classes = _classes(client_upload, names)
    texts = list(dict.fromkeys(prompt.text for prompt in client_upload.prompts))
    negatives = list(dict.fromkeys(prompt.negative for prompt in client_upload.prompts if prompt.negative))
    made = Disclosure(
        client_id=client_upload.client_id,
        run_id=metadata.run,
        round=client_upload.round,
        codec=client_upload.codec,
        encoder=client_upload.encoder,
        class_list=metadata.classes,
        format_version=metadata.version,
        bytes=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        rows=len(client_upload.class_id),
        classes=classes,
        small_counts=[each for each in classes if each.samples < FEW],
        class_names_known=names is not None,
        domains=_weights(client_upload.domain, client_upload) if any(client_upload.domain) else {},
        distinct_texts=metadata.texts[0],
        text_bytes=metadata.texts[1],
        texts=texts,
        negative_texts=negatives,
        codec_error=client_upload.codec_error,
        bytes_by_codec=client_upload.bytes_by_codec,
        fields=_fields(metadata, slots),
        exposes=_exposes(client_upload),
    )
    return made, client_upload


def _check_identity(metadata: UploadMetadata, known: Mapping[str, Codec]) -> None:
    """What a server compares with what it expects; here only its form is checked."""
    forms = {"client_id": CLIENT_ID, "round": "[0-9]{1,9}", "encoder": "[ -~]{0,200}", "classes": "[0-9a-f]{64}"}
    for name, form in forms.items():
        text = getattr(metadata, name)
        if not re.fullmatch(form, text):
            raise UploadFormatError(f"refused: {name} is {quoted(text)}")
    if len(metadata.run) > 100:
        raise UploadFormatError(f"refused: run is {quoted(metadata.run)}")
    if metadata.codec not in (*known, TEXT):
        expected = ", ".join((*known, TEXT))
        raise UploadFormatError(f"refused: codec is {quoted(metadata.codec)}, expected {expected}")


def _expected(
    metadata: UploadMetadata,
    slots: Mapping[str, container.Slot],
    classes: int | None,
    known: Mapping[str, Codec],
) -> upload_reader.UploadPolicy:
    """What the file itself claims to be. classes: how many there are, None where that is not known."""
    names = [] if metadata.codec == TEXT else [name for name in metadata.error if name in slots]
    dtypes = ("float16", "float32")
    largest = float(np.finfo(np.float32).max)
    arrays = tuple(
        ArraySpec(name, codecs.shape_of(name, slots)[1:], dtypes, name + INDEX in slots, optional=True, max_abs=largest)
        for name in names
    )
    return upload_reader.UploadPolicy(
        declaration=UploadSchema(arrays, metadata.encoder),
        clients=[metadata.client_id],
        round=int(metadata.round),
        class_names=range(2**31 - 1) if classes is None else range(classes),  # type: ignore[arg-type]
        max_bytes=MAX_BYTES,
        max_rows=2**31,
        run=metadata.run,
        texts=True,
        codecs=known,
    )


def _classes(client_upload: ClientUpload, names: Sequence[str] | None) -> list[ClassCount]:
    """Of each class that has rows: its name, None where names are not known, rows and samples."""
    present, place = np.unique(client_upload.class_id, return_inverse=True)
    rows, samples = np.bincount(place).tolist(), np.bincount(place, client_upload.weight).tolist()
    return [
        ClassCount(
            class_id=class_id,
            name=names[class_id] if names else None,
            rows=rows[at],
            samples=round(samples[at], 6),
        )
        for at, class_id in enumerate(present.tolist())
    ]


def _weights(labels: Sequence[str], client_upload: ClientUpload) -> dict[str, float]:
    sums: dict[str, float] = {}
    for label, weight in zip(labels, client_upload.weight.tolist(), strict=True):
        sums[label] = sums.get(label, 0.0) + weight
    return {label: round(total, 6) for label, total in sorted(sums.items())}


def _fields(metadata: UploadMetadata, slots: Mapping[str, container.Slot]) -> list[FileField]:
    return [
        FileField(
            name=name,
            dtype=slot.dtype.name,
            shape=list(slot.shape),
            bytes=slot.size,
            what=_what(name, list(metadata.error)),
        )
        for name, slot in sorted(slots.items())
    ]


def _what(name: str, arrays: Sequence[str]) -> str:
    if name in _COLUMNS:
        return _COLUMNS[name]
    if name.endswith(INDEX):
        return f"which row of {name.removesuffix(INDEX)} belongs to each prompt"
    if name.endswith(ROWS):
        return f"nothing: its shape is that of a row of {name.removesuffix(ROWS)}"
    if name.endswith(".scale"):
        return f"what {name.removesuffix('.scale')} is multiplied by"
    if name not in arrays:
        return f"what its codec keeps beside {next((array for array in arrays if name.startswith(array)), 'an array')}"
    return "embeddings of the prompts"


def _exposes(client_upload: ClientUpload) -> list[str]:
    """What whoever has the file can make of it."""
    sentences = [
        "The counts are a histogram of this client's labels: which classes it holds, and how many samples of each."
    ]
    if client_upload.codec == TEXT:
        sentences.append("The prompts stand in the file as text: whoever has it reads them.")
    else:
        sentences.append(
            "Embeddings are no secret: prompts can be recovered from them, all of them where they are of a small "
            "grammar (fgl audit --parts uploads measures it)."
        )
    if bool((client_upload.weight <= 1).any()):
        sentences.append("Rows of weight 1 or less describe single samples.")
    if any(client_upload.domain):
        sentences.append("Domain names are in the file as they are.")
    return sentences
