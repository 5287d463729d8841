"""Hostile uploads: mutations of valid files, and what must hold of any that is accepted.

Two attackers. The network's mutations know nothing (bits, bytes, cuts, pieces of other files, edited headers): no
mutant may be accepted that means anything else than a file that was written. A malicious client's mutations change what
an upload says and compute the checksum anew: what is accepted must keep every rule, as judged here without the
decoder's code.
"""

from __future__ import annotations

import json
import math
import random
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors.numpy import load, save

from fgl.contracts.aggregator import ClientUpload
from fgl.core.wire.codecs import INDEX, MAX_TEXT, NEGATIVES, OFFSETS, PROMPTS, TEXTS
from fgl.core.wire.upload import MAX_GUIDANCE, MAX_WEIGHT, METADATA, MIN_WEIGHT, checksum
from fgl.core.wire.upload_reader import UploadPolicy
from fgl.plugins.codecs.int8 import SCALE

if TYPE_CHECKING:
    from fgl.contracts.aggregator import Rows
    from fgl.contracts.arrays import Array


def same_upload(one: ClientUpload, other: ClientUpload) -> bool:
    """Whether two uploads say the same, to the last bit."""
    return (
        (one.client_id, one.round, one.encoder, one.domain, one.codec, one.codec_error, one.prompts)
        == (other.client_id, other.round, other.encoder, other.domain, other.codec, other.codec_error, other.prompts)
        and _equal(one.class_id, other.class_id)
        and _equal(one.weight, other.weight)
        and _equal(one.guidance_scale, other.guidance_scale)
        and set(one.arrays) == set(other.arrays)
        and all(_equal(one.arrays[name], other.arrays[name]) for name in one.arrays)
        and set(one.indices) == set(other.indices)
        and all(_equal(one.indices[name], other.indices[name]) for name in one.indices)
    )


def same_arrays(read: Mapping[str, Array], found: ClientUpload) -> bool:
    """Whether the safetensors library read the same arrays from the file, or the same texts."""
    if found.prompts:
        data, ends = read[TEXTS].tobytes(), read[OFFSETS].tolist()
        texts = [data[start:end].decode() for start, end in pairwise(ends)]
        told = [(prompt.text, prompt.negative) for prompt in found.prompts]
        pairs = zip(read[PROMPTS].tolist(), read[NEGATIVES].tolist(), strict=True)
        return told == [(texts[one], None if other < 0 else texts[other]) for one, other in pairs]
    plain = {name: read[name] for name in found.arrays}
    for name in found.arrays:
        if name + SCALE in read:
            scale = read[name + SCALE]
            axes = (len(scale), *[1] * (read[name].ndim - 2), scale.shape[1])
            plain[name] = read[name].astype(np.float32) * scale.reshape(axes) + np.float32(0)
    return all(_equal(plain[name], array) for name, array in found.arrays.items())


def keeps_every_rule(found: ClientUpload, expected: UploadPolicy) -> bool:
    """Whether an accepted upload is within everything that was declared, computed the plain way."""
    rows = len(found.class_id)
    fine = found.client_id in expected.clients and found.round == expected.round
    fine &= 0 < rows <= expected.max_rows
    fine &= all(0 <= error < math.inf for pair in found.codec_error.values() for error in pair)
    fine &= all(0 <= item < len(expected.class_names) for item in found.class_id.tolist())
    fine &= len(found.weight) == rows and all(MIN_WEIGHT <= item <= MAX_WEIGHT for item in found.weight.tolist())
    scales = found.guidance_scale.tolist()
    fine &= len(scales) == rows and all(math.isnan(item) or 0 <= item <= MAX_GUIDANCE for item in scales)
    fine &= len(found.domain) == rows and all(isinstance(name, str) and len(name) <= 200 for name in found.domain)
    if found.codec == "text":
        told = [text for prompt in found.prompts for text in (prompt.text, prompt.negative or "")]
        fine &= expected.texts and len(found.prompts) == rows and not found.arrays and found.encoder == ""
        fine &= all(len(text) <= MAX_TEXT and text.encode().decode() == text for text in told)
        return bool(fine and all(ord(letter) >= 32 and not 127 <= ord(letter) < 160 for letter in "".join(told)))
    fine &= found.encoder == expected.declaration.encoder and not found.prompts
    specs = {spec.name: spec for spec in expected.declaration.arrays}
    fine &= set(found.arrays) <= set(specs)
    for name, spec in specs.items():
        array = found.arrays.get(name)
        if array is None:
            fine &= spec.optional
            continue
        fine &= array.shape[1:] == spec.shape and array.dtype.name in spec.dtypes
        fine &= all(
            math.isfinite(item) and abs(item) <= spec.max_abs
            for item in np.asarray(array).astype(float).ravel().tolist()
        )
        if spec.shared:
            low = -1 if spec.optional else 0
            pointers = found.indices[name].tolist()
            fine &= len(pointers) == rows and all(low <= item < len(array) for item in pointers)
        else:
            fine &= len(array) == rows
    return bool(fine)


