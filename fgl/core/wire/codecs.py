"""How the rows of an upload become tensors, and tensors rows: numbers in 32, 16 or 8 bits, or texts.

fp32 is exact. fp16 is the nearest half. int8 has one float32 scale for each row and channel (the largest magnitude over
the row's tokens, by 127), so it costs an s-th more than 8 bits a number, in exchange for which a row's bytes depend on
that row alone: equal rows of two clients stay equal, and are one conditioning. Rows without a token axis, such as
pooled embeddings, have one scale each. text holds each distinct text once, for the server to encode.

Shape legend: n rows, s tokens, d channels, t distinct texts, b bytes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fgl.errors import Problem, UploadShapeError, UploadValueError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fgl.contracts.aggregator import Rows
    from fgl.contracts.arrays import Array
    from fgl.contracts.prompts import Prompt


TEXT = "text"
NUMBERS: dict[str, np.dtype[Any]] = {
    "fp16": np.dtype("float16"),
    "fp32": np.dtype("float32"),
    "int8": np.dtype("int8"),
}
"""Codecs of numbers, and the dtype of the tensors that they write."""
CODECS = (*NUMBERS, TEXT)
SCALE, INDEX = ".scale", ".index"
TEXTS, OFFSETS, PROMPTS, NEGATIVES = "text", "text.offsets", "text.index", "negative.index"
"""Tensors of texts: uint8 [b], int32 [t + 1] into it, and for each row int32 [n] into the texts, NEGATIVES with -1 for
none."""
MAX_TEXT = 2000
"""Characters of one text. Text encoders read some dozens of words."""
# Controls, the line and the paragraph separator, surrogates. Marks that join emoji or turn a script around are text.
_UNFIT = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
# A smaller scale would be a subnormal number, which some processors flush to zero.
_LEAST = float(np.finfo(np.float32).tiny)
# Numbers that are looked at together: what a check needs beside the array stays at some megabytes, whatever its size.
PIECE = 1 << 20


def presented(codec: str) -> np.dtype[Any]:
    """The dtype of rows as a generator sees them."""
    return NUMBERS["fp16" if codec == "fp16" else "fp32"]


def scale_shape(shape: Sequence[int]) -> tuple[int, int]:
    """[n, d] of an array [n, ..., d], [n, 1] of one without a token axis."""
    return shape[0], shape[-1] if len(shape) > 2 else 1


def quantize(array: Array) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """(values, scale) of finite floats [n, *shape]. An element is off by at most half its scale, and by what float32
    rounds in their product."""
    view = _by_channel(array)
    values, scale = np.empty(view.shape, np.int8), np.empty((len(view), view.shape[2]), np.float32)
    for part in _pieces(view.shape):
        exact = view[part].astype(np.float64)
        peak = np.abs(exact).max(axis=1, initial=0)
        scale[part] = np.where(peak > 0, np.maximum(peak / 127, _LEAST), 0)
        step = np.where(peak > 0, scale[part], 1).astype(np.float64)
        values[part] = np.clip(np.rint(exact / step[:, None]), -127, 127)
    return values.reshape(array.shape), scale


class Quantized:
    """int8 [n, *shape] with its scales, as the float32 rows that they stand for: an index makes the rows that it asks
    for, and numpy.asarray makes them all."""

    dtype = NUMBERS["fp32"]

    def __init__(self, values: Array, scale: Array) -> None:
        self.values, self.scale = values, scale

    @property
    def shape(self) -> tuple[int, ...]:
        return self.values.shape

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, index: Any, /) -> Array:
        if isinstance(index, int | np.integer):
            row: Array = _floats(self.values[index][None], self.scale[index][None])[0]
            return row
        if isinstance(index, slice | list | np.ndarray):
            return _floats(self.values[index], self.scale[index])
        raise TypeError(f"rows of a quantized array are asked for by number, slice or list, not by {index!r}")

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return _floats(self.values, self.scale).astype(dtype or self.dtype, copy=False)


class Scaled(Mapping[str, Quantized]):
    """Arrays by name, of tensors that hold each and its scales. Nothing is kept: a tensor is asked for when its array
    is."""

    def __init__(self, tensors: Mapping[str, Array], names: Sequence[str]) -> None:
        self._tensors, self._names = tensors, tuple(names)

    def __getitem__(self, name: str) -> Quantized:
        if name not in self._names:
            raise KeyError(name)
        return Quantized(self._tensors[name], self._tensors[name + SCALE])

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def check_quantized(name: str, values: Array, scale: Array, bound: float) -> None:
    """Raises UploadValueError where a number is none that `quantize` writes, or stands for more than `bound`. Judges by
    the scales: no row is made."""
    flat = values.reshape(-1)
    for start in range(0, len(flat), PIECE):
        if int(flat[start : start + PIECE].min()) < -127:
            raise UploadValueError(f"refused: {name} holds -128: int8 is symmetric, from -127 to 127")
    least, beyond = (int(np.float32(one).view(np.uint32)) for one in (_LEAST, np.inf))
    scales = np.ascontiguousarray(scale).reshape(-1)
    for start in range(0, len(scales), PIECE):
        part = scales[start : start + PIECE]
        # A sign, infinity and NaN show in the bits of what would otherwise pass as zero or need a rule of its own.
        bits = part.view(np.uint32)
        if not bool(((bits == 0) | ((bits >= least) & (bits < beyond))).all()):
            raise UploadValueError(f"refused: {name}{SCALE} holds numbers that are negative, not finite, or subnormal")
        with np.errstate(over="ignore"):
            largest = float((part * np.float32(127)).max())
        if largest > bound:
            raise UploadValueError(f"refused: {name} stands for numbers beyond {bound:g}")


def deviation(exact: Array, kept: Rows) -> tuple[float, float]:
    """(largest absolute error, RMS error relative to the RMS) of the rows that are sent, over the whole array."""
    largest = off = whole = 0.0
    for part in _pieces((len(exact), math.prod(exact.shape[1:]))):
        reference = exact[part].astype(np.float64)
        error = np.asarray(kept[part]).astype(np.float64) - reference
        largest = max(largest, float(np.abs(error).max(initial=0)))
        off += float((error**2).sum())
        whole += float((reference**2).sum())
    return largest, math.sqrt(off / whole) if whole else 0.0


# --- texts ----------------------------------------------------------------------------------------------------------


def distinct_texts(prompts: Sequence[Prompt]) -> list[bytes]:
    """Texts and negative texts, each once, in the order in which they first appear."""
    negatives = [prompt.negative for prompt in prompts if prompt.negative is not None]
    return [text.encode() for text in dict.fromkeys([*(prompt.text for prompt in prompts), *negatives])]


def no_texts(whose: str) -> Problem:
    """What is wrong where arrays are not those of the prompts' texts, and texts are to be sent. whose: a component."""
    expected = f"expected {', '.join(NUMBERS)}: {whose} sends arrays of its own, which the texts of prompts do not hold"
    return Problem("upload.codec", repr(TEXT), expected)


