"""What a prompt strategy or an upload filter returned, checked where it enters: plain numbers, arrays that fit.

Whatever is wrong is an error that names the component; nothing of it reaches the codec.
"""

from __future__ import annotations

import math
import operator
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from fgl.contracts.prompts import Prepared, Prompt
from fgl.errors import BrokenPluginError
from fgl.text import plain

if TYPE_CHECKING:
    from fgl.contracts.arrays import Array, Labels
    from fgl.contracts.generator import ArraySpec, UploadSchema

_TOLERANCE = 1e-3
"""Relative error that a sum of weights may have: shares of samples are often summed in float32."""


def checked_prompts(answer: Any, class_names: Sequence[str], whose: str) -> list[Prompt]:
    """The prompts with plain numbers in place of numpy's. whose: the component, for messages, which quote no text.

    Raises BrokenPluginError."""
    try:
        prompts = list(answer)
    except TypeError:
        raise BrokenPluginError(f"{whose} returned {type(answer).__name__}, expected a list of fgl.Prompt") from None
    return [_plain(prompt, f"{whose}: prompt {number}", class_names) for number, prompt in enumerate(prompts)]


def _plain(prompt: Any, where: str, class_names: Sequence[str]) -> Prompt:
    if not isinstance(prompt, Prompt):
        raise BrokenPluginError(f"{where} is {type(prompt).__name__}, expected fgl.Prompt")
    class_id = _number(prompt.class_id, operator.index)
    if class_id is None or not 0 <= class_id < len(class_names):
        got = plain(repr(prompt.class_id), 40)
        raise BrokenPluginError(f"{where} has class_id {got}, expected a class id from 0 to {len(class_names) - 1}")
    weight = _number(prompt.weight, float)
    if weight is None or not (math.isfinite(weight) and weight > 0):
        got = plain(repr(prompt.weight), 40)
        raise BrokenPluginError(f"{where} has weight {got}, expected a positive number of samples")
    scale = None if prompt.guidance_scale is None else _number(prompt.guidance_scale, float)
    if prompt.guidance_scale is not None and (scale is None or not math.isfinite(scale)):
        got = plain(repr(prompt.guidance_scale), 40)
        raise BrokenPluginError(f"{where} has guidance_scale {got}, expected a finite number, or None")
    for name in ("text", "negative", "domain"):
        value = getattr(prompt, name)
        if not isinstance(value, str) and (value is not None or name == "text"):
            expected = "text" if name == "text" else "text or None"
            raise BrokenPluginError(f"{where} has {name} of type {type(value).__name__}, expected {expected}")
    return replace(
        prompt,
        class_id=class_id,
        text=str(prompt.text),
        negative=None if prompt.negative is None else str(prompt.negative),
        domain=None if prompt.domain is None else str(prompt.domain),
        weight=weight,
        guidance_scale=scale,
    )


def _number(value: Any, convert: Any) -> Any:
    """The value as a plain number; None if it is not a number."""
    if isinstance(value, bool | str | bytes) or value is None:
        return None
    try:
        return convert(value)
    except (TypeError, ValueError, OverflowError):
        return None


def check_counts(prompts: Iterable[Prompt], labels: Labels, class_names: Sequence[str], whose: str) -> None:
    """Whether each class that the client holds has prompts whose weights sum to its samples, and no other class has
    any. labels: class ids of its samples, int64 [n]. Raises BrokenPluginError."""
    held = Counter(labels.tolist())
    weights: dict[int, float] = {}
    for prompt in prompts:
        weights[prompt.class_id] = weights.get(prompt.class_id, 0.0) + prompt.weight
    for class_id in sorted({*held, *weights}):
        name, count = plain(repr(class_names[class_id]), 60), held[class_id]
        samples = f"{count} sample{'s' if count != 1 else ''}"
        if class_id not in weights:
            said = f"no prompt for class {name}, of which the client holds {samples}"
        elif not count:
            said = f"a prompt for class {name}, of which the client holds no sample"
        elif not math.isclose(weights[class_id], count, rel_tol=_TOLERANCE):
            said = (
                f"prompts for class {name} whose weights sum to {weights[class_id]:g}; the client holds {samples} of it"
            )
        else:
            continue
        raise BrokenPluginError(
            f"{whose} returned {said} (a component whose counts are private on purpose states "
            'provides=("private_counts",))'
        )


