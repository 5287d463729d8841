"""Uploads: exact where they are accepted, refused whole where anything is off."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load, save

from fgl import errors
from fgl.contracts.aggregator import ClientUpload, Conditioning
from fgl.contracts.conditioning import row_ids
from fgl.contracts.generator import ArraySpec, UploadSchema
from fgl.contracts.prompts import Prompt
from fgl.core.store.typed import to_json
from fgl.core.wire import codecs
from fgl.core.wire.container import size_of
from fgl.core.wire.disclosure import disclosed
from fgl.core.wire.upload import UploadHeader, checksum, encode, encode_texts
from fgl.core.wire.upload_reader import UploadPolicy, account, decode, stored
from fgl.errors import StoreError, UploadError
from fgl.plugins.aggregators.class_mean import ClassMean
from fgl.plugins.aggregators.options import ClassMeanOptions, UnionOptions
from fgl.plugins.aggregators.union import Union
from fgl.plugins.codecs.int8 import Quantized, check_quantized, quantize, scale_shape
from tests.helpers.uploads import keeps_every_rule, mutants, same_arrays, same_upload, signed_mutants

CODECS = ("fp16", "fp32", "int8", "text")
DECLARATION = UploadSchema(
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
NAMES = ("river", "road", "林")
EXPECTED = UploadPolicy(DECLARATION, ("client-00", "client-01"), 0, NAMES, 100_000, 1000, "trial-7")
SENDER = UploadHeader("client-00", 0, NAMES, "trial-7")
TEXTS = replace(EXPECTED, texts=True)


def packed(codec: str = "fp32") -> bytes:
    if codec == "text":
        return encode_texts(SENDER, PROMPTS)
    return encode(SENDER, DECLARATION, codec, PROMPTS, ARRAYS, INDICES)


def opened(data: bytes) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    (length,) = struct.unpack("<Q", data[:8])
    return load(data), json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["fgl"])


def changed(
    change: Callable[[dict[str, np.ndarray], dict[str, Any]], None], sign: bool = True, codec: str = "fp32"
) -> bytes:
    """An upload as a client could have written it; sign: with the checksum of what it says."""
    tensors, metadata = opened(packed(codec))
    change(tensors, metadata)
    if sign:
        metadata["checksum"] = checksum(metadata, tensors)
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


@pytest.mark.parametrize("codec", CODECS)
def test_an_upload_holds_text_of_a_prompt_only_with_the_codec_text(codec: str) -> None:
    for text in (b"river", "林".encode(), b"blurred"):
        assert (text in packed(codec)) == (codec == "text")


@pytest.mark.parametrize("codec", CODECS)
def test_equal_input_gives_equal_bytes(codec: str) -> None:
    assert len({packed(codec) for _ in range(20)}) == 1


def test_texts_arrive_as_they_were_written_each_once() -> None:
    rows = [*PROMPTS, Prompt(1, "river", negative="林", weight=2.0), Prompt(1, "", negative="")]
    data = encode_texts(SENDER, rows)
    found = decode(data, TEXTS)
    assert found.prompts == tuple(rows)
    assert not found.arrays
    assert data.count("林".encode()) == data.count(b"river") == 1
    assert decode(encode_texts(SENDER, [Prompt(0, "")]), TEXTS).prompts == (Prompt(0, ""),)


@pytest.mark.parametrize("text", ["x" * 2001, "two\nlines", "\x1b[2J", "nul\x00", "\u2028"])
def test_a_text_that_would_be_refused_is_not_sent(text: str) -> None:
    for prompt in (Prompt(0, text), Prompt(0, "river", negative=text)):
        with pytest.raises(errors.UploadValueError, match="prompt 1"):
            encode_texts(SENDER, [PROMPTS[0], prompt])


def test_eight_bits_are_off_by_half_a_scale_at_most() -> None:
    found = decode(packed("int8"), EXPECTED)
    for name, exact in ARRAYS.items():
        rows = found.arrays[name]
        assert isinstance(rows, Quantized)
        assert rows.scale.shape == (len(exact), 3)
        off = np.abs(np.asarray(rows) - exact)
        assert (off <= rows.scale[:, None] * 0.50002).all()
        largest, rms = found.codec_error[name]
        assert largest == pytest.approx(off.max(), rel=1e-6)
        assert rms == pytest.approx(np.linalg.norm(off) / np.linalg.norm(exact), rel=1e-5)
    assert not any(decode(packed(), EXPECTED).codec_error["prompt_embeds"])
    half = ARRAYS["prompt_embeds"].astype(np.float16) - ARRAYS["prompt_embeds"]
    largest, _ = decode(packed("fp16"), EXPECTED).codec_error["prompt_embeds"]
    assert largest == pytest.approx(np.abs(half).max(), rel=1e-6)


def test_equal_rows_of_two_clients_are_one_conditioning_in_every_codec(tmp_path: Path) -> None:
    """Whatever else the two send, and whether the upload is in memory or on disk."""
    more = np.random.default_rng(1).standard_normal((1, 4, 3)).astype(np.float32) * 40
    for codec in ("fp16", "fp32", "int8"):
        one = decode(packed(codec), EXPECTED)
        other_rows = {**ARRAYS, "prompt_embeds": np.concatenate([more, ARRAYS["prompt_embeds"]])}
        other_index = {"negative_prompt_embeds": np.array([-1, -1, 0], np.int32)}
        sender = replace(SENDER, client_id="client-01")
        data = encode(sender, DECLARATION, codec, [Prompt(0, "more"), *PROMPTS], other_rows, other_index)
        path = tmp_path / codec
        path.write_bytes(data)
        united = Union(UnionOptions()).aggregate([one, stored(path, DECLARATION)], "g")
        assert sorted(united.clients.tolist()) == [1, 2, 2]
        assert row_ids(stored(path, DECLARATION), "g") == row_ids(decode(data, EXPECTED), "g")
        mean = ClassMean(ClassMeanOptions()).aggregate([one], "g")
        exact = ClassMean(ClassMeanOptions()).aggregate([decode(packed(), EXPECTED)], "g")
        off = np.array(mean.gather("prompt_embeds", [0, 1])) - np.array(exact.gather("prompt_embeds", [0, 1]))
        assert np.abs(off).max() < 0.02


@given(
    rows=st.integers(1, 4),
    shape=st.sampled_from([(5,), (4, 3), (1, 1), (2, 3, 4), (4, 0)]),
    data=st.data(),
    exponent=st.integers(-44, 38),
)
@settings(max_examples=150, deadline=None)
def test_any_floats_are_off_by_half_a_scale_at_most(
    rows: int, shape: tuple[int, ...], data: st.DataObject, exponent: int
) -> None:
    draw = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    array = draw.uniform(-1, 1, (rows, *shape)) * draw.integers(0, 2, (rows, *shape)) * 10.0**exponent
    array = array.astype(np.float32)
    values, scale = quantize(array)
    assert scale.shape == scale_shape(array.shape)
    check_quantized("x", values, scale, np.inf)
    made = np.asarray(Quantized(values, scale), np.float64)
    steps = scale.reshape(rows, *[1] * (len(shape) - 1), scale.shape[1]).astype(np.float64)
    assert (np.abs(made - array.astype(np.float64)) <= steps * 0.50002).all()
    assert not np.signbit(made[made == 0]).any()
    for row in range(rows):
        alone, its = quantize(array[row : row + 1])
        assert alone.tobytes() == values[row].tobytes()
        assert its.tobytes() == scale[row].tobytes()
        assert np.array_equal(Quantized(values, scale)[row], made[row])
    assert np.array_equal(Quantized(values, scale)[::-1], made[::-1])


@pytest.mark.parametrize("codec", CODECS)
def test_what_an_upload_would_weigh_in_another_codec_is_exact(codec: str) -> None:
    found = account(packed(codec))
    sizes = {name: len(packed(name)) for name in CODECS}
    assert found.bytes_by_codec == (sizes if codec != "text" else {"text": sizes["text"]})
    assert decode(packed(codec), TEXTS).bytes_by_codec == found.bytes_by_codec
    assert found.codec == codec


@pytest.mark.parametrize("codec", CODECS)
def test_what_an_upload_weighs_in_its_own_codec_is_what_it_has(codec: str) -> None:
    """Another writer may leave room in the header: what is computed from shapes is not what crossed."""
    data = packed(codec)
    length = int.from_bytes(data[:8], "little")
    roomy = (length + 64).to_bytes(8, "little") + data[8 : 8 + length] + b" " * 64 + data[8 + length :]
    found, plain = (decode(one, TEXTS).bytes_by_codec for one in (roomy, data))
    assert found[codec] == len(roomy) == plain[codec] + 64
    assert {**found, codec: 0} == {**plain, codec: 0}


@given(
    st.dictionaries(
        st.text('ab._é"', min_size=1, max_size=5),
        st.tuples(
            st.sampled_from(["f2", "f4", "f8", "i4", "i1", "u1"]), st.lists(st.integers(0, 12), min_size=1, max_size=3)
        ),
        max_size=6,
    ),
    st.text('abé"{}', max_size=20),
)
@settings(deadline=None)
def test_the_size_of_a_file_follows_from_its_shapes(tensors: dict[str, tuple[str, list[int]]], said: str) -> None:
    data = save({name: np.zeros(shape, dtype) for name, (dtype, shape) in tensors.items()}, {"fgl": said})
    shapes = {name: (np.dtype(dtype), tuple(shape)) for name, (dtype, shape) in tensors.items()}
    assert size_of({"fgl": said}, shapes) == len(data)


def test_a_number_beyond_float16_asks_for_fp32() -> None:
    arrays = {**ARRAYS, "prompt_embeds": ARRAYS["prompt_embeds"] + 1e6}
    with pytest.raises(UploadError, match="fp32"):
        encode(SENDER, DECLARATION, "fp16", PROMPTS, arrays, INDICES)


@pytest.mark.parametrize("number", [np.nan, np.inf])
@pytest.mark.parametrize("codec", ["fp32", "fp16", "int8"])
def test_numbers_that_no_codec_can_send_are_not_blamed_on_the_codec(codec: str, number: float) -> None:
    arrays = {**ARRAYS, "prompt_embeds": np.full_like(ARRAYS["prompt_embeds"], number)}
    with pytest.raises(UploadError, match=r"NaN or infinity .* which no codec can send.*fgl models verify"):
        encode(SENDER, DECLARATION, codec, PROMPTS, arrays, INDICES)


def _set(name: str, value: np.ndarray) -> Callable[[dict[str, np.ndarray], dict[str, Any]], None]:
    return lambda tensors, _: tensors.__setitem__(name, value)


def _meta(name: str, value: object) -> Callable[[dict[str, np.ndarray], dict[str, Any]], None]:
    return lambda _, metadata: metadata.__setitem__(name, value)


NAN = np.full((2, 4, 3), np.nan, dtype=np.float32)


MILLION = 1_000_000


def _rows(count: int) -> Callable[[dict[str, np.ndarray], dict[str, Any]], None]:
    def change(tensors: dict[str, np.ndarray], _: dict[str, Any]) -> None:
        tensors["class_id"] = np.zeros(count, dtype=np.int32)

    return change


@pytest.mark.parametrize(
    ("change", "error", "rule"),
    [
        (_set("prompt_embeds", NAN), errors.UploadValueError, "not finite"),
        (_set("prompt_embeds", np.full((2, 4, 3), -np.inf, dtype=np.float32)), errors.UploadValueError, "not finite"),
        (_set("prompt_embeds", np.full((2, 4, 3), 1e9, dtype=np.float32)), errors.UploadValueError, "beyond"),
        (_set("negative_prompt_embeds", NAN[:1]), errors.UploadValueError, "not finite"),
        (_set("prompt_embeds", np.zeros((2, 4, 4), dtype=np.float32)), errors.UploadShapeError, "rows of"),
        (_set("prompt_embeds", np.zeros((3, 4, 3), dtype=np.float32)), errors.UploadShapeError, "3 rows, expected 2"),
        (_set("prompt_embeds", np.zeros((2, 4, 3), dtype=np.float64)), errors.UploadShapeError, "expected float32"),
        (_set("prompt_embeds", np.zeros((2, 4, 3), dtype=np.float16)), errors.UploadShapeError, "expected float32"),
        (_set("prompt_embeds", np.zeros((), dtype=np.float32)), errors.UploadShapeError, "rows of"),
        (_set("extra", np.zeros(3, dtype=np.float32)), errors.UploadShapeError, "undeclared arrays: 'extra'"),
        (_set("extra\x1b[2J", np.zeros(3, dtype=np.float32)), errors.UploadShapeError, r"'extra.x1b\[2J'"),
        (lambda tensors, _: tensors.pop("prompt_embeds"), errors.UploadShapeError, "missing"),
        (lambda tensors, _: tensors.pop("weight"), errors.UploadShapeError, "weight is missing"),
        (_set("class_id", np.array([0, 3], dtype=np.int32)), errors.UploadClassesError, "class ids"),
        (_set("class_id", np.array([-1, 0], dtype=np.int32)), errors.UploadClassesError, "class ids"),
        (_set("class_id", np.zeros(0, dtype=np.int32)), errors.UploadShapeError, "expected float64"),
        (_set("class_id", np.zeros((2, 1), dtype=np.int32)), errors.UploadShapeError, "class_id is"),
        (_set("weight", np.array([1.0, 0.0])), errors.UploadWeightError, "weights"),
        (_set("weight", np.array([1.0, 1e-300])), errors.UploadWeightError, "weights"),
        (_set("weight", np.array([1.0, np.inf])), errors.UploadWeightError, "weights"),
        (_set("weight", np.array([1.0, np.nan])), errors.UploadWeightError, "weights"),
        (_set("weight", np.array([1.0, -1.0])), errors.UploadWeightError, "weights"),
        (_set("weight", np.array([1.0, 1e300])), errors.UploadWeightError, "weights"),
        (_set("guidance_scale", np.array([1.0, 1e9])), errors.UploadValueError, "guidance"),
        (_set("guidance_scale", np.array([1.0, -np.inf])), errors.UploadValueError, "guidance"),
        (_set("domain", np.array([0, 1], dtype=np.int32)), errors.UploadShapeError, "domain"),
        (_set("domain", np.array([-1, -1], dtype=np.int32)), errors.UploadShapeError, "no row has"),
        (_set("negative_prompt_embeds.index", np.array([0, 1], np.int32)), errors.UploadShapeError, "points outside"),
        (_set("negative_prompt_embeds.index", np.array([0, -2], np.int32)), errors.UploadShapeError, "points outside"),
        (_set("negative_prompt_embeds.index", np.array([-1, -1], np.int32)), errors.UploadShapeError, "uses 0"),
        (_meta("round", "1"), errors.UploadRoundError, "round"),
        (_meta("run", "trial-6"), errors.UploadReplayError, "written for the run 'trial-6'"),
        (_meta("client_id", "client-07"), errors.UploadSenderError, "unknown client"),
        (_meta("client_id", "../../etc/passwd"), errors.UploadSenderError, "unknown client"),
        (_meta("client_id", "client-01"), errors.UploadSenderError, "client id"),
        (_meta("encoder", "f" * 64), errors.UploadEncoderError, "another model"),
        (_meta("classes", "f" * 64), errors.UploadClassesError, "another list of classes"),
        (_meta("version", "2"), errors.UploadFormatError, "version is '2', expected '3': client and server must have"),
        (_meta("format", "other"), errors.UploadFormatError, "format is 'other'"),
        (_meta("codec", "fp8"), errors.UploadFormatError, "codec"),
        (_meta("codec", 16), errors.UploadFormatError, "metadata"),
        (_meta("domains", [1]), errors.UploadFormatError, "domains"),
        (_meta("domains", ["a", "a"]), errors.UploadFormatError, "twice"),
        (_meta("domains", ["a\x1b]0;owned\x07"]), errors.UploadFormatError, "printable"),
        (_meta("domains", ["x" * 201]), errors.UploadFormatError, "domains"),
        (_meta("texts", [-1, 0]), errors.UploadFormatError, "texts is"),
        (_meta("texts", [True, 0]), errors.UploadFormatError, "texts is"),
        (_meta("texts", [1]), errors.UploadFormatError, "texts is"),
        (_meta("error", {"prompt_embeds": ["0.000000e+00"] * 2}), errors.UploadFormatError, "errors of"),
        (_meta("error", {"other": ["0.000000e+00"] * 2}), errors.UploadFormatError, "errors of 'other'"),
        (_meta("error", {"prompt_embeds": ["-1.000000e+00"] * 2}), errors.UploadFormatError, "two numbers an array"),
        (_meta("error", {"prompt_embeds": [float("inf"), 0.0]}), errors.UploadFormatError, "two numbers|not JSON"),
        (_meta("error", {"prompt_embeds": ["nan", "inf"]}), errors.UploadFormatError, "two numbers an array"),
        (_meta("error", {"prompt_embeds": ["0.000000e+00"]}), errors.UploadFormatError, "two numbers an array"),
        (_meta("error", []), errors.UploadFormatError, "two numbers an array"),
        (_meta("codec", "int8"), errors.UploadShapeError, "expected int8"),
        (_meta("codec", "text"), errors.UploadFormatError, "takes embeddings alone"),
        (_set("prompt_embeds.scale", np.ones((2, 3), np.float32)), errors.UploadShapeError, "undeclared arrays"),
        (_meta("path", "/home/alice"), errors.UploadFormatError, "unknown keys 'path'"),
        (_rows(1001), errors.UploadSizeError, "1001 rows; the cap is 1000"),
    ],
)
def test_anything_off_is_refused_with_an_error_and_a_rule_of_its_own(
    change: Callable[..., None], error: type[UploadError], rule: str
) -> None:
    with pytest.raises(error, match=rule) as caught:
        decode(changed(change), EXPECTED, "client-00")
    assert type(caught.value) is error


VALUES = np.ones((2, 4, 3), dtype=np.int8)


def _scale(value: float) -> Callable[[dict[str, np.ndarray], dict[str, Any]], None]:
    return _set("prompt_embeds.scale", np.full((2, 3), value, dtype=np.float32))


@pytest.mark.parametrize(
    ("change", "error", "rule"),
    [
        (_set("prompt_embeds", np.full((2, 4, 3), -128, dtype=np.int8)), errors.UploadValueError, "-128"),
        (_set("prompt_embeds", VALUES.astype(np.float16)), errors.UploadShapeError, "is float16, expected int8"),
        (_set("prompt_embeds", VALUES.astype(np.uint8)), errors.UploadShapeError, "is uint8, expected int8"),
        (_set("prompt_embeds", VALUES[:1]), errors.UploadShapeError, "1 rows, expected 2"),
        (_scale(np.nan), errors.UploadValueError, "negative, not finite, or subnormal"),
        (_scale(np.inf), errors.UploadValueError, "negative, not finite, or subnormal"),
        (_scale(-1.0), errors.UploadValueError, "negative, not finite, or subnormal"),
        (_scale(-0.0), errors.UploadValueError, "negative, not finite, or subnormal"),
        (_scale(1e-40), errors.UploadValueError, "negative, not finite, or subnormal"),
        (_scale(79.0), errors.UploadValueError, "beyond 10000"),
        (_scale(3e38), errors.UploadValueError, "beyond 10000"),
        (_set("prompt_embeds.scale", np.ones((2, 1), np.float32)), errors.UploadShapeError, r"float32 \(2, 3\)"),
        (_set("prompt_embeds.scale", np.ones((1, 3), np.float32)), errors.UploadShapeError, r"float32 \(2, 3\)"),
        (_set("prompt_embeds.scale", np.ones((2, 3), np.float64)), errors.UploadShapeError, "is float64"),
        (lambda tensors, _: tensors.pop("prompt_embeds.scale"), errors.UploadShapeError, "prompt_embeds.scale is miss"),
        (lambda tensors, _: tensors.pop("prompt_embeds"), errors.UploadShapeError, "array prompt_embeds is missing"),
        (
            lambda tensors, _: (tensors.pop("negative_prompt_embeds"), tensors.pop("negative_prompt_embeds.index")),
            errors.UploadShapeError,
            "undeclared arrays: 'negative_prompt_embeds.scale'",
        ),
    ],
)
def test_eight_bits_that_are_off_are_refused(change: Callable[..., None], error: type[UploadError], rule: str) -> None:
    with pytest.raises(error, match=rule) as caught:
        decode(changed(change, codec="int8"), EXPECTED, "client-00")
    assert type(caught.value) is error


def _ints(name: str, *values: int) -> Callable[[dict[str, np.ndarray], dict[str, Any]], None]:
    return _set(name, np.array(values, dtype=np.int32))


def _said(*texts: bytes) -> Callable[[dict[str, np.ndarray], dict[str, Any]], None]:
    """The upload's three texts, replaced."""

    def change(tensors: dict[str, np.ndarray], metadata: dict[str, Any]) -> None:
        tensors["text"] = np.frombuffer(b"".join(texts), np.uint8)
        tensors["text.offsets"] = np.cumsum([0, *map(len, texts)], dtype=np.int32)
        metadata["texts"] = [len(texts), sum(map(len, texts))]

    return change


