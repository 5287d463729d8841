"""ClientUpload ⇄ bytes. What a client sends is hostile until `decode` has accepted it.

Format, version 3: one safetensors file (`fgl.core.wire.container` says how strictly it is read). Header metadata: one
key `fgl`, a JSON object with format, version, run, client_id, round, encoder (fingerprint; empty with the codec text,
which is of no model), classes (digest of the class list), codec, domains (a list), error (array → [largest absolute,
relative RMS] error of the codec), texts ([distinct texts of the prompts, their bytes], for the report) and checksum.
One key, because safetensors writes several in random order, and equal uploads are to be equal bytes. Errors are strings
of one width, so that what the rows would weigh in another codec follows from shapes.

Tensors: each declared array under its name, with others that the codec writes (`<name>.scale` of int8), an empty
`<name>.rows` that has the shape of a row where the codec's tensor has not, and `<name>.index` int32 [n] for a shared
one; in the codec text instead of all these the four that `fgl.core.wire.codecs` lists. `class_id` int32 [n],
`weight` float64 [n], `domain` int32 [n] (position in `domains`, -1 for none), `guidance_scale` float64 [n] (NaN for the
generator's own).

The checksum tells damage from intent and nothing else: whoever writes an upload can compute it.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from safetensors.numpy import save

from fgl.contracts.generator import UploadSchema
from fgl.contracts.prompts import Prompt
from fgl.core.wire import codecs
from fgl.core.wire.codecs import INDEX, TEXT
from fgl.errors import UploadValueError, UploadWeightError

if TYPE_CHECKING:
    from fgl.contracts.arrays import Array
    from fgl.contracts.codec import Codec


FORMAT, VERSION = "fgl-upload", "3"
METADATA = "fgl"
# Sums of counts stay exact in float64 far beyond this; more samples than this at one client is a mistake or an attack.
MAX_WEIGHT = 1e12
# A prompt may stand for a share of a sample, but not for nothing.
MIN_WEIGHT = 1e-6
MAX_GUIDANCE = 100.0


@dataclass(frozen=True, slots=True)
class UploadHeader:
    """Who sends, to which run and round, and what its class ids mean."""

    client_id: str
    round: int
    class_names: Sequence[str]
    run: str = ""


def encode(
    sender: UploadHeader,
    declaration: UploadSchema,
    codec: str,
    prompts: Sequence[Prompt],
    arrays: Mapping[str, Array],
    indices: Mapping[str, Array],
    known: Mapping[str, Codec] | None = None,
) -> bytes:
    """Bytes of an upload of numbers. arrays and indices: as `Encoder.encode` returns them, in the order of the prompts.
    known: codecs by name; None: the built-in ones.

    Raises UploadValueError where a number does not fit the codec (float16 ends at 65504)."""
    chosen = (codecs.built_in() if known is None else known)[codec]
    tensors: dict[str, Array] = {}
    error = {}
    for name, array in arrays.items():
        with np.errstate(over="ignore"):
            exact = np.ascontiguousarray(array, dtype=np.float32)
        if not np.isfinite(exact).all():
            raise _unfit(name, sender.client_id, codec, array)
        parts = codecs.encoded(chosen, codec, exact)
        rows = chosen.decode({suffix: tensor for suffix, tensor in parts.items() if suffix != codecs.ROWS})
        largest, rms = codecs.deviation(array, rows)
        if not (math.isfinite(largest) and math.isfinite(rms)):
            raise _unfit(name, sender.client_id, codec, array)
        tensors |= {name + suffix: tensor for suffix, tensor in parts.items()}
        error[name] = [f"{one:.6e}" for one in (largest, rms)]
    for name, index in indices.items():
        tensors[name + INDEX] = np.ascontiguousarray(index, dtype=np.int32)
    return _written(sender, declaration.encoder, codec, prompts, tensors, error)


def _unfit(name: str, client_id: str, codec: str, array: Array) -> UploadValueError:
    """For numbers that a codec cannot send: too large for it, or none in any."""
    if not np.isfinite(array).all():
        return UploadValueError(
            f"{name} of {client_id} holds NaN or infinity as it comes from the text encoder, which no codec can send: "
            "the generator's weights are damaged, or its encoder overflows; check them with `fgl models verify`"
        )
    return UploadValueError(f"{name} of {client_id} does not fit {codec}: use upload.codec=fp32")


def check_prompts(prompts: Sequence[Prompt], client_id: str) -> None:
    """Raises UploadValueError or UploadWeightError where no codec could send a prompt, or no server would take it. The
    texts are not quoted."""
    for number, prompt in enumerate(prompts):
        for text in (prompt.text, prompt.negative or ""):
            try:
                text.encode()
            except UnicodeEncodeError as error:
                raise UploadValueError(
                    f"prompt {number} of {client_id} holds half of a character (a lone surrogate): clean its text"
                ) from error
        if not MIN_WEIGHT <= prompt.weight <= MAX_WEIGHT:
            raise UploadWeightError(
                f"prompt {number} of {client_id} has weight {prompt.weight:g}; expected {MIN_WEIGHT:g} to "
                f"{MAX_WEIGHT:g}: the weights of a class's prompts may not differ by so much"
            )


def encode_texts(sender: UploadHeader, prompts: Sequence[Prompt]) -> bytes:
    """Bytes of an upload of texts, which needs no model. Raises UploadValueError where a text is not to be sent."""
    return _written(sender, "", TEXT, prompts, codecs.pack_texts(prompts), {})


def _written(
    sender: UploadHeader,
    encoder: str,
    codec: str,
    prompts: Sequence[Prompt],
    tensors: dict[str, Array],
    error: Mapping[str, list[str]],
) -> bytes:
    domains = sorted({prompt.domain for prompt in prompts if prompt.domain})
    guidance = [np.nan if prompt.guidance_scale is None else prompt.guidance_scale for prompt in prompts]
    tensors["class_id"] = np.array([prompt.class_id for prompt in prompts], dtype=np.int32)
    tensors["weight"] = np.array([prompt.weight for prompt in prompts], dtype=np.float64)
    tensors["domain"] = np.array([domains.index(p.domain) if p.domain else -1 for p in prompts], dtype=np.int32)
    tensors["guidance_scale"] = np.array(guidance, dtype=np.float64)
    texts = codecs.distinct_texts(prompts)
    metadata = {
        "format": FORMAT,
        "version": VERSION,
        "run": sender.run,
        "client_id": sender.client_id,
        "round": str(sender.round),
        "encoder": encoder,
        "classes": classes_digest(sender.class_names),
        "codec": codec,
        "domains": domains,
        "error": dict(error),
        "texts": [len(texts), sum(map(len, texts))],
    }
    metadata["checksum"] = checksum(metadata, tensors)
    return save(tensors, {METADATA: json.dumps(metadata, sort_keys=True, allow_nan=False)})


def classes_digest(class_names: Sequence[str]) -> str:
    """sha256 of the class list: class 3 must mean the same to client and server."""
    return hashlib.sha256(json.dumps(list(class_names), allow_nan=False).encode()).hexdigest()


def checksum(metadata: Mapping[str, object], tensors: Mapping[str, Array]) -> str:
    """sha256 over everything that an upload says, however its file is laid out. metadata: without its checksum."""
    stated = {key: value for key, value in metadata.items() if key != "checksum"}
    # of a sender's words, which `wire.parse` has judged
    digest = hashlib.sha256(json.dumps(stated, sort_keys=True, allow_nan=True).encode())
    for name in sorted(tensors):
        array = np.ascontiguousarray(tensors[name])
        digest.update(json.dumps([name, array.dtype.str, array.shape], allow_nan=False).encode())
        digest.update(array.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()
