"""Ballots, which go to clients, and votes, which come back. Each side reads the other's strictly.

Down: one safetensors file, the same for every client, read as an upload is (`fgl.core.wire.container`). Header
metadata: one key `fgl`, a JSON object with format, version, run, round, classes (digest of the class list), size, space
(digest of the feature space) and checksum. Tensors: `features` float32 [n, d], the mean features of each candidate's
pictures, and `class_id` int32 [n], ascending. No text and no picture: a client needs neither to vote.

Up: one safetensors file. Header metadata: format, version, run, round, client, ballot (sha256 of the file that it
answers), unit, level, noise (standard deviation, in votes) and checksum. Tensor: `votes` int32 [n], in units of
`unit` votes.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors.numpy import save

from fgl.contracts.dataset import CLIENT_ID
from fgl.core.wire import container
from fgl.core.wire.upload import METADATA, checksum, classes_digest
from fgl.errors import (
    UploadChecksumError,
    UploadClassesError,
    UploadFormatError,
    UploadNoiseError,
    UploadReplayError,
    UploadSenderError,
    UploadShapeError,
    UploadSizeError,
    UploadValueError,
)
from fgl.io import strict_json
from fgl.text import quoted

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fgl.contracts.arrays import Array, Labels

BALLOT, VOTE, VERSION = "fgl-ballot", "fgl-vote", "1"
MAX_BALLOT = 200_000_000
"""Bytes of a ballot."""
MAX_VOTE = 50_000_000
"""Bytes of a vote."""
_MAX_SIDE, _MAX_ABS, _MAX_RUN = 16_384, 1e12, 100
_BALLOT_KEYS = {"format", "version", "run", "round", "classes", "size", "space", "checksum"}
_VOTE_KEYS = {"format", "version", "run", "round", "client", "ballot", "unit", "level", "noise", "checksum"}


@dataclass(frozen=True, slots=True)
class Ballot:
    """What is put to the vote in a round."""

    run: str
    """Id of the run."""
    round: int
    """Number of the round, from 1."""
    size: tuple[int, int]
    """(height, width) that images are resized to before they are compared, pixels."""
    space: str
    """Digest of the feature space."""
    features: Array
    """float32 [n, d]: mean features of each candidate's pictures."""
    class_id: Labels
    """[n], ascending."""
    digest: str = ""
    """sha256 of the file; "" of one that is not written yet."""

    def __len__(self) -> int:
        return len(self.class_id)


@dataclass(frozen=True, slots=True)
class Noise:
    """What a guarantee of a vote rests on. A vote states it, so that none counts for a guarantee that it was not made
    for."""

    level: str
    """Whom it protects: `image` or `client`."""
    deviation: float
    """Standard deviation of the noise that the client added to each number, in votes; 0: exact votes."""

    def __str__(self) -> str:
        if not self.deviation:
            return "without noise"
        return f"with noise of a standard deviation of {self.deviation:.4g} at the level of {self.level}s"

    def is_as(self, other: Noise) -> bool:
        """Whether it is the same, but for rounding: the deviation is computed on each side."""
        return self.level == other.level and math.isclose(self.deviation, other.deviation, rel_tol=1e-6)


@dataclass(frozen=True, slots=True)
class Expected:
    """What a client accepts as a ballot."""

    run: str
    """Id of the run."""
    rounds: int
    """How many rounds the configuration allows."""
    per_class: int
    """Most candidates of a class that it allows."""
    class_names: Sequence[str]
    """The class list."""
    space: str
    """Digest of the feature space that the client has."""
    dimensions: int
    """Of that space."""


def encode_ballot(ballot: Ballot, class_names: Sequence[str]) -> bytes:
    """The bytes of a ballot."""
    arrays: dict[str, Array] = {
        "features": np.ascontiguousarray(ballot.features, dtype=np.float32),
        "class_id": np.ascontiguousarray(ballot.class_id, dtype=np.int32),
    }
    return _packed(
        {
            "format": BALLOT,
            "version": VERSION,
            "run": ballot.run,
            "round": ballot.round,
            "classes": classes_digest(class_names),
            "size": list(ballot.size),
            "space": ballot.space,
        },
        arrays,
    )