@pytest.mark.parametrize(
    ("change", "error", "rule"),
    [
        (_said(b"river", b"\xff\xfe", b"blurred"), errors.UploadValueError, "not UTF-8"),
        (_said(b"river", b"\xed\xa0\x80", b"blurred"), errors.UploadValueError, "not UTF-8"),
        (_said(b"river", b"\xe6\x9e", b"\x97lurred"), errors.UploadValueError, "not UTF-8"),
        (_said(b"river", b"x" * 2001, b"blurred"), errors.UploadValueError, "2001 characters; the cap is 2000"),
        (_said(b"river", b"x" * 8001, b"blurred"), errors.UploadValueError, "8001 bytes"),
        (_said(b"river", b"\x1b]0;owned\x07", b"blurred"), errors.UploadValueError, "control character"),
        (_said(b"river", b"a\nb", b"blurred"), errors.UploadValueError, "control character"),
        (_said(b"river", b"river", b"blurred"), errors.UploadShapeError, "there twice"),
        (_said(b"river", b"road", b"blurred", b"sea"), errors.UploadShapeError, "that no row has"),
        (_said(b"a", b"b", b"c", b"d", b"e"), errors.UploadShapeError, "5 texts for 2 rows"),
        (_said(), errors.UploadShapeError, "0 texts for 2 rows"),
        (_ints("text.offsets", 0, 8, 5, 15), errors.UploadShapeError, "does not divide"),
        (_ints("text.offsets", 0, 5, 8, 14), errors.UploadShapeError, "does not divide"),
        (_ints("text.offsets", 1, 5, 8, 15), errors.UploadShapeError, "does not divide"),
        (_ints("text.offsets", 0, -5, 8, 15), errors.UploadShapeError, "does not divide"),
        (_ints("text.offsets", 0, 2**31 - 1, -(2**31), 15), errors.UploadShapeError, "does not divide"),
        (_ints("text.offsets"), errors.UploadShapeError, "-1 texts"),
        (_set("text.offsets", np.zeros((4, 1), np.int32)), errors.UploadShapeError, "one axis"),
        (_set("text.offsets", np.zeros(4, np.float64)), errors.UploadShapeError, "expected int32"),
        (_set("text", np.zeros(15, np.int8)), errors.UploadShapeError, "expected uint8"),
        (_ints("text.index", 0, 3), errors.UploadShapeError, "points outside"),
        (_ints("text.index", 0, -1), errors.UploadShapeError, "points outside"),
        (_ints("text.index", 0), errors.UploadShapeError, "has not 2 rows"),
        (_ints("negative.index", -2, 2), errors.UploadShapeError, "points outside"),
        (_ints("negative.index", -1, 3), errors.UploadShapeError, "points outside"),
        (lambda tensors, _: tensors.pop("text"), errors.UploadShapeError, "array text is missing"),
        (lambda tensors, _: tensors.pop("negative.index"), errors.UploadShapeError, "negative.index is missing"),
        (_set("prompt_embeds", NAN), errors.UploadShapeError, "undeclared arrays"),
        (_meta("texts", [3, 14]), errors.UploadFormatError, "texts is"),
        (_meta("error", {"prompt_embeds": ["0.000000e+00"] * 2}), errors.UploadFormatError, "has none"),
        (_meta("encoder", "e" * 64), errors.UploadEncoderError, "another model"),
        (_meta("codec", "fp32"), errors.UploadEncoderError, "another model"),
    ],
)
def test_texts_that_are_off_are_refused(change: Callable[..., None], error: type[UploadError], rule: str) -> None:
    with pytest.raises(error, match=rule) as caught:
        decode(changed(change, codec="text"), TEXTS, "client-00")
    assert type(caught.value) is error