def pack_texts(prompts: Sequence[Prompt]) -> dict[str, Array]:
    """The tensors of prompts. Raises UploadValueError, which does not quote, where a text is not to be sent."""
    for number, prompt in enumerate(prompts):
        for text in (prompt.text, prompt.negative or ""):
            broken = invalid_reason(text)
            if broken:
                raise UploadValueError(f"prompt {number} {broken}: shorten or clean it, or use another upload.codec")
    texts = distinct_texts(prompts)
    place = {text: row for row, text in enumerate(texts)}
    negatives = [-1 if prompt.negative is None else place[prompt.negative.encode()] for prompt in prompts]
    return {
        TEXTS: np.frombuffer(b"".join(texts), np.uint8),
        OFFSETS: np.cumsum([0, *map(len, texts)], dtype=np.int32),
        PROMPTS: np.array([place[prompt.text.encode()] for prompt in prompts], np.int32),
        NEGATIVES: np.array(negatives, np.int32),
    }


def unpack_texts(tensors: dict[str, Array], rows: int) -> list[tuple[str, str | None]]:
    """(text, negative text) of each row; takes their tensors out of `tensors`. Raises UploadShapeError or
    UploadValueError."""
    data = _one_axis(tensors, TEXTS, "uint8")
    offsets = _one_axis(tensors, OFFSETS, "int32")
    indices = [_one_axis(tensors, name, "int32") for name in (PROMPTS, NEGATIVES)]
    count = len(offsets) - 1
    if not 1 <= count <= 2 * rows:
        raise UploadShapeError(f"refused: {count} texts for {rows} rows")
    steps = np.diff(offsets.astype(np.int64))
    if offsets[0] != 0 or offsets[-1] != len(data) or bool((steps < 0).any()):
        raise UploadShapeError(f"refused: {OFFSETS} does not divide {len(data)} bytes")
    for name, index, low in zip((PROMPTS, NEGATIVES), indices, (0, -1), strict=True):
        if index.shape != (rows,) or bool(((index < low) | (index >= count)).any()):
            raise UploadShapeError(f"refused: {name} points outside the {count} texts, or has not {rows} rows")
    if len(np.setdiff1d(np.concatenate(indices), [-1])) != count:
        raise UploadShapeError("refused: texts that no row has")
    if int(steps.max()) > 4 * MAX_TEXT:
        raise UploadValueError(f"refused: a text of {int(steps.max())} bytes; the cap is {MAX_TEXT} characters")
    texts = []
    for start, end in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True):
        try:
            text = data[start:end].tobytes().decode("utf-8")
        except UnicodeDecodeError as error:
            raise UploadValueError("refused: a text that is not UTF-8") from error
        broken = invalid_reason(text)
        if broken:
            raise UploadValueError(f"refused: a text that {broken}")
        texts.append(text)
    if len(set(texts)) != count:
        raise UploadShapeError("refused: a text that is there twice")
    prompts, negatives = (index.tolist() for index in indices)
    return [(texts[one], None if other < 0 else texts[other]) for one, other in zip(prompts, negatives, strict=True)]


