"""A probe that goes to clients as a file, and their answers that come back as files. Each side reads the other's
strictly.

Down: one safetensors file, read as an upload is (`fgl.core.wire.container`). Header metadata: one key `fgl`, a JSON
object with format, version, run, classes (digest of the class list), per_class, size, space, about and checksum.
Tensors: `features` float32 [n, d] and `labels` int32 [n] of the pictures, and `state/<name>`, the weights of a feature
space that learnt.

Up: JSON, the scores of `fgl.core.wire.replies`, with run and request, the sha256 of the file that they answer: scores
of other pictures are not to count for these.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from safetensors.numpy import save

from fgl.contracts.arrays import contiguous
from fgl.core.store.typed import JsonObject
from fgl.core.wire import container, replies
from fgl.core.wire.upload import METADATA, checksum, classes_digest
from fgl.errors import (
    UploadChecksumError,
    UploadClassesError,
    UploadFormatError,
    UploadReplayError,
    UploadShapeError,
    UploadSizeError,
    UploadValueError,
)
from fgl.io import strict_json
from fgl.text import quoted

if TYPE_CHECKING:
    from fgl.contracts.arrays import Array
    from fgl.core.wire.replies import ProbeScores


FORMAT, VERSION = "fgl-probe", "1"
MAX_REQUEST = 500_000_000
"""Bytes of a request: features, and the weights of a classifier."""
MAX_PER_CLASS = 1000
_MAX_SIDE, _MAX_ABS = 16_384, 1e12
_KEYS = {"format", "version", "run", "classes", "per_class", "size", "space", "about", "checksum"}
_STATE = "state/"
ANSWER = frozenset({"client_id", "run", "request", "recognized", "made", "real"})
"""Keys by which an answer is known."""


@dataclass(frozen=True, slots=True)
class ProbeRequest:
    """What a server asks of clients, the same of each."""

    run: str
    """Id of the run."""
    per_class: int
    """Pictures of each class, and most images of it that a client compares them with."""
    size: tuple[int, int]
    """(height, width) that images are resized to, pixels."""
    space: str
    """Name of the feature space."""
    arrays: Mapping[str, Array]
    """`features`, `labels` and `state/<name>`."""
    about: JsonObject
    """What the server says of the pictures and the space, for its own report."""
    digest: str = ""
    """sha256 of the file; "" of one that is not written yet."""


def encode(request: ProbeRequest, class_names: Sequence[str]) -> bytes:
    """The bytes of a request."""
    arrays = contiguous({name: np.asarray(array) for name, array in request.arrays.items()})
    arrays["labels"] = arrays["labels"].astype(np.int32)
    metadata: dict[str, object] = {
        "format": FORMAT,
        "version": VERSION,
        "run": request.run,
        "classes": classes_digest(class_names),
        "per_class": request.per_class,
        "size": list(request.size),
        "space": request.space,
        "about": request.about,
    }
    metadata["checksum"] = checksum(metadata, arrays)
    return save(arrays, {METADATA: strict_json.dumps(metadata)})


def read(data: bytes, run: str, class_names: Sequence[str], space: str) -> ProbeRequest:
    """A request, if it is one for this run, class list and feature space. Raises UploadError with the rule it broke."""
    if len(data) > MAX_REQUEST:
        raise UploadSizeError(f"refused: a probe of {len(data):,} bytes; the cap is {MAX_REQUEST:,}")
    metadata, slots = container.layout(data, model=True)
    if set(metadata) != {METADATA}:
        raise UploadFormatError("refused: not a probe that fgl server probe wrote")
    stated = container.parse(metadata[METADATA].encode())
    if stated.get("format") != FORMAT or stated.get("version") != VERSION or set(stated) != _KEYS:
        raise UploadFormatError(f"refused: not a probe of version {VERSION} that fgl server probe wrote")
    if stated["run"] != run:
        raise UploadReplayError(f"refused: a probe of the run {quoted(stated['run'])}; this is {quoted(run)}")
    if stated["classes"] != classes_digest(class_names):
        raise UploadClassesError("refused: a probe of another class list; it must be the same at clients and server")
    if stated["space"] != space:
        expected = f"expected {space}, as in the configuration that all share (features)"
        raise UploadFormatError(f"refused: a probe in the feature space {quoted(stated['space'])}; {expected}")
    per_class, size = stated["per_class"], _size(stated["size"])
    if type(per_class) is not int or not 1 <= per_class <= MAX_PER_CLASS:
        raise UploadValueError(f"refused: per_class is {quoted(per_class)}; expected 1 to {MAX_PER_CLASS}")
    about = stated["about"]
    if not isinstance(about, dict):
        raise UploadFormatError("refused: what a probe says of itself is not a mapping")
    arrays = container.views(data, slots)
    if checksum(stated, arrays) != stated["checksum"]:
        raise UploadChecksumError("refused: its checksum is another: the file was damaged on its way")
    _check_arrays(arrays, per_class, len(class_names))
    return ProbeRequest(run, per_class, size, space, arrays, about, hashlib.sha256(data).hexdigest())


def _size(value: object) -> tuple[int, int]:
    sides = [side for side in value if type(side) is int] if isinstance(value, list) else []
    if len(sides) != 2 or value != sides or not all(1 <= side <= _MAX_SIDE for side in sides):
        raise UploadValueError(f"refused: size is {quoted(value)}; expected [height, width] in pixels")
    return sides[0], sides[1]


def _check_arrays(arrays: Mapping[str, Array], per_class: int, classes: int) -> None:
    unknown = [name for name in arrays if name not in ("features", "labels") and not name.startswith(_STATE)]
    if unknown or not {"features", "labels"} <= set(arrays):
        raise UploadShapeError(f"refused: arrays {quoted(sorted(arrays)[:5])}; expected features, labels and state/…")
    points, labels = arrays["features"], arrays["labels"]
    if points.dtype != np.float32 or labels.dtype != np.int32 or points.ndim != 2 or labels.shape != points.shape[:1]:
        raise UploadShapeError("refused: expected features float32 [n, d] and labels int32 [n]")
    if not 1 <= len(labels) <= per_class * classes:
        raise UploadShapeError(f"refused: {len(labels):,} pictures; expected {per_class} of each class at most")
    if labels.min() < 0 or labels.max() >= classes:
        raise UploadClassesError(f"refused: labels from {labels.min()} to {labels.max()}; there are {classes} classes")
    for name, array in arrays.items():
        if np.issubdtype(array.dtype, np.floating) and not (np.abs(array) <= _MAX_ABS).all():
            raise UploadValueError(f"refused: {quoted(name)} holds values that are not finite or exceed {_MAX_ABS:g}")


def encode_reply(scores: Mapping[str, object], request: ProbeRequest) -> bytes:
    """The bytes of an answer. scores: as a client answers a probe that it is called for."""
    return strict_json.dumps({**scores, "run": request.run, "request": request.digest}).encode()


def sender_of(data: bytes) -> str:
    """Whose answer it says it is. Raises UploadError."""
    if len(data) > replies.MAX_REPLY:
        raise UploadSizeError(f"refused: a reply of {len(data)} bytes; the cap is {replies.MAX_REPLY}")
    client_id = container.parse(data).get("client_id")
    if not isinstance(client_id, str):
        raise UploadFormatError("refused: an answer to a probe that names no client")
    return client_id


def read_reply(data: bytes, client_id: str, request: ProbeRequest, class_names: Sequence[str]) -> ProbeScores:
    """Scores, if they can be true and answer this request. Raises UploadError with the rule that they broke."""
    if len(data) > replies.MAX_REPLY:
        raise UploadSizeError(f"refused: a reply of {len(data)} bytes; the cap is {replies.MAX_REPLY}")
    stated = container.parse(data)
    if stated.pop("run", None) != request.run or stated.pop("request", None) != request.digest:
        raise UploadReplayError("refused: an answer to another probe; it must answer the file that this server wrote")
    return replies.validate_scores(strict_json.dumps(stated).encode(), client_id, class_names, request.per_class)