def test_texts_are_taken_only_where_they_were_chosen() -> None:
    with pytest.raises(errors.UploadFormatError, match="takes embeddings alone"):
        decode(packed("text"), EXPECTED)
    for codec in CODECS:
        assert decode(packed(codec), TEXTS).codec == codec


def test_a_short_text_that_becomes_a_large_array_counts_as_what_it_becomes() -> None:
    rows = [Prompt(0, "x") for _ in range(1000)]
    data = encode_texts(SENDER, rows)
    grown = 4 * 12 * (1000 + 1)  # every row, and the embedding of an empty negative text
    assert len(data) < grown
    assert len(decode(data, replace(TEXTS, max_bytes=grown)).prompts) == 1000
    for cap, becomes in ((grown - 1, grown), (len(data), 4 * 12 * 1000)):
        with pytest.raises(errors.UploadSizeError, match=f"become {becomes} bytes of embeddings; the cap is {cap} "):
            decode(data, replace(TEXTS, max_bytes=cap))


def test_every_kind_of_refusal_has_a_rule_of_its_own() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, UploadError)]
    assert len({kind.rule for kind in kinds}) == len(kinds) > 12


def test_a_change_that_is_not_signed_is_damage() -> None:
    with pytest.raises(errors.UploadChecksumError):
        decode(changed(_set("weight", np.array([1.0, 2.0])), sign=False), EXPECTED)


