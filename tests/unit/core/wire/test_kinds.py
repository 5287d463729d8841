"""Every kind of file that leaves a client is known by what it states, and said in words."""

from __future__ import annotations

import json

import numpy as np
import pytest

from fgl.contracts.prompts import Prompt
from fgl.core.wire import ballots, kinds, probe_files, updates, upload
from fgl.core.wire.kinds import Contents
from fgl.core.wire.signatures import Place
from fgl.errors import UploadError, UploadFormatError

CLASSES = ["benign", "malignant"]
HEADER = upload.UploadHeader("north", 2, CLASSES, "skin-1")
PROMPTS = [Prompt(0, "a dark mole", None, "ward 7", 1.0, None), Prompt(1, "a mole", "blurred", "ward 8", 12.0, None)]


def read(data: bytes) -> Contents:
    return kinds.find(data).read(data, CLASSES, None)


def update(samples: int = 7, status: str = updates.DONE) -> bytes:
    model = {"weight": np.ones((2, 3), dtype=np.float32)} if status == updates.DONE else {}
    return updates.encode(updates.Header("skin-1", "north", 3, samples, 0.5), model, {}, status)


def answer(**changes: object) -> bytes:
    score = {"density": 1.0, "coverage": 0.5, "agreement": 0.5, "nearest": 2.0}
    stated: dict[str, object] = {
        "client_id": "north",
        "reference": 9,
        "compared": 8,
        "made": score,
        "real": score,
        "recognized": 0.5,
        "per_class": {"benign": {"made": score, "real": score}},
    }
    request = probe_files.ProbeRequest("skin-1", 10, (8, 8), "pixels", {}, {}, "0" * 64)
    return probe_files.encode_reply({**stated, **changes}, request)


def test_the_table_names_what_is_there() -> None:
    for name in kinds.KINDS:
        assert isinstance(kinds.kind_of(name), kinds.FileKind)


def test_an_upload_says_its_texts_names_and_the_images_behind_each_number() -> None:
    found = read(upload.encode_texts(HEADER, PROMPTS))
    assert found.place == Place(kind="upload", run="skin-1", client_id="north", round=2)
    assert list(found.images) == [1.0, 12.0]
    assert set(found.texts) == {"a dark mole", "a mole", "blurred"}
    assert found.names == ["ward 7", "ward 8"]
    assert found.groups["images of class benign"] == 1
    assert found.groups["images of domain ward 8"] == 12


def test_an_update_says_on_how_many_images_it_was_trained() -> None:
    found = read(update())
    assert found.place == Place(kind="update", run="skin-1", client_id="north", round=3)
    assert found.groups == {"images that the model was trained on": 7}
    assert "6 numbers" in found.says[0]
    assert "no model" in read(update(status=updates.DIVERGED)).says[0]


def test_an_answer_to_a_probe_says_how_many_images_its_scores_are_of() -> None:
    found = read(answer())
    assert found.place == Place(kind="probe", run="skin-1", client_id="north", round=0)
    assert found.groups == {"images that the scores are of": 9}
    assert not found.texts
    assert read(answer(per_class={})).groups == found.groups


def test_a_vote_says_how_many_images_are_behind_its_numbers_where_these_are_exact() -> None:
    asked = ballots.Ballot("skin-1", 2, (8, 8), "s", np.zeros((3, 2), np.float32), np.zeros(3, np.int64), "d")
    exact = read(ballots.encode_vote(asked, "north", np.array([4096, 0, 2048]), 2.0**-10, ballots.Noise("image", 0.0)))
    assert exact.place == Place(kind="vote", run="skin-1", client_id="north", round=2)
    assert exact.groups == {"images that are nearest to candidate 0": 4, "images that are nearest to candidate 2": 2}
    assert "exactly" in exact.says[0]
    noise = ballots.Noise("image", 3.5)
    noisy = read(ballots.encode_vote(asked, "north", np.array([4096, -1024, 2048]), 2.0**-10, noise))
    assert "standard deviation of 3.5" in noisy.says[0]
    assert (noisy.groups, noisy.blurred, exact.blurred) == ({}, True, False)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"junk",
        b"{",
        b"{}",
        b'{"a": 1}',
        json.dumps({"format": "fgl-signature"}).encode(),
        bytes(100),
        b"PK\x03\x04" + bytes(60),
        update()[:-1],
        answer()[:-1],
    ],
)
def test_what_is_no_such_file_is_refused_in_one_line(data: bytes) -> None:
    with pytest.raises(
        UploadFormatError, match=r"no file that leaves a client \(upload, update, probe, vote\)"
    ) as caught:
        kinds.find(data)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "data",
    [
        answer(client_id="../x"),
        answer(client_id=5),
        answer(reference=-1),
        answer(per_class=[]),
        answer(more=1),
        updates.encode(updates.Header("skin-1", "a\nb", 3, 7, 0.5), {}, {}),
        updates.encode(updates.Header("x" * 101, "north", 3, 7, 0.5), {}, {}),
        updates.encode(updates.Header("skin-1", "north", -3, 7, 0.5), {}, {}),
        updates.encode(updates.Header("skin-1", "north", 3, -7, 0.5), {}, {}),
    ],
)
def test_a_file_of_a_kind_that_is_not_sound_is_refused(data: bytes) -> None:
    with pytest.raises(UploadError, match="refused"):
        read(data)