def mutants(files: Sequence[bytes], seed: int, count: int) -> Iterator[bytes]:
    """`count` files that a careless network, disk or attacker could make of valid ones."""
    draw = random.Random(seed)
    for _ in range(count):
        data = draw.choice(files)
        for _ in range(draw.choice((1, 1, 1, 2, 5))):
            data = draw.choice(_MUTATIONS)(data, draw, files)
        yield data


def signed_mutants(files: Sequence[bytes], seed: int, count: int) -> Iterator[bytes]:
    """`count` uploads that a client with the code at hand could write: what they say is changed, the checksum fits."""
    draw = random.Random(seed)
    for _ in range(count):
        tensors, metadata = _opened(draw.choice(files))
        for _ in range(draw.choice((1, 1, 2, 3))):
            draw.choice((_lie_in_metadata, _lie_in_numbers, _lie_in_numbers, _lie_in_shapes))(tensors, metadata, draw)
        try:
            metadata["checksum"] = checksum(metadata, tensors)
            yield save(tensors, {METADATA: json.dumps(metadata)})
        except (TypeError, ValueError):  # not even a client could write that
            continue


def _flip(data: bytes, draw: random.Random, _: Sequence[bytes]) -> bytes:
    if not data:
        return data
    changed = bytearray(data)
    # half of the time in the header, which is small and decides most
    place = draw.randrange(min(len(data), 900)) if draw.random() < 0.5 else draw.randrange(len(data))
    changed[place] ^= 1 << draw.randrange(8)
    return bytes(changed)


def _overwrite(data: bytes, draw: random.Random, _: Sequence[bytes]) -> bytes:
    if not data:
        return data
    changed = bytearray(data)
    place, length = draw.randrange(len(data)), draw.choice((1, 2, 4, 8))
    value = draw.choice((b"\x00", b"\xff", b"\x7f", bytes([draw.randrange(256)])))
    changed[place : place + length] = value * len(changed[place : place + length])
    return bytes(changed)


def _cut(data: bytes, draw: random.Random, _: Sequence[bytes]) -> bytes:
    place = draw.randrange(len(data) + 1)
    return draw.choice((data[:place], data[place:], data[:place] + data[place + draw.randrange(1, 65) :]))


def _insert(data: bytes, draw: random.Random, _: Sequence[bytes]) -> bytes:
    place = draw.randrange(len(data) + 1)
    return data[:place] + draw.randbytes(draw.choice((1, 4, 8, 100))) + data[place:]


def _splice(data: bytes, draw: random.Random, files: Sequence[bytes]) -> bytes:
    other = draw.choice(files)
    return data[: draw.randrange(len(data) + 1)] + other[draw.randrange(len(other)) :]


def _length(data: bytes, draw: random.Random, _: Sequence[bytes]) -> bytes:
    value = draw.choice((0, 1, 2**16, 2**31, 2**32, 2**63, 2**64 - 1, len(data), len(data) - 8, draw.randrange(2000)))
    return struct.pack("<Q", value % 2**64) + data[8:]


def _header(data: bytes, draw: random.Random, _: Sequence[bytes]) -> bytes:
    """Edit the JSON and put it back with a length that fits."""
    if len(data) < 8:
        return data
    (length,) = struct.unpack("<Q", data[:8])
    try:
        header = json.loads(data[8 : 8 + length])
    except (ValueError, RecursionError):
        return data
    if not isinstance(header, dict) or not header:
        return data
    if draw.random() < 0.2:  # an array without a byte, of any shape
        place = len(data) - 8 - length
        shape = draw.choice(([0], [0, 2**47, 2**47], [0, 2**62], [2**40, 0, 2**40], [0] * 40, [0, 4, 3]))
        name = draw.choice(("x", "weight", "prompt_embeds", "negative_prompt_embeds.index"))
        header[name] = {
            "dtype": draw.choice(("F16", "F32", "I32", "I8", "U8")),
            "shape": shape,
            "data_offsets": [place, place],
        }
    else:
        _edit(header, draw)
    text = json.dumps(header).encode()
    if draw.random() < 0.2:  # the same, laid out otherwise: may be accepted, for it says the same
        text += b" " * draw.randrange(16)
    return struct.pack("<Q", len(text)) + text + data[8 + length :]