@pytest.mark.parametrize("data", [b"", b"short", b"\xff" * 64, struct.pack("<Q", 10) + b"not json..", packed()[:-1]])
def test_bytes_that_are_no_safetensors_file_are_refused(data: bytes) -> None:
    with pytest.raises(errors.UploadFormatError):
        decode(data, EXPECTED)


def container(header: object, body: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + body


def one(begin: object = 0, end: object = 4, shape: object = (1,), dtype: object = "F32") -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


@pytest.mark.parametrize(
    ("data", "rule"),
    [
        (container({"a": one()}, b"1234", length=2**63), "longer than the file"),
        (container({"a": one()}, b"1234", length=10**6 + 1), "longer than the file"),
        (container(b"{" * 90_000), "unreadable header"),
        (container(b'{"a":' * 5_000), "unreadable header"),
        (container(b'{"a": 1, "a": 1}'), "given twice"),
        (container(b'{"a": {"dtype": "F32", "dtype": "F16", "shape": [1], "data_offsets": [0, 4]}}', b"1234"), "twice"),
        (container(b'{"a": NaN}'), "not JSON"),
        (container(b" {}"), "does not begin"),
        (container("{}".encode("utf-16")), "does not begin"),
        (container(b'{"\xff": 1}'), "unreadable header"),
        (container(b'{"\\ud800": 1}'), "unreadable header"),
        (container(b'{"a": ' + b"9" * 10_000 + b"}"), "unreadable header"),
        (container([]), "does not begin"),
        (container({"a": 1}), "not described"),
        (container({"a": {**one(), "more": 1}}, b"1234"), "not described"),
        (container({"a": one(dtype="BF16")}, b"1234"), "dtype"),
        (container({"a": one(dtype=["F32"])}, b"1234"), "dtype"),
        (container({"a": one(shape=[2**40, 2**40])}, b"1234"), "shape"),
        (container({"a": one(shape=[2**20])}, b"1234"), "more or fewer bytes"),
        (container({"a": one(shape=[2**62, 4])}, b"1234"), "shape"),
        (container({"a": one(0, 0, [0, 2**47, 2**47])}), "shape"),
        (container({"a": one(0, 0, [2**47, 0])}), "shape"),
        (container({"a": one(shape=[-1])}, b"1234"), "shape"),
        (container({"a": one(shape=[True])}, b"1234"), "shape"),
        (container({"a": one(shape=[1.0])}, b"1234"), "shape"),
        (container({"a": one(shape=[1] * 9)}, b"1234"), "shape"),
        (container({"a": one(-4, 0)}, b"1234"), "lies at"),
        (container({"a": one(4, 0)}, b"1234"), "ends before"),
        (container({"a": one(4, 8)}, b"12345678"), "hole"),
        (container({"a": one(), "b": one()}, b"1234"), "over another"),
        (container({"a": one(0, 8, [2]), "b": one(4, 8)}, b"12345678"), "over another"),
        (container({"a": one()}, b"123"), "the file is cut: it lacks 1 of its bytes"),
        (container({"a": one()}, b"12345"), "belong to no array"),
        (container({f"{n}": one(0, 0, [0]) for n in range(65)}), "at most 64"),
        (container({"__metadata__": {"fgl": 1}}), "mapping of texts"),
        (container({"__metadata__": {"pt": "x"}, "a": one()}, b"1234"), "metadata other than"),
        (container({"__metadata__": {"fgl": "[]"}}), "metadata|does not begin"),
        (container({"__metadata__": {"fgl": "{" * 9000}}), "unreadable"),
    ],
)
def test_headers_that_lie_are_refused(data: bytes, rule: str) -> None:
    with pytest.raises(errors.UploadFormatError, match=rule):
        decode(data, EXPECTED)


def test_the_cap_is_looked_at_before_anything_is_parsed() -> None:
    with pytest.raises(errors.UploadSizeError, match="cap"):
        decode(b"\x00" * 100_001, EXPECTED)


def test_a_million_rows_are_refused_before_an_array_is_looked_at() -> None:
    roomy = replace(EXPECTED, max_bytes=10**9)
    header = {"class_id": {"dtype": "I32", "shape": [MILLION], "data_offsets": [0, 4 * MILLION]}}
    _, metadata = opened(packed())
    data = container({"__metadata__": {"fgl": json.dumps(metadata)}, **header}, bytes(4 * MILLION))
    with pytest.raises(errors.UploadSizeError, match="1000000 rows"):
        decode(data, roomy)


def test_an_upload_that_is_kept_reads_as_it_was_accepted(tmp_path: Path) -> None:
    for codec in ("fp16", "fp32", "int8"):
        path = tmp_path / f"{codec}.safetensors"
        path.write_bytes(packed(codec))
        again = stored(path, DECLARATION)
        assert same_upload(again, decode(packed(codec), EXPECTED))
        rows = Conditioning(
            ("a", "b"),
            again.class_id,
            again.weight,
            again.domain,
            again.guidance_scale,
            np.zeros(2, np.int64),
            np.arange(2),
            np.ones(2, np.int64),
            [again],
        )
        first, second = rows.gather("negative_prompt_embeds", [0, 1])
        assert first is None
        assert np.array_equal(second, np.ones((4, 3)))
    path.unlink()
    with pytest.raises(StoreError):
        again.arrays["prompt_embeds"]


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_bounds_are_those_of_plain_comparison(dtype: str) -> None:
    draw = np.random.default_rng(0)
    edges = [0.0, -0.0, 1.0, -1.0, 999.5, 1000.0, -1000.0, 1000.5, 65504.0, 6e-8, np.inf, -np.inf, np.nan]
    for bound in (1000.0, 1.0, 0.1, 1e4, 1e6):
        for value in [*edges, *(draw.standard_normal(200) * 10 ** draw.uniform(-3, 5, 200))]:
            with np.errstate(over="ignore"):
                array = np.array([[0.0, value]], dtype=dtype)
            plain = bool(np.isfinite(array).all() and (np.abs(array.astype(np.float64)) <= bound).all())
            assert codecs.within(array, bound) == plain, (value, bound)


numbers = st.floats(-100, 100, width=16)
prompts = st.builds(
    Prompt,
    class_id=st.integers(0, 2),
    text=st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), min_size=1, max_size=20),
    negative=st.none() | st.sampled_from(["blurred", "dark"]),
    domain=st.none() | st.sampled_from(["sketch", "art painting", "写真"]),
    weight=st.floats(1e-6, 1e12),
    guidance_scale=st.none() | st.floats(0, 100),
)