def invalid_reason(text: str) -> str:
    """Why a text is not taken, "" where it is."""
    if len(text) > MAX_TEXT:
        return f"has {len(text)} characters; the cap is {MAX_TEXT}"
    if _UNFIT.search(text):
        return "holds a control character, a line break or half of a character"
    return ""


def _one_axis(tensors: dict[str, Array], name: str, dtype: str) -> Array:
    array = tensors.pop(name, None)
    if array is None:
        raise UploadShapeError(f"refused: array {name} is missing")
    if array.dtype != dtype or array.ndim != 1:
        raise UploadShapeError(f"refused: {name} is {array.dtype} {array.shape}, expected {dtype} with one axis")
    return array


def _by_channel(array: Array) -> Array:
    """[n, s, d] of an array whose scales are [n, d]."""
    return (
        array.reshape(len(array), math.prod(array.shape[1:-1]), array.shape[-1])
        if array.ndim > 2
        else (array.reshape(len(array), math.prod(array.shape[1:]), 1))
    )


def _floats(values: Array, scale: Array) -> NDArray[np.float32]:
    rows = _by_channel(values).astype(np.float32)
    rows *= scale[:, None]
    rows += 0.0  # a negative number by a scale of zero is -0.0, which would be another row than 0.0
    return rows.reshape(values.shape)


def _pieces(shape: Sequence[int]) -> Iterator[slice]:
    """Rows that are looked at together."""
    step = max(1, PIECE // max(1, math.prod(shape[1:])))
    return (slice(start, start + step) for start in range(0, shape[0], step))


def within(array: Array, bound: float) -> bool:
    """Whether every number of a float16 or float32 array is finite and at most `bound` in magnitude.

    Compares bit patterns: without its sign, an IEEE number orders as the integer that it is, with infinity and NaN
    above every other. That is many times faster in float16, for which processors have no arithmetic."""
    with np.errstate(over="ignore"):
        limit = np.array(bound).astype(array.dtype)
    if not np.isfinite(limit):
        limit = np.array(np.finfo(array.dtype).max, dtype=array.dtype)
    elif float(limit) > bound:
        limit = np.nextafter(limit, array.dtype.type(0))
    kind, mask = (np.dtype(np.uint16), 0x7FFF) if array.dtype.itemsize == 2 else (np.dtype(np.uint32), 0x7FFFFFFF)
    highest = int(limit.view(kind))
    bits: NDArray[Any] = np.ascontiguousarray(array).reshape(-1).view(kind)
    return all(int((bits[i : i + PIECE] & mask).max()) <= highest for i in range(0, len(bits), PIECE))