_MUTATIONS: tuple[Callable[[bytes, random.Random, Sequence[bytes]], bytes], ...] = (
    _flip,
    _flip,
    _flip,
    _overwrite,
    _cut,
    _insert,
    _splice,
    _length,
    _header,
    _header,
)
_VALUES: tuple[Any, ...] = (
    0, 1, -1, 2, 3, 2**31, 2**63, 2**64, 1e308, float("nan"), True, None, "", "F16", "F32", "F64", "I32", "BF16",
    "x" * 300, "0.000000e+00", "fp16", "fp32", "int8", "text", [], [0, 0], [1], [0, 2**62], [2**32, 2**32], {},
    {"a": 1},
)  # fmt: skip


def _edit(value: Any, draw: random.Random) -> None:
    """Change one thing, somewhere in a JSON value."""
    inner = list(value) if isinstance(value, dict) else list(range(len(value)))
    if not inner:
        return
    key = draw.choice(inner)
    if isinstance(value[key], dict | list) and value[key] and draw.random() < 0.7:
        _edit(value[key], draw)
    elif draw.random() < 0.2:
        del value[key]
    elif isinstance(value, dict) and draw.random() < 0.3:
        value[draw.choice((*inner, "class_id", "weight", "extra", "__metadata__"))] = value.pop(key)
    else:
        value[key] = draw.choice(_VALUES)


def _opened(data: bytes) -> tuple[dict[str, Array], dict[str, Any]]:
    (length,) = struct.unpack("<Q", data[:8])
    metadata = json.loads(json.loads(data[8 : 8 + length])["__metadata__"][METADATA])
    return {name: array.copy() for name, array in load(data).items()}, metadata


def _lie_in_metadata(tensors: dict[str, Array], metadata: dict[str, Any], draw: random.Random) -> None:
    _edit(metadata, draw)


_NUMBERS = (
    0,
    -0.0,
    1,
    -1,
    2,
    1e-300,
    1e-6,
    99.0,
    101.0,
    999.0,
    1e5,
    1e12,
    1e13,
    1e300,
    -1e300,
    np.nan,
    np.inf,
    -np.inf,
    127,
    -128,
    255,
    1e-45,
    3e38,
)


def _lie_in_numbers(tensors: dict[str, Array], metadata: dict[str, Any], draw: random.Random) -> None:
    name = draw.choice(sorted(tensors) or [""])
    if not name or not tensors[name].size:
        return
    flat = tensors[name].reshape(-1)
    for _ in range(draw.choice((1, 1, 3))):
        with np.errstate(all="ignore"):
            flat[draw.randrange(len(flat))] = np.float64(draw.choice(_NUMBERS)).astype(flat.dtype)


def _lie_in_shapes(tensors: dict[str, Array], metadata: dict[str, Any], draw: random.Random) -> None:
    name = draw.choice(sorted(tensors) or [""])
    if not name:
        return
    array = tensors[name]
    kind = draw.randrange(7)
    if kind == 0:
        del tensors[name]
    elif kind == 1:
        tensors[name + draw.choice((INDEX, SCALE, "2", "/../x"))] = array.copy()
    elif kind == 2:
        with np.errstate(all="ignore"):
            tensors[name] = array.astype(
                draw.choice(("float16", "float32", "float64", "int8", "int32", "int64", "uint8", "bool"))
            )
    elif kind == 3 and array.ndim:
        tensors[name] = np.concatenate([array, array[:1]])
    elif kind == 4 and array.ndim:
        tensors[name] = array[: draw.randrange(len(array) + 1)].copy()
    elif kind == 5:
        tensors[name] = array[None].copy()
    elif array.size > 1:
        tensors[name] = array.reshape(-1)[: array.size - 1].copy()


def _equal(first: Rows, second: Rows) -> bool:
    one, other = np.asarray(first), np.asarray(second)
    return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()
