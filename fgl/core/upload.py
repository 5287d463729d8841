"""ClientUpload ⇄ bytes. What a client sends is hostile until `decode` has accepted it.

Format, version 1: one safetensors file. Header metadata: one key `fgl`, a JSON object with format, version, client_id,
round, encoder (fingerprint), codec, domains (a list) and text_bytes (for the report alone). One key, because
safetensors writes several in random order, and equal uploads are to be equal bytes. Tensors: each declared array under
its name; `<name>.index` int32 [n] for a shared one; `class_id` int32 [n], `weight` float64 [n], `domain` int32 [n]
(position in `domains`, -1 for none), `guidance_scale` float64 [n] (NaN for the generator's own).
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from fgl.core.errors import UploadError
from fgl.core.types import ClientUpload, Declaration

if TYPE_CHECKING:
    from fgl.core.types import Array, Prompt

FORMAT, VERSION = "fgl-upload", "1"
CODECS: dict[str, np.dtype[Any]] = {"fp16": np.dtype("float16"), "fp32": np.dtype("float32")}
METADATA, INDEX = "fgl", ".index"
# Sums of counts stay exact in float64 far beyond this; more samples than this at one client is a mistake or an attack.
MAX_WEIGHT = 1e12


@dataclass(frozen=True, slots=True)
class Expected:
    """What an upload is checked against. clients: ids that may answer. max_bytes: looked at before parsing."""

    declaration: Declaration
    clients: Sequence[str]
    round: int
    classes: int
    max_bytes: int


def encode(
    client_id: str,
    round_number: int,
    declaration: Declaration,
    codec: str,
    prompts: Sequence[Prompt],
    arrays: Mapping[str, Array],
    indices: Mapping[str, Array],
) -> bytes:
    """Bytes of an upload. arrays and indices: as `Encoder.encode` returns them, in the order of the prompts.

    Raises UploadError where a number does not fit the codec (float16 ends at 65504)."""
    domains = sorted({prompt.domain for prompt in prompts if prompt.domain})
    tensors: dict[str, Array] = {}
    for name, array in arrays.items():
        with np.errstate(over="ignore"):
            cast = np.ascontiguousarray(array, dtype=CODECS[codec])
        if not np.isfinite(cast).all():
            raise UploadError(f"{name} of {client_id} does not fit {codec}: use upload.codec=fp32")
        tensors[name] = cast
    for name, index in indices.items():
        tensors[name + INDEX] = np.ascontiguousarray(index, dtype=np.int32)
    guidance = [np.nan if prompt.guidance_scale is None else prompt.guidance_scale for prompt in prompts]
    tensors["class_id"] = np.array([prompt.class_id for prompt in prompts], dtype=np.int32)
    tensors["weight"] = np.array([prompt.weight for prompt in prompts], dtype=np.float64)
    tensors["domain"] = np.array([domains.index(p.domain) if p.domain else -1 for p in prompts], dtype=np.int32)
    tensors["guidance_scale"] = np.array(guidance, dtype=np.float64)
    metadata = {
        "format": FORMAT, "version": VERSION, "client_id": client_id, "round": str(round_number),
        "encoder": declaration.encoder, "codec": codec, "domains": domains,
        "text_bytes": text_bytes(prompts),
    }  # fmt: skip
    return save(tensors, {METADATA: json.dumps(metadata, sort_keys=True)})


def text_bytes(prompts: Sequence[Prompt]) -> int:
    """What the rows would cost as strings: each prompt with its label, each distinct negative prompt once."""
    texts = sum(len(prompt.text.encode()) + 4 for prompt in prompts)
    return texts + sum(len(text.encode()) for text in {prompt.negative for prompt in prompts if prompt.negative})


def decode(data: bytes, expected: Expected, client_id: str | None = None) -> ClientUpload:
    """Accept an upload whole or refuse it whole. client_id: whose it must be, None for any known client.

    Raises UploadError, which says the rule that was broken."""
    if len(data) > expected.max_bytes:
        raise UploadError(f"upload of {len(data)} bytes; the cap is {expected.max_bytes} (upload.max_megabytes)")
    metadata = _metadata(data)
    for key, want in (("format", FORMAT), ("version", VERSION), ("round", str(expected.round))):
        _require(metadata.get(key) == want, f"{key} is {metadata.get(key)!r}, expected {want!r}")
    sender = metadata["client_id"]
    _require(sender in expected.clients, f"unknown client {sender!r}")
    _require(client_id is None or sender == client_id, f"client id is {sender!r}, expected {client_id!r}")
    _require(
        metadata.get("encoder") == expected.declaration.encoder,
        "encoded by another model than this generator's text encoder: client and server must use the same files",
    )
    _require(metadata.get("codec") in CODECS, f"codec is {metadata.get('codec')!r}, expected {' or '.join(CODECS)}")
    try:
        tensors = load(data)
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise UploadError(f"not a safetensors file: {error}") from error
    domains = _domains(metadata.get("domains"))
    class_id = _column(tensors, "class_id", "int32", None)
    rows = len(class_id)
    _require(rows > 0, "an upload of no rows")
    _require(
        bool(((class_id >= 0) & (class_id < expected.classes)).all()), f"class ids outside 0..{expected.classes - 1}"
    )
    weight = _column(tensors, "weight", "float64", rows)
    _require(
        bool((np.isfinite(weight) & (weight > 0) & (weight <= MAX_WEIGHT)).all()),
        "weights that are not positive numbers",
    )
    guidance = _column(tensors, "guidance_scale", "float64", rows)
    bounded = np.isnan(guidance) | ((guidance >= 0) & (guidance <= 100))
    _require(bool(bounded.all()), "guidance scales outside 0..100")
    domain = _column(tensors, "domain", "int32", rows)
    _require(bool(((domain >= -1) & (domain < len(domains))).all()), "domain numbers without a name")
    arrays, indices = _arrays(tensors, expected.declaration, CODECS[metadata["codec"]], rows)
    _require(not tensors, f"undeclared arrays: {', '.join(sorted(tensors))}")
    return ClientUpload(
        client_id=sender,
        round=expected.round,
        encoder=metadata["encoder"],
        arrays=arrays,
        indices=indices,
        class_id=class_id.astype(np.int64),
        weight=weight,
        domain=tuple("" if index < 0 else domains[index] for index in domain.tolist()),
        guidance_scale=guidance,
        text_bytes=metadata["text_bytes"],
    )


def _arrays(
    tensors: dict[str, Array], declaration: Declaration, dtype: np.dtype[Any], rows: int
) -> tuple[dict[str, Array], dict[str, Array]]:
    arrays: dict[str, Array] = {}
    indices: dict[str, Array] = {}
    for spec in declaration.arrays:
        array = tensors.pop(spec.name, None)
        if array is None:
            _require(spec.optional, f"array {spec.name} is missing")
            continue
        _require(array.dtype == dtype and dtype.name in spec.dtypes, f"{spec.name} is {array.dtype}, expected {dtype}")
        _require(array.shape[1:] == spec.shape, f"{spec.name} has rows of {array.shape[1:]}, expected {spec.shape}")
        bound = float(np.abs(array).max(initial=0.0)) if np.isfinite(array).all() else float("inf")
        _require(bound <= spec.max_abs, f"{spec.name} holds numbers that are not finite or beyond {spec.max_abs:g}")
        arrays[spec.name] = array
        if spec.shared:
            index = _column(tensors, spec.name + INDEX, "int32", rows)
            low = -1 if spec.optional else 0
            inside = bool(((index >= low) & (index < len(array))).all())
            _require(inside, f"{spec.name}{INDEX} points outside its {len(array)} rows")
            indices[spec.name] = index
        else:
            _require(len(array) == rows, f"{spec.name} has {len(array)} rows, expected {rows}")
    return arrays, indices


def _metadata(data: bytes) -> dict[str, Any]:
    """The header's metadata, read with bounds before any tensor is."""
    _require(len(data) >= 8, "too short for a safetensors file")
    (length,) = struct.unpack("<Q", data[:8])
    _require(length <= min(len(data) - 8, 1_000_000), f"a header of {length} bytes in a file of {len(data)}")
    try:
        header = json.loads(data[8 : 8 + length])
        metadata = json.loads(header["__metadata__"][METADATA])
    except (ValueError, TypeError, LookupError, RecursionError) as error:
        raise UploadError(f"refused: unreadable header: {type(error).__name__}: {error}") from error
    texts = ("format", "version", "client_id", "round", "encoder", "codec")
    well = isinstance(metadata, dict) and all(isinstance(metadata.get(name), str) for name in texts)
    _require(well, f"metadata that lacks one of {', '.join(texts)}")
    counted = metadata.get("text_bytes")
    _require(type(counted) is int and 0 <= counted < 2**53, f"text_bytes is {counted!r}, expected a number of bytes")
    return dict(metadata)


def _domains(domains: Any) -> list[str]:
    well = isinstance(domains, list) and all(isinstance(name, str) and 0 < len(name) <= 200 for name in domains)
    _require(well, "domains that are not a list of names")
    return list(domains)


def _column(tensors: dict[str, Array], name: str, dtype: str, rows: int | None) -> Array:
    array = tensors.pop(name, None)
    if array is None:
        raise UploadError(f"refused: array {name} is missing")
    shape_fits = array.ndim == 1 and (rows is None or len(array) == rows)
    _require(
        array.dtype == dtype and shape_fits, f"{name} is {array.dtype} {array.shape}, expected {dtype} [{rows or 'n'}]"
    )
    return array


def _require(holds: bool, rule: str) -> None:
    if not holds:
        raise UploadError(f"refused: {rule}")
