"""Updates of a round are refused whole, by name of the rule, or accepted as they were sent."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load, save

from fgl.core.wire import updates
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

MODEL = {"w": np.arange(6, dtype=np.float32).reshape(2, 3), "n": np.array(4, np.int64)}
EXTRA = {"c": np.ones((2, 3), np.float32)}
KEPT = updates.digest_of_kept(EXTRA)
HEADER = updates.Header("run", "client-1", 3, samples=12, loss=0.5, kept=KEPT)
EXPECTED = updates.UpdatePolicy(HEADER, MODEL, {"c": (2, 3)})


def message(**changes: Any) -> bytes:
    """A sound update, but for `changes`: of the header, or of the arrays by their full name (None takes one out)."""
    data = updates.encode(HEADER, MODEL, EXTRA)
    length = int.from_bytes(data[:8], "little")
    metadata = json.loads(json.loads(data[8 : 8 + length])["__metadata__"][METADATA])
    tensors = dict(load(data))
    for key, value in changes.items():
        if key.startswith(("model/", "extra/")):
            tensors.pop(key, None)
            if value is not None:
                tensors[key] = value
        else:
            metadata[key] = value
    if "checksum" not in changes:
        metadata["checksum"] = checksum(metadata, tensors)
    return save(tensors, {METADATA: json.dumps(metadata)})


def test_what_is_sent_is_what_arrives() -> None:
    update, kept = updates.accept(updates.encode(HEADER, MODEL, EXTRA), EXPECTED)
    assert kept == KEPT
    assert (update.client_id, update.samples, update.loss) == ("client-1", 12, 0.5)
    for name, array in MODEL.items():
        np.testing.assert_array_equal(update.model[name], array)
        assert update.model[name].dtype == array.dtype
    np.testing.assert_array_equal(update.extra["c"], EXTRA["c"])
    model, extra, kept = updates.received(updates.encode(HEADER, MODEL, EXTRA))
    assert kept == KEPT
    assert set(model) == {"w", "n"}
    assert set(extra) == {"c"}


def test_equal_updates_are_equal_bytes() -> None:
    assert updates.encode(HEADER, MODEL, EXTRA) == updates.encode(HEADER, dict(reversed(MODEL.items())), EXTRA)


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"client_id": "client-2"}, UploadSenderError, "client-2"),
        ({"client_id": 7}, UploadSenderError, "7"),
        ({"run": "other"}, UploadReplayError, "another run"),
        ({"round": 2}, UploadRoundError, "round 2|'2'"),
        ({"round": True}, UploadRoundError, "round 'True'"),
        ({"round": 3.0}, UploadRoundError, "round '3.0'"),
        ({"loss": (1.7e308).hex()}, UploadValueError, "loss is 1.7e[+]308, expected 0 to 1e[+]06"),
        ({"loss": (-0.5).hex()}, UploadValueError, "loss is -0.5"),
        ({"loss": "inf"}, UploadFormatError, "loss"),
        ({"kept": "0"}, UploadFormatError, "kept"),
        ({"kept": None}, UploadFormatError, "kept"),
        ({"samples": 0}, UploadWeightError, "samples"),
        ({"samples": -5}, UploadWeightError, "samples"),
        ({"samples": 10**12}, UploadWeightError, "samples"),
        ({"samples": 1.5}, UploadWeightError, "samples"),
        ({"samples": True}, UploadWeightError, "samples"),
        ({"loss": "nan"}, UploadFormatError, "loss"),
        ({"loss": 0.5}, UploadFormatError, "loss"),
        ({"status": "fine"}, UploadFormatError, "status"),
        ({"version": "0"}, UploadFormatError, "same version"),
        ({"more": 1}, UploadFormatError, "metadata"),
        ({"checksum": "0" * 64}, UploadChecksumError, "checksum"),
        ({"model/w": None}, UploadShapeError, "lacks 'w'"),
        ({"model/v": np.zeros(2, np.float32)}, UploadShapeError, "has 'v'"),
        ({"model/w": np.zeros((3, 2), np.float32)}, UploadShapeError, "expected"),
        ({"model/w": np.zeros((2, 3), np.float16)}, UploadShapeError, "expected"),
        ({"model/n": np.array(4, np.int32)}, UploadShapeError, "expected"),
        ({"model/w": np.full((2, 3), np.nan, np.float32)}, UploadValueError, "not finite"),
        ({"model/w": np.full((2, 3), np.inf, np.float32)}, UploadValueError, "not finite"),
        ({"model/w": np.full((2, 3), 1e30, np.float32)}, UploadValueError, "huge"),
        ({"model/n": np.array(-1, np.int64)}, UploadValueError, "below zero"),
        ({"extra/c": np.full((2, 3), -np.inf, np.float32)}, UploadValueError, "not finite"),
        ({"extra/c": None}, UploadShapeError, "lacks 'c'"),
    ],
)
def test_what_breaks_a_rule_is_refused_by_that_rule(changes: dict[str, Any], error: type, said: str) -> None:
    with pytest.raises(error, match=said):
        updates.accept(message(**changes), EXPECTED)


def test_arrays_that_belong_to_nothing_are_refused() -> None:
    tensors = {**load(updates.encode(HEADER, MODEL, EXTRA)), "other": np.zeros(1, np.float32)}
    data = updates.encode(HEADER, MODEL, EXTRA)
    length = int.from_bytes(data[:8], "little")
    metadata = json.loads(json.loads(data[8 : 8 + length])["__metadata__"][METADATA])
    metadata["checksum"] = checksum(metadata, tensors)
    with pytest.raises(UploadShapeError, match="belong to nothing"):
        updates.accept(save(tensors, {METADATA: json.dumps(metadata)}), EXPECTED)


def test_an_update_that_is_too_long_is_not_even_read() -> None:
    with pytest.raises(UploadSizeError):
        updates.accept(bytes(EXPECTED.max_bytes() + 1), EXPECTED)


def test_a_client_whose_training_diverged_says_so_and_sends_no_model() -> None:
    data = updates.encode(HEADER, {}, {}, updates.DIVERGED)
    with pytest.raises(ClientDivergedError, match="training diverged"):
        updates.accept(data, EXPECTED)


def test_a_client_that_lost_what_it_kept_says_so_and_sends_no_model() -> None:
    with pytest.raises(KeptLostError, match="no longer has"):
        updates.accept(updates.encode(HEADER, {}, {}, updates.LOST), EXPECTED)


def test_a_client_claims_no_more_samples_than_it_is_known_to_hold() -> None:
    with pytest.raises(UploadWeightError, match="samples is '12', expected 1 to 11"):
        updates.accept(message(), updates.UpdatePolicy(HEADER, MODEL, {"c": (2, 3)}, samples=11))


def test_the_digest_of_what_is_kept_follows_from_names_types_shapes_and_bytes() -> None:
    kept = {"a": np.arange(4, dtype=np.float32)}
    others = [
        {"b": kept["a"]},
        {"a": kept["a"].reshape(2, 2)},
        {"a": kept["a"].astype(np.float64)},
        {"a": kept["a"] + 1},
    ]
    digests = [updates.digest_of_kept(one) for one in (kept, *others)]
    assert len(set(digests)) == 5
    assert updates.digest_of_kept({"a": np.array(kept["a"])}) == digests[0]
    assert updates.digest_of_kept({}) == ""


def test_no_damage_passes_and_none_crashes() -> None:
    sound = updates.encode(HEADER, MODEL, EXTRA)
    draw = np.random.default_rng(0)
    for _ in range(2000):
        data = bytearray(sound)
        kind = draw.integers(3)
        if kind == 0:
            data[draw.integers(len(data))] ^= 1 << int(draw.integers(8))
        elif kind == 1:
            del data[draw.integers(len(data)) :]
        else:
            at = int(draw.integers(len(data)))
            data[at:at] = draw.bytes(int(draw.integers(1, 9)))
        if bytes(data) == sound:
            continue
        with pytest.raises(UploadError):
            updates.accept(bytes(data), EXPECTED)