@given(rows=st.lists(prompts, min_size=1, max_size=6), codec=st.sampled_from(CODECS), data=st.data())
@settings(max_examples=80, deadline=None)
def test_whatever_a_client_may_say_arrives_as_it_was_said(rows: list[Prompt], codec: str, data: st.DataObject) -> None:
    embeds = np.array(data.draw(st.lists(numbers, min_size=12 * len(rows), max_size=12 * len(rows))), np.float32)
    negatives = sorted({prompt.negative for prompt in rows if prompt.negative})
    index = [negatives.index(prompt.negative) if prompt.negative else -1 for prompt in rows]
    arrays = {"prompt_embeds": embeds.reshape(-1, 4, 3)}
    if negatives:
        arrays["negative_prompt_embeds"] = np.arange(len(negatives), dtype=np.float32)[:, None, None] + np.zeros((4, 3))
    indices = {"negative_prompt_embeds": np.array(index, np.int32)} if negatives else {}
    texts = codec == "text"
    sent = encode_texts(SENDER, rows) if texts else encode(SENDER, DECLARATION, codec, rows, arrays, indices)
    found = decode(sent, TEXTS)
    assert found.client_id == "client-00"
    assert found.class_id.tolist() == [prompt.class_id for prompt in rows]
    assert found.weight.tolist() == [prompt.weight for prompt in rows]
    assert found.domain == tuple(prompt.domain or "" for prompt in rows)
    for scale, prompt in zip(found.guidance_scale.tolist(), rows, strict=True):
        assert np.isnan(scale) if prompt.guidance_scale is None else scale == prompt.guidance_scale
    if texts:
        assert found.prompts == tuple(rows)
        return
    for name, exact in arrays.items():
        off = np.abs(np.asarray(found.arrays[name]) - exact)
        largest = exact.reshape(-1, 4, 3).max(initial=0) - exact.min(initial=0)
        assert off.max() <= {"fp16": 2**-11, "fp32": 0.0, "int8": 0.5 / 127}[codec] * largest * 1.001
        assert found.codec_error[name][0] == pytest.approx(off.max(), rel=1e-6)
    assert {name: array.tolist() for name, array in found.indices.items()} == {
        name: array.tolist() for name, array in indices.items()
    }


