"""What generators and aggregators return, checked. Prompts are checked in `fgl.core.client.prepared`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from fgl.contracts.generator import ArraySpec
from fgl.core.returned.values import Call, WrongValueError, named_arrays
from fgl.text import plain, quoted


def encoded(value: Any, call: Call) -> Any:
    prompts = call.arguments.get("prompts", ())
    if not isinstance(value, tuple) or len(value) != 2 or not all(isinstance(part, Mapping) for part in value):
        raise WrongValueError(f"returned {plain(repr(value), 60)}; expected (arrays, indices), two mappings")
    arrays, indices = named_arrays(value[0]), named_arrays(value[1])
    for name, array in arrays.items():
        if name not in indices and (array.ndim == 0 or len(array) != len(prompts)):
            raise WrongValueError(
                f"returned {name} as {list(array.shape)} for {len(prompts)} prompts; expected one row a prompt"
            )
        if not np.isfinite(array).all():
            raise WrongValueError(
                f"returned NaN or infinite values in {name}: the encoder overflows, or its weights are damaged"
            )
    for name, index in indices.items():
        if index.dtype.kind not in "iu" or index.shape != (len(prompts),):
            raise WrongValueError(
                f"returned the indices of {name} as {index.dtype} {list(index.shape)}; expected whole numbers "
                f"[{len(prompts)}]"
            )
    return arrays, indices


def truncated(value: int, call: Call) -> int:
    most = len(call.arguments.get("prompts", ()))
    if not 0 <= value <= most:
        raise WrongValueError(f"returned {value} for {most} prompts; expected 0 to {most}")
    return value


def declared(value: Any, call: Call) -> Any:
    arrays = value.arrays
    if not isinstance(arrays, tuple | list) or not all(isinstance(spec, ArraySpec) for spec in arrays) or not arrays:
        raise WrongValueError(f"returned arrays {plain(repr(arrays), 60)}; expected a tuple of fgl.ArraySpec")
    if repeated := [name for name, count in Counter(spec.name for spec in arrays).items() if count > 1]:
        raise WrongValueError(f"returned two arrays called {quoted(repeated[0])}")
    if not isinstance(value.encoder, str) or not value.encoder:
        raise WrongValueError(f"returned encoder {plain(repr(value.encoder), 60)}; expected a fingerprint")
    return value


def conditioning(value: Any, call: Call) -> Any:
    count = len(value.ids)
    for name in ("class_id", "weight", "domain", "guidance_scale", "source", "row", "clients"):
        if len(getattr(value, name)) != count:
            raise WrongValueError(
                f"returned {count} ids and {len(getattr(value, name))} of {name}; expected one for each row"
            )
    if repeated := [row for row, times in Counter(value.ids).items() if times > 1]:
        raise WrongValueError(f"returned the id {quoted(repeated[0], 16)} for several rows; expected each once")
    if not all(isinstance(row, str) and row for row in value.ids):
        raise WrongValueError("returned ids that are not texts; expected what fgl.contracts.conditioning computes")
    weights = np.asarray(value.weight, dtype=np.float64)
    if not (np.isfinite(weights) & (weights > 0)).all():
        raise WrongValueError("returned weights that are not finite or not above 0")
    uploads = call.arguments.get("uploads", ())
    known = {int(class_id) for upload in uploads for class_id in np.unique(upload.class_id).tolist()}
    strange = sorted({int(class_id) for class_id in np.unique(value.class_id).tolist()} - known)
    if strange:
        raise WrongValueError(f"returned rows of class {strange[0]}, which no upload has")
    source, row = np.asarray(value.source, dtype=np.int64), np.asarray(value.row, dtype=np.int64)
    lengths = np.array([len(upload) for upload in value.sources], dtype=np.int64)
    there = (source >= 0) & (source < len(lengths))
    there[there] = (row[there] >= 0) & (row[there] < lengths[source[there]])
    if not there.all():
        at = int(np.flatnonzero(~there)[0])
        raise WrongValueError(f"returned row {at} as row {row[at]} of source {source[at]}, which is not there")
    return value