def read_ballot(data: bytes, expected: Expected) -> Ballot:
    """A ballot, if it is one that this client may answer. Raises UploadError with the rule that it broke."""
    stated, arrays = _opened(data, MAX_BALLOT, BALLOT, "ballot", _BALLOT_KEYS, {"features", "class_id"})
    _check_run(stated, expected.run, "ballot")
    number = stated["round"]
    if type(number) is not int or not 1 <= number <= expected.rounds:
        raise UploadReplayError(
            f"refused: a ballot of round {quoted(number)}; expected 1 to {expected.rounds} (votes.rounds)"
        )
    if stated["classes"] != classes_digest(expected.class_names):
        raise UploadClassesError("refused: a ballot of another class list; it must be the same at clients and server")
    if stated["space"] != expected.space:
        raise UploadFormatError(
            "refused: a ballot in another feature space; clients and server must have the same one (votes.space), with "
            "the same weights"
        )
    features, class_id = arrays["features"], arrays["class_id"]
    if features.dtype != np.float32 or class_id.dtype != np.int32 or class_id.ndim != 1:
        raise UploadShapeError("refused: expected features float32 [n, d] and class_id int32 [n]")
    if features.shape != (len(class_id), expected.dimensions):
        raise UploadShapeError(
            f"refused: features {list(features.shape)}; expected [{len(class_id)}, {expected.dimensions}], as the "
            "feature space has"
        )
    classes = len(expected.class_names)
    if not len(class_id) or class_id[0] < 0 or class_id[-1] >= classes or (np.diff(class_id) < 0).any():
        raise UploadClassesError(f"refused: class_id must ascend within 0 to {classes - 1}")
    most = int(np.bincount(class_id).max())
    if most > expected.per_class:
        raise UploadSizeError(
            f"refused: {most} candidates of a class; the configuration allows {expected.per_class} (votes.candidates)"
        )
    if not (np.abs(features) <= _MAX_ABS).all():
        raise UploadValueError(f"refused: features hold values that are not finite or exceed {_MAX_ABS:g}")
    size = _size(stated["size"])
    digest = hashlib.sha256(data).hexdigest()
    return Ballot(expected.run, number, size, expected.space, features, class_id.astype(np.int64), digest)


def stated_round(data: bytes) -> int:
    """The round that a ballot says it is of. Raises UploadError."""
    stated, _ = _opened(data, MAX_BALLOT, BALLOT, "ballot", _BALLOT_KEYS, {"features", "class_id"})
    number = stated["round"]
    if type(number) is not int or not 1 <= number < 2**31:
        raise UploadReplayError(f"refused: a ballot of round {quoted(number)}")
    return number


def own_ballot(data: bytes) -> Ballot:
    """A ballot of the server's own, of whose bytes it knows the digest: what it states is taken as it is. Raises
    UploadError."""
    stated, arrays = _opened(data, MAX_BALLOT, BALLOT, "ballot", _BALLOT_KEYS, {"features", "class_id"})
    return Ballot(
        run=stated["run"],
        round=stated["round"],
        size=_size(stated["size"]),
        space=stated["space"],
        features=arrays["features"],
        class_id=arrays["class_id"].astype(np.int64),
        digest=hashlib.sha256(data).hexdigest(),
    )


def encode_vote(ballot: Ballot, client_id: str, votes: NDArray[np.int64], unit: float, noise: Noise) -> bytes:
    """The bytes of a vote. votes: int64 [n], in units of `unit` votes. noise: what is on them."""
    bounds = np.iinfo(np.int32)
    arrays = {"votes": np.clip(votes, bounds.min, bounds.max).astype(np.int32)}
    return _packed(
        {
            "format": VOTE,
            "version": VERSION,
            "run": ballot.run,
            "round": ballot.round,
            "client": client_id,
            "ballot": ballot.digest,
            "unit": unit,
            "level": noise.level,
            "noise": noise.deviation,
        },
        arrays,
    )


def answered(vote: bytes) -> tuple[str, Noise]:
    """The digest of the ballot that a vote of this client's own answers, and the noise on it. Raises UploadError."""
    stated = _opened(vote, MAX_VOTE, VOTE, "vote", _VOTE_KEYS, {"votes"})[0]
    return str(stated["ballot"]), _noise(stated)


@dataclass(frozen=True, slots=True)
class Stated:
    """What a vote says of itself, of whatever ballot."""

    run: str
    """Id of the run."""
    round: int
    """Number of the round."""
    client_id: str
    """Whose vote it is."""
    votes: NDArray[np.float64]
    """float64 [n]: a number a candidate, in votes."""
    noise: Noise
    """What is on them, as it says."""


