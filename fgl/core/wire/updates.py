"""Models that cross the wire in a round: down to a client, and up again. What comes up is hostile until it is accepted.

Format, version 2: one safetensors file, read as strictly as an upload (`fgl.core.wire.container`). Header metadata: one
key `fgl`, a JSON object with format, version, run, client_id, round, status, samples, loss, kept and checksum. Tensors:
`model/<name>` for each array of the model's state, in its own dtype, and `extra/<name>`, float32, for what the
algorithm sends beside it. An update whose status is `diverged` or `lost` holds no tensor: the client has no model to
give, or no longer has what it kept in an earlier round.

`kept` is the digest of what stays at the client until its next round, empty for nothing. The server notes it with the
round's commit and sends it down with the client's next model, so that a client never trains on from anything else.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors.numpy import save

from fgl.contracts.algorithm import LocalUpdate
from fgl.contracts.arrays import contiguous
from fgl.core.wire import container
from fgl.core.wire.upload import METADATA, checksum
from fgl.errors import (
    ClientDivergedError,
    KeptLostError,
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
from fgl.text import quoted

if TYPE_CHECKING:
    from fgl.contracts.arrays import Array


FORMAT, VERSION = "fgl-round", "2"
DONE, DIVERGED, LOST = "done", "diverged", "lost"
# More samples than this at one client is a mistake, or an attempt to outweigh the others.
MAX_SAMPLES = 10**9
# A mean loss beyond this is no longer training; it would swamp the mean over clients that the report shows.
MAX_LOSS = 1e6
# No weight of a network that predicts anything comes near this; averages of such numbers stay finite.
MAX_ABS = 1e12
_MODEL, _EXTRA = "model/", "extra/"
_KEYS = {"format", "version", "run", "client_id", "round", "status", "samples", "loss", "kept", "checksum"}
_MAX_RUN = 100
_DIGEST = re.compile(r"(?:[0-9a-f]{64})?")


@dataclass(frozen=True, slots=True)
class Header:
    """Of which run and round a message is, and whose. samples, loss: of an update; 0 on the way down. kept: up, the
    digest of what the client keeps from this round on (see `digest_of_kept`); down, the one it sent up last."""

    run: str
    client_id: str
    round: int
    samples: int = 0
    loss: float = 0.0
    kept: str = ""


@dataclass(frozen=True, slots=True)
class UpdatePolicy:
    """What an update is checked against. model: the state that went down. extra: name → shape, float32, as the
    algorithm says (`Algorithm.reply`). samples: most that the client may claim to have trained on."""

    header: Header
    model: Mapping[str, Array]
    extra: Mapping[str, tuple[int, ...]]
    samples: int = MAX_SAMPLES

    def max_bytes(self) -> int:
        """A message of exactly these arrays, and the longest header."""
        model = sum(array.nbytes for array in self.model.values())
        extra = sum(4 * math.prod(shape) for shape in self.extra.values())
        return model + extra + container.MAX_HEADER + 8


def encode(header: Header, model: Mapping[str, Array], extra: Mapping[str, Array], status: str = DONE) -> bytes:
    """Bytes of a message, down or up. Arrays of `extra` are sent as float32."""
    tensors = {f"{_MODEL}{name}": array for name, array in contiguous(model).items()}
    tensors |= {f"{_EXTRA}{name}": array for name, array in contiguous(extra, np.float32).items()}
    metadata: dict[str, object] = {
        "format": FORMAT,
        "version": VERSION,
        "run": header.run,
        "client_id": header.client_id,
        "round": header.round,
        "status": status,
        "samples": header.samples,
        "loss": float(header.loss).hex(),  # loses nothing
        "kept": header.kept,
    }
    metadata["checksum"] = checksum(metadata, tensors)
    return save(tensors, {METADATA: json.dumps(metadata, sort_keys=True, allow_nan=False)})


def received(data: bytes | memoryview) -> tuple[dict[str, Array], dict[str, Array], str]:
    """(model, extra, digest of what the client should have kept) of what the server sent, as a client reads it. Raises
    UploadError where it is damaged."""
    metadata, tensors = _read(data)
    return _part(tensors, _MODEL), _part(tensors, _EXTRA), str(metadata["kept"])


def described(data: bytes | memoryview) -> tuple[Header, str, dict[str, Array], dict[str, Array]]:
    """(header, status, model, extra) of an update, by its own account alone, for whoever looks at it before it leaves.
    Raises UploadError where it is not sound."""
    metadata, tensors = _read(data)
    run, client_id, round_, samples = (metadata[key] for key in ("run", "client_id", "round", "samples"))
    if not isinstance(run, str) or not isinstance(client_id, str) or len(run) > _MAX_RUN:
        raise UploadFormatError("refused: run and client_id are not texts")
    if type(round_) is not int or type(samples) is not int or not (0 <= round_ < 2**31 and 0 <= samples <= MAX_SAMPLES):
        raise UploadFormatError(f"refused: round {quoted(round_)} and samples {quoted(samples)}")
    loss = _number(metadata["loss"])
    header = Header(run, client_id, round_, samples, loss, str(metadata["kept"]))
    return header, str(metadata["status"]), _part(tensors, _MODEL), _part(tensors, _EXTRA)


def digest_of_kept(arrays: Mapping[str, Array]) -> str:
    """sha256 of what a client keeps: of names, dtypes, shapes and bytes; "" where that is nothing."""
    if not arrays:
        return ""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(json.dumps([name, array.dtype.str, list(np.shape(arrays[name]))], allow_nan=False).encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def accept(data: bytes | memoryview, expected: UpdatePolicy) -> tuple[LocalUpdate, str]:
    """Accept or reject an update as a whole; its arrays are copies. Returns the update and the digest of what its
    client keeps. Raises a subclass of UploadError that says the rule: ClientDivergedError and KeptLostError where the
    client itself says that it has nothing to send."""
    header = expected.header
    cap = expected.max_bytes()
    _require(len(data) <= cap, UploadSizeError, f"an update of {len(data)} bytes; a model of this shape has {cap}")
    metadata, tensors = _read(data)
    sender = quoted(metadata["client_id"])
    _require(metadata["client_id"] == header.client_id, UploadSenderError, f"an update of {sender}")
    _require(metadata["run"] == header.run, UploadReplayError, "made for another run")
    # True and 1.0 equal 1, but neither is a round number
    round_ = type(metadata["round"]) is int and metadata["round"] == header.round
    _require(round_, UploadRoundError, f"made for round {quoted(metadata['round'])}")
    if metadata["status"] == DIVERGED:
        raise ClientDivergedError("its training diverged")
    if metadata["status"] == LOST:
        raise KeptLostError("it no longer has what it kept in an earlier round")
    samples, loss, kept = metadata["samples"], _number(metadata["loss"]), metadata["kept"]
    if type(samples) is not int or not 1 <= samples <= expected.samples:
        raise UploadWeightError(f"refused: samples is {quoted(samples)}, expected 1 to {expected.samples}")
    _require(0 <= loss <= MAX_LOSS, UploadValueError, f"loss is {loss:.3g}, expected 0 to {MAX_LOSS:g}")
    if not isinstance(kept, str) or _DIGEST.fullmatch(kept) is None:
        raise UploadFormatError(f"refused: kept is {quoted(kept)}, expected a sha256 or nothing")
    model, extra = _part(tensors, _MODEL), _part(tensors, _EXTRA)
    _same("model", {name: (array.dtype, array.shape) for name, array in expected.model.items()}, model)
    _same("extra", {name: (np.dtype(np.float32), shape) for name, shape in expected.extra.items()}, extra)
    for part in (model, extra):
        for name, array in part.items():
            _values(name, array)
    return LocalUpdate(header.client_id, samples, model, extra, loss=loss), kept


def _read(data: bytes | memoryview) -> tuple[dict[str, object], dict[str, Array]]:
    header, slots = container.layout(data, model=True)
    _require(set(header) == {METADATA}, UploadFormatError, f"metadata other than {METADATA!r}")
    metadata = container.parse(header[METADATA].encode("utf-8", errors="replace"))
    _require(set(metadata) == _KEYS, UploadFormatError, f"metadata that is not {', '.join(sorted(_KEYS))}")
    is_ours = (metadata["format"], metadata["version"]) == (FORMAT, VERSION)
    stated = f"{quoted(metadata['format'])} {quoted(metadata['version'])}"
    _require(
        is_ours, UploadFormatError, f"{stated}, expected {FORMAT} {VERSION}: the same version of fgl on both sides"
    )
    _require(metadata["status"] in (DONE, DIVERGED, LOST), UploadFormatError, f"status {quoted(metadata['status'])}")
    tensors = container.views(data, slots)
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


def _same(what: str, wanted: Mapping[str, tuple[np.dtype[Any], tuple[int, ...]]], given: Mapping[str, Array]) -> None:
    missing, surplus = sorted(set(wanted) - set(given)), sorted(set(given) - set(wanted))
    if missing or surplus:
        differences = [
            f"{kind} {quoted(', '.join(names))}" for kind, names in (("lacks", missing), ("has", surplus)) if names
        ]
        raise UploadShapeError(f"refused: its {what} {' and '.join(differences)}")
    for name, (dtype, shape) in wanted.items():
        array = given[name]
        same = array.dtype == dtype and array.shape == shape
        _require(same, UploadShapeError, f"{name} is {array.dtype} {array.shape}, expected {dtype} {shape}")


def _values(name: str, array: Array) -> None:
    if np.issubdtype(array.dtype, np.floating):
        # not (x <= bound): NaN is rejected too
        _require(
            bool((np.abs(array) <= MAX_ABS).all()),
            UploadValueError,
            f"{name} holds values that are not finite, or huge",
        )
    else:
        bounded = bool(((array >= 0) & (array <= MAX_ABS)).all())
        _require(bounded, UploadValueError, f"{name} holds counts below zero, or huge ones")


def _require(holds: bool, error: type[UploadError], rule: str) -> None:
    if not holds:
        raise error(f"refused: {rule}")
