"""Uploads: exact where they are accepted, refused whole where anything is off."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable

import numpy as np
import pytest
from safetensors.numpy import load, save

from fgl.core.errors import UploadError
from fgl.core.types import ArraySpec, Declaration, Prompt
from fgl.core.upload import Expected, decode, encode

DECLARATION = Declaration(
    (ArraySpec("prompt_embeds", (4, 3)), ArraySpec("negative_prompt_embeds", (4, 3), shared=True, optional=True)),
    "e" * 64,
)
PROMPTS = [
    Prompt(0, "river", weight=3.0),
    Prompt(2, "林", negative="blurred", domain="sketch", weight=0.5, guidance_scale=4.0),
]
ARRAYS = {
    "prompt_embeds": np.random.default_rng(0).standard_normal((2, 4, 3)).astype(np.float32),
    "negative_prompt_embeds": np.ones((1, 4, 3), dtype=np.float32),
}
INDICES = {"negative_prompt_embeds": np.array([-1, 0], dtype=np.int32)}
EXPECTED = Expected(DECLARATION, ("client-00", "client-01"), 0, 3, 100_000)


def packed(codec: str = "fp32") -> bytes:
    return encode("client-00", 0, DECLARATION, codec, PROMPTS, ARRAYS, INDICES)


def changed(change: Callable[[dict[str, np.ndarray], dict[str, str]], None]) -> bytes:
    data = packed()
    (length,) = struct.unpack("<Q", data[:8])
    metadata = json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["fgl"])
    tensors = load(data)
    change(tensors, metadata)
    return save(tensors, {"fgl": json.dumps(metadata)})


def test_fp32_gives_back_every_bit_and_fp16_the_nearest_half() -> None:
    exact = decode(packed(), EXPECTED)
    assert np.array_equal(exact.arrays["prompt_embeds"], ARRAYS["prompt_embeds"])
    assert exact.domain == ("", "sketch")
    assert exact.weight.tolist() == [3.0, 0.5]
    assert np.isnan(exact.guidance_scale[0])
    assert exact.guidance_scale[1] == 4.0
    half = decode(packed("fp16"), EXPECTED)
    assert half.arrays["prompt_embeds"].dtype == np.float16
    assert np.array_equal(half.arrays["prompt_embeds"], ARRAYS["prompt_embeds"].astype(np.float16))


def test_an_upload_holds_no_text_of_a_prompt() -> None:
    assert b"river" not in packed()
    assert "林".encode() not in packed()
    assert b"blurred" not in packed()


def test_equal_input_gives_equal_bytes() -> None:
    assert len({packed() for _ in range(20)}) == 1


def test_a_number_beyond_float16_asks_for_fp32() -> None:
    arrays = {**ARRAYS, "prompt_embeds": ARRAYS["prompt_embeds"] + 1e6}
    with pytest.raises(UploadError, match="fp32"):
        encode("client-00", 0, DECLARATION, "fp16", PROMPTS, arrays, INDICES)


def _set(name: str, value: np.ndarray) -> Callable[[dict[str, np.ndarray], dict[str, str]], None]:
    return lambda tensors, _: tensors.__setitem__(name, value)


def _meta(name: str, value: object) -> Callable[[dict[str, np.ndarray], dict[str, str]], None]:
    return lambda _, metadata: metadata.__setitem__(name, value)


NAN = np.full((2, 4, 3), np.nan, dtype=np.float32)


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (_set("prompt_embeds", NAN), "not finite"),
        (_set("prompt_embeds", np.full((2, 4, 3), 1e9, dtype=np.float32)), "beyond"),
        (_set("prompt_embeds", np.zeros((2, 4, 4), dtype=np.float32)), "rows of"),
        (_set("prompt_embeds", np.zeros((3, 4, 3), dtype=np.float32)), "3 rows, expected 2"),
        (_set("prompt_embeds", np.zeros((2, 4, 3), dtype=np.float64)), "expected float32"),
        (_set("extra", np.zeros(3, dtype=np.float32)), "undeclared arrays: extra"),
        (lambda tensors, _: tensors.pop("prompt_embeds"), "missing"),
        (lambda tensors, _: tensors.pop("weight"), "weight is missing"),
        (_set("class_id", np.array([0, 3], dtype=np.int32)), "class ids"),
        (_set("class_id", np.array([-1, 0], dtype=np.int32)), "class ids"),
        (_set("class_id", np.zeros(0, dtype=np.int32)), "no rows"),
        (_set("weight", np.array([1.0, 0.0])), "weights"),
        (_set("weight", np.array([1.0, np.inf])), "weights"),
        (_set("weight", np.array([1.0, -1.0])), "weights"),
        (_set("guidance_scale", np.array([1.0, 1e9])), "guidance"),
        (_set("domain", np.array([0, 1], dtype=np.int32)), "domain"),
        (_set("negative_prompt_embeds.index", np.array([0, 1], dtype=np.int32)), "points outside"),
        (_set("negative_prompt_embeds.index", np.array([0, -2], dtype=np.int32)), "points outside"),
        (_meta("round", "1"), "round"),
        (_meta("client_id", "client-07"), "unknown client"),
        (_meta("client_id", "client-01"), "client id"),
        (_meta("encoder", "f" * 64), "another model"),
        (_meta("version", "2"), "version"),
        (_meta("codec", "fp8"), "codec"),
        (_meta("codec", 16), "metadata"),
        (_meta("domains", [1]), "domains"),
    ],
)
def test_anything_off_is_refused_with_the_rule(change: Callable[..., None], rule: str) -> None:
    with pytest.raises(UploadError, match=rule):
        decode(changed(change), EXPECTED, "client-00")


@pytest.mark.parametrize("data", [b"", b"short", b"\xff" * 64, struct.pack("<Q", 10) + b"not json..", packed()[:-1]])
def test_bytes_that_are_no_safetensors_file_are_refused(data: bytes) -> None:
    with pytest.raises(UploadError):
        decode(data, EXPECTED)


def test_the_cap_is_looked_at_before_anything_is_parsed() -> None:
    with pytest.raises(UploadError, match="cap"):
        decode(b"\x00" * 100_001, EXPECTED)
