"""How the rows of an upload become tensors, and tensors rows: codecs of arrays, which are plugins, or texts.

text holds each distinct text once, for the server to encode.

Shape legend: n rows, s tokens, d channels, t distinct texts, b bytes.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from fgl.contracts.codec import SupportsBoundCheck
from fgl.core.config.defaults import TEXT_CODEC
from fgl.errors import BrokenPluginError, Problem, UploadError, UploadShapeError, UploadValueError
from fgl.text import plain

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fgl.contracts.aggregator import Rows
    from fgl.contracts.arrays import Array
    from fgl.contracts.codec import Codec
    from fgl.contracts.prompts import Prompt
    from fgl.core.registry import Registry


log = logging.getLogger(__name__)


class Shaped(Protocol):
    """Anything with a shape."""

    @property
    def shape(self) -> tuple[int, ...]: ...


TEXT = TEXT_CODEC
"""The codec of texts, which is none of arrays."""
INDEX, ROWS = ".index", ".rows"
TEXTS, OFFSETS, PROMPTS, NEGATIVES = "text", "text.offsets", "text.index", "negative.index"
"""Tensors of texts: uint8 [b], int32 [t + 1] into it, and for each row int32 [n] into the texts, NEGATIVES with -1 for
none."""
MAX_TEXT = 2000
"""Characters of one text. Text encoders read some dozens of words."""
# Controls, the line and the paragraph separator, surrogates. Marks that join emoji or turn a script around are text.
_UNFIT = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
# Numbers that are looked at together: what a check needs beside the array stays at some megabytes, whatever its size.
PIECE = 1 << 20


_DTYPES = ("float64", "float32", "float16", "int32", "int8", "uint8")
_SUFFIX = re.compile(r"\.[a-z0-9_]{1,30}\Z")
Layout = dict[str, tuple[np.dtype[Any], tuple[int, ...]]]
"""Suffix of a tensor's name → its dtype and shape."""


# --- codecs of arrays -----------------------------------------------------------------------------------------------


def table(registry: Registry, chosen: str = "") -> dict[str, Codec]:
    """The codecs in which uploads are written and accepted here: the built-in ones, and the one that is chosen."""
    entries = [entry for entry in registry.all() if entry.family == "codec"]
    names = sorted(entry.component.name for entry in entries if entry.builtin)
    if chosen not in ("", TEXT, *names):
        names.append(chosen)
    made = {}
    for name in names:
        component = registry.find("codec", name).component
        made[name] = registry.create("codec", name, dict(component.defaults))
        if made[name].presented not in ("float16", "float32"):
            got = plain(repr(made[name].presented), 40)
            raise BrokenPluginError(f"codec {name!r} presents rows as {got}, expected 'float16' or 'float32'")
    return made


@lru_cache(maxsize=1)
def built_in() -> Mapping[str, Codec]:
    """`table` without any other."""
    from fgl.core.plugin_manager import PluginManager

    return table(PluginManager.load().registry)


def layout(codec: Codec, name: str, shape: Sequence[int]) -> Layout:
    """The tensors that a codec writes for an array [n, *shape], and an empty one with that shape where it does not show
    in the others. name: of the codec, for messages. Raises BrokenPluginError."""
    tensors: Layout = {}
    for suffix, (dtype, given) in codec.layout(tuple(shape)).items():
        known = suffix == "" or (_SUFFIX.match(suffix) and suffix not in (INDEX, ROWS))
        if not known or dtype not in _DTYPES:
            got = f"{plain(repr(suffix), 40)} of {plain(repr(dtype), 40)}"
            raise BrokenPluginError(f"codec {name!r} lays out {got}; expected '' or '.name', of {', '.join(_DTYPES)}")
        tensors[suffix] = np.dtype(dtype), tuple(int(axis) for axis in given)
    if "" not in tensors or tensors[""][1][:1] != tuple(shape[:1]):
        raise BrokenPluginError(f"codec {name!r} lays out no tensor '' whose first axis is the rows")
    if tensors[""][1] != tuple(shape):
        tensors[ROWS] = np.dtype("uint8"), (0, *shape[1:])
    return tensors


def shape_of(name: str, slots: Mapping[str, Shaped]) -> tuple[int, ...]:
    """The whole shape of an array, from the shapes of its tensors."""
    rows = slots.get(name + ROWS)
    return slots[name].shape if rows is None else (*slots[name].shape[:1], *rows.shape[1:])


def encoded(codec: Codec, name: str, array: Array) -> dict[str, Array]:
    """The tensors of finite floats by suffix, as `layout` has them. Raises BrokenPluginError."""
    written = dict(codec.encode(array))
    expected = layout(codec, name, array.shape)
    if ROWS in expected:
        written[ROWS] = np.empty(expected[ROWS][1], np.uint8)
    got = {suffix: (tensor.dtype, tensor.shape) for suffix, tensor in written.items()}
    if got != expected:
        raise BrokenPluginError(f"codec {name!r} wrote {_told(got)}; its layout has {_told(expected)}")
    return {suffix: np.ascontiguousarray(tensor) for suffix, tensor in written.items()}


def _told(tensors: Layout) -> str:
    return ", ".join(f"{suffix or 'the array'} {dtype} {list(shape)}" for suffix, (dtype, shape) in tensors.items())


def check(codec: Codec, array: str, tensors: Mapping[str, Array], shape: Sequence[int], bound: float) -> Rows:
    """The rows [n, *shape] of tensors whose dtypes and shapes are right. array: its name. Raises UploadValueError where
    a number is not finite or beyond `bound`, or the codec cannot make anything of them."""
    try:
        if isinstance(codec, SupportsBoundCheck):
            codec.check(array, tensors, bound)
            return codec.decode(tensors)
        rows = codec.decode(tensors)
        if tuple(rows.shape) != tuple(shape) or np.dtype(rows.dtype).name != codec.presented:
            raise UploadValueError(f"refused: {array} decodes to {rows.dtype} {tuple(rows.shape)}, not {tuple(shape)}")
        sound = all(within(np.asarray(rows[part], codec.presented), bound) for part in pieces(shape))
    except UploadError:
        raise
    except Exception as error:
        log.warning("%s cannot be decoded: %s: %s", array, type(error).__name__, error)
        raise UploadValueError(f"refused: {array} cannot be decoded") from error
    if not sound:
        raise UploadValueError(f"refused: {array} holds numbers that are not finite or beyond {bound:g}")
    return rows


class Decoded(Mapping[str, "Rows"]):
    """Arrays by name, of the tensors that hold them. Nothing is kept: a tensor is asked for when its array is.

    suffixes: of the tensors that the codec wrote for each array."""

    def __init__(self, codec: Codec, tensors: Mapping[str, Array], suffixes: Mapping[str, Sequence[str]]) -> None:
        self._codec, self._tensors, self._suffixes = codec, tensors, suffixes

    def __getitem__(self, name: str) -> Rows:
        return self._codec.decode({suffix: self._tensors[name + suffix] for suffix in self._suffixes[name]})

    def __iter__(self) -> Iterator[str]:
        return iter(self._suffixes)

    def __len__(self) -> int:
        return len(self._suffixes)


def deviation(exact: Array, kept: Rows) -> tuple[float, float]:
    """(largest absolute error, RMS error relative to the RMS) of the rows that are sent, over the whole array."""
    largest = off = whole = 0.0
    for part in pieces((len(exact), math.prod(exact.shape[1:]))):
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
    expected = (
        f"expected {', '.join(built_in())}: {whose} sends arrays of its own, which the texts of prompts do not hold"
    )
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


def pieces(shape: Sequence[int]) -> Iterator[slice]:
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