def checked_arrays(
    prompts: Sequence[Prompt], arrays: Any, indices: Any, schema: UploadSchema, whose: str
) -> tuple[dict[str, Array], dict[str, Array]]:
    """(arrays, indices) in float32 and int32, contiguous, without rows of shared arrays that no prompt points to.

    Raises BrokenPluginError where they are not what the schema declares."""
    for name, value in (("arrays", arrays), ("indices", indices)):
        if not isinstance(value, Mapping):
            raise BrokenPluginError(f"{whose} returned {name} of type {type(value).__name__}, expected a mapping")
    declared = {spec.name: spec for spec in schema.arrays}
    shared = {name for name, spec in declared.items() if spec.shared}
    for name in arrays:
        if name not in declared:
            known = ", ".join(declared)
            got = plain(repr(name), 60)
            raise BrokenPluginError(f"{whose} returned the array {got}, which the generator does not declare ({known})")
    for name in indices:
        if name not in shared or name not in arrays:
            got = plain(repr(name), 60)
            raise BrokenPluginError(f"{whose} returned an index of {got}, which is not a shared array that it returned")
    kept: dict[str, Array] = {}
    pointers: dict[str, Array] = {}
    for name, spec in declared.items():
        where = f"{whose}: array {name}"
        if name not in arrays:
            if not spec.optional:
                raise BrokenPluginError(f"{whose} returned no array {name}, which the generator declares")
            continue
        array = _floats(arrays[name], spec, where)
        if not spec.shared:
            if len(array) != len(prompts):
                raise BrokenPluginError(f"{where} has {len(array)} rows, expected {len(prompts)}, one for each prompt")
            kept[name] = array
            continue
        index = _index(indices.get(name), len(prompts), len(array), spec, where)
        used, place = np.unique(index[index >= 0], return_inverse=True)
        if not len(used):
            continue  # an optional array that no row has
        pointers[name] = np.full(len(prompts), -1, np.int32)
        pointers[name][index >= 0] = place
        kept[name] = array if len(used) == len(array) else np.ascontiguousarray(array[used])
    _check_guided(prompts, kept, pointers, schema, whose)
    return kept, pointers


def _floats(value: Any, spec: ArraySpec, where: str) -> Array:
    try:
        array = np.asarray(value)
    except Exception as error:
        raise BrokenPluginError(f"{where} is not an array: {type(error).__name__}: {plain(error, 120)}") from error
    if array.dtype.kind not in "fiu":
        raise BrokenPluginError(f"{where} has dtype {array.dtype}, expected float32 or what casts to it")
    if array.ndim != len(spec.shape) + 1 or array.shape[1:] != spec.shape:
        expected = ", ".join(map(str, ("n", *spec.shape)))
        raise BrokenPluginError(f"{where} has shape {list(array.shape)}, expected [{expected}]")
    with np.errstate(over="ignore"):
        array = np.ascontiguousarray(array, dtype=np.float32)
    if not np.isfinite(array).all():
        raise BrokenPluginError(f"{where} holds NaN or infinite values")
    largest = float(np.abs(array).max(initial=0))
    if largest > spec.max_abs:
        raise BrokenPluginError(f"{where} holds {largest:g}; the generator accepts magnitudes up to {spec.max_abs:g}")
    return array


def _index(value: Any, rows: int, length: int, spec: ArraySpec, where: str) -> Array:
    if value is None:
        raise BrokenPluginError(f"{where} is shared by rows, and has no index: expected indices[{spec.name!r}]")
    index = np.asarray(value)
    if index.dtype.kind not in "iu" or index.shape != (rows,):
        got = f"{index.dtype} {list(index.shape)}"
        raise BrokenPluginError(f"{where}: its index is {got}, expected int32 [{rows}], one for each prompt")
    low = -1 if spec.optional else 0
    if rows and not (low <= int(index.min()) and int(index.max()) < length):
        raise BrokenPluginError(f"{where}: its index points outside {low}..{length - 1}")
    return index.astype(np.int32)


def _check_guided(
    prompts: Sequence[Prompt],
    arrays: Mapping[str, Array],
    indices: Mapping[str, Array],
    schema: UploadSchema,
    whose: str,
) -> None:
    for name in schema.guided:
        for number, prompt in enumerate(prompts):
            scale = schema.guidance_scale if prompt.guidance_scale is None else prompt.guidance_scale
            present = indices[name][number] >= 0 if name in indices else name in arrays
            if scale > 1 and not present:
                raise BrokenPluginError(
                    f"{whose}: row {number} has a guidance scale of {scale:g} and no {name}, which the generator needs "
                    "above 1: context.encode(prompts) has it"
                )


def prepared(answer: Any, schema: UploadSchema, class_names: Sequence[str], whose: str) -> Prepared:
    """A `Prepared` that an upload can be made of. Raises BrokenPluginError."""
    if not isinstance(answer, Prepared):
        raise BrokenPluginError(f"{whose} returned {type(answer).__name__}, expected fgl.Prepared")
    prompts = checked_prompts(answer.prompts, class_names, whose)
    arrays, indices = checked_arrays(prompts, answer.arrays, answer.indices, schema, whose)
    return Prepared(prompts, arrays, indices)