def stated_in(data: bytes) -> Stated:
    """What a vote says of itself, with its form checked and nothing else. Raises UploadError."""
    stated, arrays = _opened(data, MAX_VOTE, VOTE, "vote", _VOTE_KEYS, {"votes"})
    run, number, client_id, unit = (stated[key] for key in ("run", "round", "client", "unit"))
    if not isinstance(run, str) or len(run) > _MAX_RUN:
        raise UploadFormatError(f"refused: a vote of the run {quoted(run)}")
    if type(number) is not int or not 1 <= number < 2**31:
        raise UploadFormatError(f"refused: a vote of round {quoted(number)}")
    if not isinstance(client_id, str) or re.fullmatch(CLIENT_ID, client_id) is None:
        raise UploadFormatError(f"refused: a vote of the client {quoted(client_id)}")
    if type(unit) is not float or not 0 < unit <= 1:
        raise UploadFormatError(f"refused: votes in units of {quoted(unit)}")
    votes = arrays["votes"]
    if votes.dtype != np.int32 or votes.ndim != 1 or not len(votes):
        raise UploadShapeError(f"refused: votes {votes.dtype} {list(votes.shape)}; expected int32 [n]")
    return Stated(run, number, client_id, votes.astype(np.float64) * unit, _noise(stated))


def read_vote(
    data: bytes, client_id: str, ballot: Ballot, unit: float, most: float, noise: Noise
) -> NDArray[np.float64]:
    """What a client voted, float64 [n], if it answers this ballot. most: largest magnitude that a number may have, in
    votes. noise: what has to be on it. Raises UploadError with the rule that it broke."""
    stated, arrays = _opened(data, MAX_VOTE, VOTE, "vote", _VOTE_KEYS, {"votes"})
    _check_run(stated, ballot.run, "vote")
    if stated["client"] != client_id:
        raise UploadSenderError(f"refused: a vote of {quoted(stated['client'])}; expected one of {client_id}")
    if stated["ballot"] != ballot.digest or stated["round"] != ballot.round:
        raise UploadReplayError("refused: a vote on another ballot; it must answer the one that this server wrote")
    if stated["unit"] != unit:
        raise UploadFormatError(f"refused: votes in units of {quoted(stated['unit'])}; expected {unit:g}")
    if not (found_noise := _noise(stated)).is_as(noise):
        raise UploadNoiseError(
            f"refused: a vote {found_noise}; this configuration states {noise} (votes, privacy.delta, "
            "upload.min_clients), and must be the same at clients and server"
        )
    votes = arrays["votes"]
    if votes.dtype != np.int32 or votes.shape != (len(ballot),):
        raise UploadShapeError(
            f"refused: votes {list(votes.shape)}; expected int32 [{len(ballot)}], a number a candidate"
        )
    found: NDArray[np.float64] = votes.astype(np.float64) * unit
    if (np.abs(found) > most).any():
        raise UploadValueError(
            f"refused: {np.abs(found).max():,.0f} votes for a candidate; expected {most:,.0f} at most"
        )
    return found


def _packed(metadata: dict[str, object], arrays: Mapping[str, Array]) -> bytes:
    metadata["checksum"] = checksum(metadata, arrays)
    return save(dict(arrays), {METADATA: strict_json.dumps(metadata)})


def _opened(
    data: bytes, most: int, format_: str, what: str, keys: set[str], names: set[str]
) -> tuple[dict[str, Any], dict[str, Array]]:
    if len(data) > most:
        raise UploadSizeError(f"refused: a {what} of {len(data):,} bytes; the cap is {most:,}")
    metadata, slots = container.layout(data)
    if set(metadata) != {METADATA}:
        raise UploadFormatError(f"refused: not a {what} that fgl wrote")
    stated = container.parse(metadata[METADATA].encode())
    if stated.get("format") != format_ or stated.get("version") != VERSION or set(stated) != keys:
        raise UploadFormatError(f"refused: not a {what} of version {VERSION} that fgl wrote")
    if set(slots) != names:
        raise UploadShapeError(f"refused: arrays {quoted(sorted(slots)[:5])}; expected {', '.join(sorted(names))}")
    arrays = container.views(data, slots)
    if checksum(stated, arrays) != stated["checksum"]:
        raise UploadChecksumError("refused: its checksum is another: the file was damaged on its way")
    return stated, arrays


def _check_run(stated: Mapping[str, object], run: str, what: str) -> None:
    if stated["run"] != run:
        raise UploadReplayError(f"refused: a {what} of the run {quoted(stated['run'])}; this is {quoted(run)}")


def _noise(stated: Mapping[str, Any]) -> Noise:
    level, deviation = stated["level"], stated["noise"]
    if level not in ("image", "client") or type(deviation) is not float or not 0 <= deviation <= _MAX_ABS:
        raise UploadFormatError(f"refused: a vote with noise of {quoted(deviation)} at the level {quoted(level)}")
    return Noise(level, deviation)


def _size(value: object) -> tuple[int, int]:
    sides = [side for side in value if type(side) is int] if isinstance(value, list) else []
    if len(sides) != 2 or value != sides or not all(1 <= side <= _MAX_SIDE for side in sides):
        raise UploadValueError(f"refused: size is {quoted(value)}; expected [height, width] in pixels")
    return sides[0], sides[1]