def accepted(data: bytes) -> ClientUpload | None:
    """None where it is refused; any other error is a bug."""
    try:
        return decode(data, TEXTS)
    except UploadError:
        return None


def test_what_is_accepted_the_safetensors_library_reads_as_the_same_arrays() -> None:
    for codec in CODECS:
        assert same_arrays(load(packed(codec)), decode(packed(codec), TEXTS))


def test_mutated_files_are_refused_or_mean_the_same() -> None:
    """The same loop as benchmarks/fuzz_uploads.py, short."""
    files = [packed(codec) for codec in CODECS]
    meanings = [decode(data, TEXTS) for data in files]
    for mutant in mutants(files, seed=0, count=4000):
        found = accepted(mutant)
        if found is not None:
            assert any(same_upload(found, meaning) for meaning in meanings)
            assert same_arrays(load(mutant), found)


def test_signed_lies_are_refused_or_keep_every_rule() -> None:
    """Mutations of what an upload says, with a checksum that fits: a malicious client's, not the network's."""
    taken = set()
    for mutant in signed_mutants([packed(codec) for codec in CODECS], seed=0, count=3000):
        found = accepted(mutant)
        if found is not None:
            taken.add(found.codec)
            assert keeps_every_rule(found, TEXTS)
            assert same_arrays(load(mutant), found)
    assert taken == set(CODECS), "the mutations are too coarse to find what might slip through"


def test_whoever_looks_at_a_hostile_file_gets_an_account_or_the_usual_refusal() -> None:
    """`fgl client show` reads without a configuration what a server reads with one."""
    files = [packed(codec) for codec in CODECS]
    shown = set()
    for data in (*files, *mutants(files, seed=1, count=1000), *signed_mutants(files, seed=1, count=2000)):
        try:
            said = disclosed(data)
        except UploadError:
            assert accepted(data) is None, "what a server takes can be looked at"
            continue
        json.dumps(to_json(said), allow_nan=False)
        shown.add(said.codec)
    assert shown == set(CODECS)
