"""bytes → ClientUpload. What a client sends is hostile until `decode` has accepted it."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fgl.contracts.aggregator import ClientUpload
from fgl.contracts.generator import UploadSchema
from fgl.contracts.prompts import Prompt
from fgl.core.wire import codecs, container
from fgl.core.wire.codecs import INDEX, ROWS, TEXT
from fgl.core.wire.upload import (
    MAX_GUIDANCE,
    MAX_WEIGHT,
    METADATA,
    MIN_WEIGHT,
    checksum,
    classes_digest,
)
from fgl.core.wire.upload_metadata import UploadMetadata, join_some, metadata_of, require
from fgl.errors import (
    UploadChecksumError,
    UploadClassesError,
    UploadEncoderError,
    UploadFormatError,
    UploadReplayError,
    UploadRoundError,
    UploadSenderError,
    UploadShapeError,
    UploadSizeError,
    UploadValueError,
    UploadWeightError,
)
from fgl.text import quoted

if TYPE_CHECKING:
    from fgl.contracts.aggregator import Rows
    from fgl.contracts.arrays import Array
    from fgl.contracts.codec import Codec


_COLUMNS = {"class_id": "int32", "weight": "float64", "domain": "int32", "guidance_scale": "float64"}


@dataclass(frozen=True, slots=True)
class UploadPolicy:
    """What an upload is checked against.

    clients: ids that may answer. class_names: in label order. run: id of the run that asks. max_bytes: looked at before
    parsing; the fp32 embeddings that an upload of texts becomes are held to it too. max_rows: looked at before any
    array is. texts: whether the codec text was chosen; without it, texts are rejected. codecs: those that are accepted
    beside it; None: the built-in ones.
    """

    declaration: UploadSchema
    clients: Collection[str]
    round: int
    class_names: Sequence[str]
    max_bytes: int
    max_rows: int = 100_000
    run: str = ""
    texts: bool = False
    codecs: Mapping[str, Codec] | None = None

    @property
    def known(self) -> Mapping[str, Codec]:
        return codecs.built_in() if self.codecs is None else self.codecs


@dataclass(frozen=True, slots=True)
class CodecAccount:
    """What an upload that was written here says of its codec: its error, and bytes in this and other codecs."""

    codec: str
    codec_error: dict[str, tuple[float, float]]
    bytes_by_codec: dict[str, int]


def account(data: bytes, known: Mapping[str, Codec] | None = None) -> CodecAccount:
    """The account of an upload that was written here. known: codecs by name; None: the built-in ones."""
    header, slots = container.layout(data)
    metadata = metadata_of(header)
    sizes = sizes_of(metadata, slots, len(data), codecs.built_in() if known is None else known)
    return CodecAccount(metadata.codec, _errors(metadata), sizes)


def sizes_of(
    metadata: UploadMetadata, slots: Mapping[str, container.Slot], length: int, known: Mapping[str, Codec]
) -> dict[str, int]:
    """Codec → bytes of an upload with the same content: in its own codec `length`, the size that it has, in the others
    what follows from its shapes. Shapes of embeddings do not follow from texts: those are counted as texts only."""
    columns = {name: (slots[name].dtype, slots[name].shape) for name in _COLUMNS}
    row = slots["class_id"].shape
    indices = {name: (slots[name].dtype, slots[name].shape) for name in slots if name.endswith(INDEX)}
    texts, text_bytes = metadata.texts
    byte, number = np.dtype("u1"), np.dtype("<i4")
    tensors: dict[str, dict[str, tuple[np.dtype[Any], tuple[int, ...]]]] = {}
    for codec, made in known.items() if metadata.codec != TEXT else ():
        encoded = {
            name + suffix: (dtype.newbyteorder("<"), shape)
            for name in metadata.error
            for suffix, (dtype, shape) in codecs.layout(made, codec, codecs.shape_of(name, slots)).items()
        }
        tensors[codec] = {**columns, **indices, **encoded}
    tensors[TEXT] = {
        **columns,
        codecs.TEXTS: (byte, (text_bytes,)),
        codecs.OFFSETS: (number, (texts + 1,)),
        codecs.PROMPTS: (number, row),
        codecs.NEGATIVES: (number, row),
    }
    lengths = {}
    for codec, layout_of_codec in tensors.items():
        changed = {"encoder": "", "error": {}} if codec == TEXT else {}
        text = json.dumps({**metadata.stated, **changed, "codec": codec}, sort_keys=True, allow_nan=False)
        lengths[codec] = length if codec == metadata.codec else container.size_of({METADATA: text}, layout_of_codec)
    return lengths


def _errors(metadata: UploadMetadata) -> dict[str, tuple[float, float]]:
    return {name: (float(largest), float(rms)) for name, (largest, rms) in metadata.error.items()}


def decode(data: bytes | memoryview, expected: UploadPolicy, client_id: str | None = None) -> ClientUpload:
    """Accept or reject an upload as a whole. client_id: whose it must be, None for any known client.

    Copies nothing: the arrays are views of `data`. Raises a subclass of UploadError, which says the rule that was
    broken."""
    if len(data) > expected.max_bytes:
        raise UploadSizeError(
            f"refused: upload of {len(data)} bytes; the cap is {expected.max_bytes} (upload.max_megabytes)"
        )
    header, slots = container.layout(data)
    metadata = metadata_of(header)
    _identity(metadata, expected, client_id)
    return accepted(data, metadata, slots, expected)


def opened(data: bytes | memoryview) -> tuple[UploadMetadata, dict[str, container.Slot]]:
    """(metadata, arrays) as the file states them, of which nothing but their form has been judged. Raises
    UploadFormatError."""
    header, slots = container.layout(data)
    return metadata_of(header), slots


def accepted(
    data: bytes | memoryview, metadata: UploadMetadata, slots: Mapping[str, container.Slot], expected: UploadPolicy
) -> ClientUpload:
    """The upload, if it is sound, regardless of who sent it and for which run. Raises a subclass of UploadError."""
    rows = slots["class_id"].shape[0] if "class_id" in slots and slots["class_id"].shape else 0
    require(
        rows <= expected.max_rows, UploadSizeError, f"{rows} rows; the cap is {expected.max_rows} (upload.max_rows)"
    )
    tensors = container.views(data, slots)
    require(
        checksum(metadata.stated, tensors) == metadata.checksum, UploadChecksumError, "damaged: the checksum differs"
    )
    columns = {name: _column(tensors, name, dtype, rows) for name, dtype in _COLUMNS.items()}
    require(rows > 0, UploadShapeError, "an upload of no rows")
    _check_columns(columns, len(expected.class_names), len(metadata.domains))
    if metadata.codec == TEXT:
        texts = _texts(tensors, metadata, expected, rows)
        require(not tensors, UploadShapeError, f"undeclared arrays: {join_some(tensors)}")
        return _upload(metadata, slots, len(data), columns, {}, {}, expected.known, texts)
    arrays, indices = _arrays(tensors, expected.declaration, metadata.codec, expected.known[metadata.codec], rows)
    require(not tensors, UploadShapeError, f"undeclared arrays: {join_some(tensors)}")
    has_errors = set(metadata.error) == set(arrays)
    require(
        has_errors, UploadFormatError, f"errors of {join_some(metadata.error)}, expected those of {', '.join(arrays)}"
    )
    scales = np.where(
        np.isnan(columns["guidance_scale"]), expected.declaration.guidance_scale, columns["guidance_scale"]
    )
    for name in expected.declaration.guided:
        is_present = indices[name] >= 0 if name in indices else np.full(rows, name in arrays)
        rule = f"rows with a guidance scale above 1 but without {name}: encode them for this generator's guidance_scale"
        require(bool((is_present | (scales <= 1)).all()), UploadShapeError, rule)
    return _upload(metadata, slots, len(data), columns, arrays, indices, expected.known)


def stored(path: Path, declaration: UploadSchema, known: Mapping[str, Codec] | None = None) -> ClientUpload:
    """An upload of numbers that `decode` has accepted before, from where it is kept: the arrays stay on disk until they
    are asked for. known: codecs by name; None: the built-in ones. Raises StoreError or UploadFormatError where the file
    is no longer there or no longer an upload."""
    header, slots = container.header_of(path)
    metadata = metadata_of(header)
    known = codecs.built_in() if known is None else known
    require(metadata.codec in known, UploadFormatError, f"codec is {quoted(metadata.codec)}, which is not known here")
    names = [spec.name for spec in declaration.arrays if spec.name in slots]
    suffixes = {
        name: [
            suffix
            for suffix in codecs.layout(known[metadata.codec], metadata.codec, codecs.shape_of(name, slots))
            if suffix != ROWS
        ]
        for name in names
    }
    big = {name + suffix for name in names for suffix in suffixes[name]}
    small = container.Stored(path, {name: slot for name, slot in slots.items() if name not in big})
    loaded = {name: np.array(array) for name, array in small.items()}
    indices = {name.removesuffix(INDEX): array for name, array in loaded.items() if name.endswith(INDEX)}
    tensors = container.Stored(path, {name: slot for name, slot in slots.items() if name in big})
    arrays = codecs.Decoded(known[metadata.codec], tensors, suffixes)
    return _upload(metadata, slots, path.stat().st_size, loaded, arrays, indices, known)


def _upload(
    metadata: UploadMetadata,
    slots: Mapping[str, container.Slot],
    length: int,
    columns: Mapping[str, Array],
    arrays: Mapping[str, Rows],
    indices: Mapping[str, Array],
    known: Mapping[str, Codec],
    texts: Sequence[tuple[str, str | None]] = (),
) -> ClientUpload:
    domain = tuple("" if index < 0 else metadata.domains[index] for index in columns["domain"].tolist())
    classes, weights, scales = (columns[name].tolist() for name in ("class_id", "weight", "guidance_scale"))
    prompts = tuple(
        Prompt(
            classes[row],
            text,
            negative,
            domain[row] or None,
            weights[row],
            None if math.isnan(scales[row]) else scales[row],
        )
        for row, (text, negative) in enumerate(texts)
    )
    return ClientUpload(
        client_id=metadata.client_id,
        round=int(metadata.round),
        encoder=metadata.encoder,
        arrays=arrays,
        indices=indices,
        class_id=columns["class_id"].astype(np.int64),
        weight=np.array(columns["weight"]),
        domain=domain,
        guidance_scale=np.array(columns["guidance_scale"]),
        codec=metadata.codec,
        codec_error=_errors(metadata),
        bytes_by_codec=sizes_of(metadata, slots, length, known),
        prompts=prompts,
    )


def _identity(metadata: UploadMetadata, expected: UploadPolicy, client_id: str | None) -> None:
    """Whether the upload is for this run and from whom it should be."""
    run, sender = metadata.run, metadata.client_id
    require(run == expected.run, UploadReplayError, f"written for the run {quoted(run)}, this one is {expected.run!r}")
    round_stated = quoted(metadata.round)
    require(
        metadata.round == str(expected.round), UploadRoundError, f"round is {round_stated}, expected '{expected.round}'"
    )
    require(sender in expected.clients, UploadSenderError, f"unknown client {quoted(sender)}")
    require(
        client_id is None or sender == client_id, UploadSenderError, f"client id is {sender!r}, expected {client_id!r}"
    )
    known, codec = metadata.codec in (*expected.known, TEXT), quoted(metadata.codec)
    require(known, UploadFormatError, f"codec is {codec}, expected {', '.join(expected.known)} or {TEXT}")
    rule = "a text upload, and this run takes embeddings alone: the server has not chosen upload.codec=text"
    require(expected.texts or metadata.codec != TEXT, UploadFormatError, rule)
    require(
        metadata.encoder == ("" if metadata.codec == TEXT else expected.declaration.encoder),
        UploadEncoderError,
        "encoded by another model than this generator's text encoder: client and server must use the same files",
    )
    require(
        metadata.classes == classes_digest(expected.class_names),
        UploadClassesError,
        "another list of classes: client and server must have the same class names in the same order",
    )


def _check_columns(columns: Mapping[str, Array], classes: int, domains: int) -> None:
    class_id, weight, guidance, domain = (columns[name] for name in ("class_id", "weight", "guidance_scale", "domain"))
    inside = bool(((class_id >= 0) & (class_id < classes)).all())
    require(inside, UploadClassesError, f"class ids outside 0..{classes - 1}")
    counted = bool(((weight >= MIN_WEIGHT) & (weight <= MAX_WEIGHT)).all())  # NaN is neither
    require(counted, UploadWeightError, f"weights that are not numbers from {MIN_WEIGHT:g} to {MAX_WEIGHT:g}")
    bounded = np.isnan(guidance) | ((guidance >= 0) & (guidance <= MAX_GUIDANCE))
    require(bool(bounded.all()), UploadValueError, f"guidance scales outside 0..{MAX_GUIDANCE:g}")
    named = bool(((domain >= -1) & (domain < domains)).all())
    require(named, UploadShapeError, "domain numbers without a name")
    require(len(np.setdiff1d(domain, [-1])) == domains, UploadShapeError, "domain names that no row has")


def _texts(
    tensors: dict[str, Array], metadata: UploadMetadata, expected: UploadPolicy, rows: int
) -> list[tuple[str, str | None]]:
    """(text, negative text) of each row. What they become is counted before anything is encoded, and as far as it is
    known before a text is looked at: a short one is an array of a hundred kilobytes."""
    arrays = expected.declaration.arrays
    each = {spec.name: 4 * math.prod(spec.shape) for spec in arrays}

    def count(shared: int) -> None:
        grown = sum(each[spec.name] * (shared if spec.shared else rows) for spec in arrays)
        rule = f"texts that become {grown} bytes of embeddings; the cap is {expected.max_bytes} (upload.max_megabytes)"
        require(grown <= expected.max_bytes, UploadSizeError, rule)

    count(0)
    counted = [
        tensors[codecs.OFFSETS].size - 1 if codecs.OFFSETS in tensors else 0,
        tensors[codecs.TEXTS].size if codecs.TEXTS in tensors else 0,
    ]
    texts = codecs.unpack_texts(tensors, rows)
    require(metadata.texts == counted, UploadFormatError, f"texts is {metadata.texts}, expected {counted}")
    require(not metadata.error, UploadFormatError, "errors of a codec that has none")
    count(min(rows, len({negative or "" for _, negative in texts})))  # without one, a row has that of an empty text
    return texts


def _arrays(
    tensors: dict[str, Array], declaration: UploadSchema, name: str, codec: Codec, rows: int
) -> tuple[dict[str, Rows], dict[str, Array]]:
    """name: of the codec."""
    arrays: dict[str, Rows] = {}
    indices: dict[str, Array] = {}
    for spec in declaration.arrays:
        array = tensors.pop(spec.name, None)
        if array is None:
            require(spec.optional, UploadShapeError, f"array {spec.name} is missing")
            continue
        whole = (*array.shape[:1], *spec.shape)
        rule = f"{spec.name} has rows of {array.shape[1:]}, expected {spec.shape}"
        require(array.ndim > 0, UploadShapeError, rule)
        try:
            layout = codecs.layout(codec, name, whole)
        except Exception as error:  # the shape is the sender's: no server ends by it
            raise UploadShapeError(f"refused: {spec.name} has the shape {array.shape}") from error
        dtype, shape = layout.pop("")
        fits = array.dtype == dtype and codec.presented in spec.dtypes
        require(fits, UploadShapeError, f"{spec.name} is {array.dtype}, expected {dtype}")
        fits = array.shape == shape
        require(fits, UploadShapeError, f"{spec.name} has rows of {array.shape[1:]}, expected {shape[1:]}")
        if spec.shared:
            index = _column(tensors, spec.name + INDEX, "int32", rows)
            low = -1 if spec.optional else 0
            inside = bool(((index >= low) & (index < len(array))).all())
            require(inside, UploadShapeError, f"{spec.name}{INDEX} points outside its {len(array)} rows")
            used = len(np.setdiff1d(index, [-1]))
            require(used == len(array), UploadShapeError, f"{spec.name} has {len(array)} rows, and uses {used}")
            indices[spec.name] = index
        else:
            require(len(array) == rows, UploadShapeError, f"{spec.name} has {len(array)} rows, expected {rows}")
        parts = {"": array}
        for suffix, (dtype, shape) in layout.items():
            part = tensors.pop(spec.name + suffix, None)
            if part is None:
                raise UploadShapeError(f"refused: array {spec.name}{suffix} is missing")
            rule = f"{spec.name}{suffix} is {part.dtype} {part.shape}, expected {dtype} {shape}"
            require(part.dtype == dtype and part.shape == shape, UploadShapeError, rule)
            if suffix != ROWS:
                parts[suffix] = part
        arrays[spec.name] = codecs.check(codec, spec.name, parts, whole, spec.max_abs)
    return arrays, indices


def _column(tensors: dict[str, Array], name: str, dtype: str, rows: int) -> Array:
    array = tensors.pop(name, None)
    if array is None:
        raise UploadShapeError(f"refused: array {name} is missing")
    fits = array.dtype == dtype and array.shape == (rows,)
    require(fits, UploadShapeError, f"{name} is {array.dtype} {array.shape}, expected {dtype} [{rows}]")
    return array
