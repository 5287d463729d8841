"""Models that cross the wire in a round: down to a client, and up again. What comes up is hostile until it is accepted.

Format, version 1: one safetensors file, read as strictly as an upload (`fgl.core.wire`). Header metadata: one key
`fgl`, a JSON object with format, version, run, client_id, round, status, samples, loss and checksum. Tensors:
`model/<name>` for each array of the model's state, in its own dtype, and `extra/<name>`, float32, for what the
algorithm sends beside it. An update whose status is `diverged` holds no tensor: the client has no model to give.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors.numpy import save

from fgl.core import wire
from fgl.core.errors import (
    DivergedError,
    UploadChecksumError,
    UploadError,
    UploadFormatError,
    UploadReplayError,
    UploadRoundError,
    UploadSenderError,
    UploadShapeError,
    UploadSizeError,
    UploadValueError,
    UploadWeightError,
)
from fgl.core.text import quoted
from fgl.core.types import LocalUpdate
from fgl.core.upload import METADATA, checksum

if TYPE_CHECKING:
    from fgl.core.types import Array

FORMAT, VERSION = "fgl-round", "1"
DONE, DIVERGED = "done", "diverged"
# More samples than this at one client is a mistake, or an attempt to outweigh the others.
MAX_SAMPLES = 10**9
# No weight of a network that predicts anything comes near this; averages of such numbers stay finite.
MAX_ABS = 1e12
_MODEL, _EXTRA = "model/", "extra/"
_KEYS = {"format", "version", "run", "client_id", "round", "status", "samples", "loss", "checksum"}


@dataclass(frozen=True, slots=True)
class Header:
    """Of which run and round a message is, and whose. samples, loss: of an update; 0 on the way down."""

    run: str
    client_id: str
    round: int
    samples: int = 0
    loss: float = 0.0


@dataclass(frozen=True, slots=True)
class Expected:
    """What an update is checked against. model: the state that went down. extra: name → shape, float32, as the
    algorithm says (`Algorithm.reply`)."""

    header: Header
    model: Mapping[str, Array]
    extra: Mapping[str, tuple[int, ...]]

    def max_bytes(self) -> int:
        """A message of exactly these arrays, and the longest header."""
        model = sum(array.nbytes for array in self.model.values())
        extra = sum(4 * math.prod(shape) for shape in self.extra.values())
        return model + extra + wire.MAX_HEADER + 8


def encode(header: Header, model: Mapping[str, Array], extra: Mapping[str, Array], status: str = DONE) -> bytes:
    """Bytes of a message, down or up. Arrays of `extra` are sent as float32."""
    tensors = {f"{_MODEL}{name}": np.array(array, order="C") for name, array in model.items()}
    tensors |= {f"{_EXTRA}{name}": np.array(array, dtype=np.float32, order="C") for name, array in extra.items()}
    # float.hex loses nothing, and is text that a reader cannot take for infinity
    loss = header.loss if math.isfinite(header.loss) else 0.0
    metadata: dict[str, Any] = {
        "format": FORMAT, "version": VERSION, "run": header.run, "client_id": header.client_id,
        "round": header.round, "status": status, "samples": header.samples, "loss": float(loss).hex(),
    }  # fmt: skip
    metadata["checksum"] = checksum(metadata, tensors)
    return save(tensors, {METADATA: json.dumps(metadata, sort_keys=True, allow_nan=False)})


def received(data: bytes | memoryview) -> tuple[dict[str, Array], dict[str, Array]]:
    """(model, extra) of what the server sent, as a client reads it. Raises UploadError where it is damaged."""
    _, tensors = _read(data)
    return _part(tensors, _MODEL), _part(tensors, _EXTRA)


def accept(data: bytes | memoryview, expected: Expected) -> LocalUpdate:
    """Accept an update whole or refuse it whole; its arrays are copies. Raises a subclass of UploadError that says the
    rule, and DivergedError where the client has nothing to send because its training diverged."""
    header = expected.header
    cap = expected.max_bytes()
    _require(len(data) <= cap, UploadSizeError, f"an update of {len(data)} bytes; a model of this shape has {cap}")
    metadata, tensors = _read(data)
    found = quoted(metadata["client_id"])
    _require(metadata["client_id"] == header.client_id, UploadSenderError, f"an update of {found}")
    _require(metadata["run"] == header.run, UploadReplayError, "made for another run")
    _require(metadata["round"] == header.round, UploadRoundError, f"made for round {quoted(metadata['round'])}")
    if metadata["status"] == DIVERGED:
        raise DivergedError(f"round {header.round}: training diverged at {header.client_id}")
    samples, loss = metadata["samples"], _number(metadata["loss"])
    well = type(samples) is int and 1 <= samples <= MAX_SAMPLES
    _require(well, UploadWeightError, f"samples is {quoted(samples)}, expected 1 to {MAX_SAMPLES}")
    model, extra = _part(tensors, _MODEL), _part(tensors, _EXTRA)
    _same("model", {name: (array.dtype, array.shape) for name, array in expected.model.items()}, model)
    _same("extra", {name: (np.dtype(np.float32), shape) for name, shape in expected.extra.items()}, extra)
    for part in (model, extra):
        for name, array in part.items():
            _values(name, array)
    return LocalUpdate(header.client_id, samples, model, extra, loss=loss)


def _read(data: bytes | memoryview) -> tuple[dict[str, Any], dict[str, Array]]:
    header, slots = wire.layout(data, model=True)
    _require(set(header) == {METADATA}, UploadFormatError, f"metadata other than {METADATA!r}")
    metadata = wire.parse(header[METADATA].encode("utf-8", errors="replace"))
    _require(set(metadata) == _KEYS, UploadFormatError, f"metadata that is not {', '.join(sorted(_KEYS))}")
    mine = (metadata["format"], metadata["version"]) == (FORMAT, VERSION)
    said = f"{quoted(metadata['format'])} {quoted(metadata['version'])}"
    _require(mine, UploadFormatError, f"{said}, expected {FORMAT} {VERSION}: the same version of fgl on both sides")
    _require(metadata["status"] in (DONE, DIVERGED), UploadFormatError, f"status {quoted(metadata['status'])}")
    tensors = wire.views(data, slots)
    _require(checksum(metadata, tensors) == metadata["checksum"], UploadChecksumError, "damaged: the checksum differs")
    stray = [name for name in tensors if not name.startswith((_MODEL, _EXTRA))]
    _require(not stray, UploadShapeError, f"arrays that belong to nothing: {quoted(', '.join(stray))}")
    return metadata, tensors


def _number(text: Any) -> float:
    try:
        value = float.fromhex(text)
    except (TypeError, ValueError, OverflowError):
        value = math.nan
    _require(math.isfinite(value), UploadFormatError, f"loss is {quoted(text)}, expected a number in hexadecimal")
    return value


def _part(tensors: Mapping[str, Array], prefix: str) -> dict[str, Array]:
    # copies: what is kept from round to round must not hold on to the whole message
    return {name.removeprefix(prefix): np.array(a) for name, a in tensors.items() if name.startswith(prefix)}


def _same(what: str, wanted: Mapping[str, tuple[np.dtype[Any], tuple[int, ...]]], found: Mapping[str, Array]) -> None:
    missing, surplus = sorted(set(wanted) - set(found)), sorted(set(found) - set(wanted))
    if missing or surplus:
        said = [f"{kind} {quoted(', '.join(names))}" for kind, names in (("lacks", missing), ("has", surplus)) if names]
        raise UploadShapeError(f"refused: its {what} {' and '.join(said)}")
    for name, (dtype, shape) in wanted.items():
        array = found[name]
        same = array.dtype == dtype and array.shape == shape
        _require(same, UploadShapeError, f"{name} is {array.dtype} {array.shape}, expected {dtype} {shape}")


def _values(name: str, array: Array) -> None:
    if np.issubdtype(array.dtype, np.floating):
        # not (x <= bound): NaN is refused too
        _require(
            bool((np.abs(array) <= MAX_ABS).all()), UploadValueError, f"{name} holds numbers that are none, or huge"
        )
    else:
        bounded = bool(((array >= 0) & (array <= MAX_ABS)).all())
        _require(bounded, UploadValueError, f"{name} holds counts below zero, or huge ones")


def _require(holds: bool, error: type[UploadError], rule: str) -> None:
    if not holds:
        raise error(f"refused: {rule}")
