"""Prompts that are learned: embeddings that a client optimizes against the frozen denoiser on its own images.

Textual inversion (Gal et al. 2022, arXiv 2208.01618) optimizes the input embedding of one word. Here the output of the
text encoder is optimized as a whole, as FedDEO does (Yang et al. 2024, arXiv 2407.19953): from the class-name prompt,
one row for each cluster of a class's images.
"""

from __future__ import annotations

import hashlib
import logging
import resource
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from fgl.contracts.generator import SupportsDenoiser, SupportsWordVectors
from fgl.contracts.prompts import ClientContext, Prepared, Prompt
from fgl.errors import ModelError
from fgl.io import strict_json
from fgl.plugins.prompts.budget import assign, medoids
from fgl.plugins.prompts.grouping import group_by_class
from fgl.plugins.prompts.identical_classes import check_class_names
from fgl.plugins.prompts.learned_options import LearnedOptions
from fgl.plugins.prompts.learned_state import LearnedState
from fgl.plugins.prompts.learning import Examples, Learner, Render, as_they_are
from fgl.plugins.prompts.template import LABEL, fill

if TYPE_CHECKING:
    from fgl.contracts.arrays import Array, Pixels
    from fgl.contracts.dataset import DatasetInfo
    from fgl.contracts.generator import ArraySpec, Denoiser, Generator

log = logging.getLogger(__name__)

# What stands in the template for the row of all classes.
_NO_CLASS = "image"
# As the arrays of negative prompts are called in upload schemas.
_NEGATIVE = "negative_"
# Images that a row must stand for, if its class has as many: a row of one image would be that image.
_FEWEST = 4
_MOST_HELD_OUT = 8
_DECODED_TOGETHER = 64


@dataclass(frozen=True, slots=True)
class _Row:
    """A row to learn. class_id: None for the row that guidance leads away from. members: positions of its images among
    those that are learned from. weight: samples that it stands for."""

    class_id: int | None
    members: list[int]
    weight: float


class LearnedPrompts:
    """Rows for each class that the client holds. Loads the generator's denoiser, and opens the client's images."""

    def __init__(self, options: LearnedOptions) -> None:
        self.options = options
        self._loaded: tuple[SupportsDenoiser, str, Denoiser] | None = None

    def check(self, info: DatasetInfo) -> None:
        """Raise ClassListError if the rows of two classes would start from the same text."""
        check_class_names(info.names_in_prompts)

    def prompts(self, context: ClientContext) -> Prepared:
        """In order of class, then cluster. The weight of a row is the number of samples that it stands for.

        Finished rows, and the state of unfinished ones, are kept in the client's private folder. Raises DataError if a
        label has no class name, ModelError if the generator has no denoiser to learn against, DivergedError if the loss
        becomes NaN or infinite, and StoreError if the state cannot be stored.
        """
        groups = group_by_class(context)
        if not groups:
            return Prepared([], {})
        started = time.monotonic()
        generator = context.generator()
        if not isinstance(generator, SupportsDenoiser):
            raise ModelError(
                f"prompt_strategy learned: the generator {context.generator_name!r} has no denoiser to learn against; "
                "expected one of the Stable Diffusion family, or another prompt strategy"
            )
        denoiser = self._denoiser(generator, context.device)
        chosen = self._chosen(context, {class_id: positions for (class_id, _), positions in groups.items()})
        latents = _latents(context, denoiser, _size(generator), [place for part in chosen.values() for place in part])
        rows = self._rows(context, chosen, latents)
        if self.options.guidance_scale > 1:
            rows.append(_Row(None, list(range(len(latents))), 0.0))
        start, render = self._start(context, generator, rows)
        examples = self._examples(context, latents, rows)
        key = self._key(generator, context, examples, [self._text(context, row.class_id) for row in rows], start)
        state = LearnedState(context.private, key)
        learner = Learner(denoiser, examples, start, self.options, context.seed, context.device, render)
        learned = learner.run(state, context.progress, f"learn prompts {context.client_id}")
        self._report(context, denoiser, learned.steps, learned.losses, time.monotonic() - started)
        return self._prepared(context, rows, _rendered(render, learned.rows, len(rows)))

    def _denoiser(self, generator: SupportsDenoiser, device: str) -> Denoiser:
        """Loaded once for all clients of a process."""
        if self._loaded is None or self._loaded[:2] != (generator, device):
            self._loaded = None  # two do not fit side by side
            self._loaded = (generator, device, generator.denoiser(device))
        return self._loaded[2]

    def _start(
        self, context: ClientContext, generator: SupportsDenoiser, rows: Sequence[_Row]
    ) -> tuple[dict[str, Tensor], Render]:
        """(what is optimized, name → [rows, ...], and how it becomes arrays)."""
        classes = [row.class_id for row in rows if row.class_id is not None]
        if self.options.learn == "token":
            if not isinstance(generator, SupportsWordVectors):
                raise ModelError(
                    f"learn: got token, and the text encoder of {context.generator_name!r} cannot be learned through; "
                    "expected row"
                )
            names = [_NO_CLASS if row.class_id is None else context.class_names[row.class_id] for row in rows]
            # words as the text has them: a template may put an article before the name, which stays as it is
            texts = [self._text(context, row.class_id) for row in rows]
            words = generator.word_vectors(texts, names, context.device)
            self._check_guided(context, [spec.name for spec in _own(context)])
            return {name: torch.as_tensor(values) for name, values in words.vectors.items()}, words.encode
        distinct = sorted(set(classes))
        prompts = [Prompt(class_id, self._text(context, class_id), guidance_scale=1.0) for class_id in distinct]
        arrays = context.encode(prompts)
        starts = {name: torch.from_numpy(np.array(arrays[name])) for name in arrays if name not in arrays.indices}
        if not starts:
            raise ModelError(
                f"prompt_strategy learned: the encoder of {context.generator_name!r} yields no array with a row for "
                "each prompt; expected one that can be optimized"
            )
        self._check_guided(context, list(starts))
        place = {class_id: index for index, class_id in enumerate(distinct)}
        start = {
            name: torch.stack([values.mean(0) if row.class_id is None else values[place[row.class_id]] for row in rows])
            for name, values in starts.items()
        }
        return start, as_they_are

    def _check_guided(self, context: ClientContext, names: Sequence[str]) -> None:
        """Raise ModelError if rows are to be guided, and the generator takes no negative ones."""
        declared = {spec.name for spec in context.declaration.arrays} if context.declaration else set()
        missing = sorted(_NEGATIVE + name for name in names if _NEGATIVE + name not in declared)
        if self.options.guidance_scale > 1 and missing:
            raise ModelError(
                f"guidance_scale: got {self.options.guidance_scale:g}, and the generator {context.generator_name!r} "
                f"takes no {missing[0]}; expected 1"
            )

    def _text(self, context: ClientContext, class_id: int | None) -> str:
        name = _NO_CLASS if class_id is None else context.class_names[class_id]
        return fill(self.options.template, {LABEL: name})

    def _chosen(self, context: ClientContext, groups: Mapping[int, list[int]]) -> dict[int, list[int]]:
        """Class id → positions of the images that are learned from."""
        most = self.options.images_per_class
        chosen = {}
        for class_id, positions in groups.items():
            if most is not None and len(positions) > most:
                drawn = np.random.default_rng([context.seed, class_id, 1]).choice(len(positions), most, replace=False)
                positions = [positions[place] for place in sorted(drawn.tolist())]
            chosen[class_id] = positions
        return chosen

    def _rows(self, context: ClientContext, chosen: Mapping[int, list[int]], latents: Tensor) -> list[_Row]:
        """The clusters of each class, by latents whose details are averaged away."""
        points = np.asarray(_coarse(latents), dtype=np.float64)
        held = np.bincount(context.images.labels, minlength=max(chosen) + 1)
        rows, offset = [], 0
        for class_id, positions in chosen.items():
            mine = points[offset : offset + len(positions)]
            for members in _clusters(mine, self.options.rows_per_class, context.seed, class_id):
                weight = float(held[class_id]) * len(members) / len(positions)
                rows.append(_Row(class_id, [offset + member for member in members], weight))
            offset += len(positions)
        return rows

    def _examples(self, context: ClientContext, latents: Tensor, rows: Sequence[_Row]) -> Examples:
        """No image that is held out of a row is learned from by the row of all images either."""
        held_out: list[list[int]] = []
        learned: list[list[int]] = []
        for number, row in enumerate(rows):
            count = min(_MOST_HELD_OUT, int(len(row.members) * self.options.holdout))
            drawn = np.random.default_rng([context.seed, number, 2]).permutation(row.members)
            if row.class_id is None:
                kept = {place for part in held_out for place in part}
                learned.append([place for place in row.members if place not in kept] or row.members)
                held_out.append(sorted(kept)[:: max(1, len(kept) // _MOST_HELD_OUT)])
            else:
                learned.append(sorted(drawn[count:].tolist()))
                held_out.append(sorted(drawn[:count].tolist()))
        tensors = ([torch.tensor(part, dtype=torch.long) for part in parts] for parts in (learned, held_out))
        return Examples(latents, *tensors)

    def _key(
        self,
        generator: Generator,
        context: ClientContext,
        examples: Examples,
        texts: Sequence[str],
        start: Mapping[str, Tensor],
    ) -> str:
        """sha256 over everything that determines the rows."""
        digest = hashlib.sha256()
        said = {
            "method": "fgl learned 1",
            "options": self.options.model_dump(mode="json"),
            "generator": generator.fingerprint(),
            "rounding": generator.rounding(context.device),
            "seed": context.seed,
            "members": [part.tolist() for part in (*examples.members, *examples.held_out)],
            "texts": list(texts),
            "arrays": list(start),
        }
        digest.update(strict_json.dumps(said, sort_keys=True).encode())
        for tensor in (examples.latents, *start.values()):
            digest.update(tensor.contiguous().numpy().tobytes())
        return digest.hexdigest()

    def _report(
        self, context: ClientContext, denoiser: Denoiser, steps: int, losses: Sequence[float], seconds: float
    ) -> None:
        """What it cost, for the client alone."""
        context.note("learning_steps", steps)
        context.note("learning_seconds", round(seconds))
        context.note("learning_memory_mb", _peak_memory(context.device) // 2**20)
        context.note("denoiser_parameters", denoiser.parameters())
        if not losses:
            return
        fell = losses[0] - min(losses)
        log.info("%s: loss on held-out images %.4f, then %.4f at best", context.client_id, losses[0], min(losses))
        if fell <= 0 and steps:
            log.warning(
                "%s: learning did not lower the loss on held-out images (%.4f): the rows stay near the class-name "
                "prompts; more steps, more images or another lr may help",
                context.client_id,
                losses[0],
            )

    def _prepared(self, context: ClientContext, rows: Sequence[_Row], learned: Mapping[str, Tensor]) -> Prepared:
        limits = {spec.name: spec.max_abs for spec in context.declaration.arrays} if context.declaration else {}
        prompts: list[Prompt] = []
        kept: list[int] = []
        numbers: dict[int, int] = {}
        for place, row in enumerate(rows):
            if row.class_id is None:
                continue
            numbers[row.class_id] = numbers.get(row.class_id, 0) + 1
            # a name for the client's own eyes: embeddings leave it, texts do not
            text = f"{self._text(context, row.class_id)} (learned {numbers[row.class_id]})"
            scale = self.options.guidance_scale
            prompts.append(Prompt(row.class_id, text, weight=row.weight, guidance_scale=scale))
            kept.append(place)
        arrays: dict[str, Array] = {}
        indices: dict[str, Array] = {}
        for name, values in learned.items():
            limit = limits.get(name, 1e4)
            bounded = values.clamp(-limit, limit).numpy()
            arrays[name] = bounded[kept]
            if len(kept) < len(rows):
                arrays[_NEGATIVE + name] = bounded[len(kept) :]
                indices[_NEGATIVE + name] = np.zeros(len(kept), dtype=np.int32)
        return Prepared(prompts, arrays, indices)


def _own(context: ClientContext) -> list[ArraySpec]:
    """The arrays that have a row for each prompt."""
    return [spec for spec in context.declaration.arrays if not spec.shared] if context.declaration else []


def _rendered(render: Render, values: Mapping[str, Tensor], count: int) -> dict[str, Tensor]:
    """The arrays of all rows, [count, *shape], one row at a time: its bytes do not depend on the others."""
    with torch.no_grad():
        parts = [render(values, torch.tensor([row])) for row in range(count)]
    return {name: torch.cat([part[name].float().cpu() for part in parts]) for name in parts[0]}


def _size(generator: Generator) -> tuple[int, int]:
    described: Any = generator.describe()["image_size"]
    height, width = described
    return int(height), int(width)


def _latents(context: ClientContext, denoiser: Denoiser, size: tuple[int, int], positions: Sequence[int]) -> Tensor:
    """float32 [n, ...] on the CPU. Images are cropped to the generator's shape, and no more of them are in memory at
    once than are encoded together."""
    height, width = size
    parts = []
    with context.progress.track(f"read images {context.client_id}", len(positions)) as task:
        for start in range(0, len(positions), _DECODED_TOGETHER):
            pixels: Pixels = np.stack(
                [
                    np.asarray(
                        ImageOps.fit(context.images.image(place), (width, height), Image.Resampling.LANCZOS), np.uint8
                    )
                    for place in positions[start : start + _DECODED_TOGETHER]
                ]
            )
            parts.append(denoiser.latents(pixels).float().cpu())
            task.advance(len(pixels))
    return torch.cat(parts)


def _coarse(latents: Tensor) -> Tensor:
    """[n, d] of latents that may be maps, averaged to 4x4: colours and layout, at any resolution."""
    return (adaptive_avg_pool2d(latents, 4) if latents.ndim == 4 else latents).flatten(1)


def _clusters(points: Any, count: int, seed: int, class_id: int) -> list[list[int]]:
    """At most `count` clusters of points [n, d], none of fewer than four if there are as many points. As lists of
    positions."""
    count = max(1, min(count, len(points) // _FEWEST))
    if count == 1:
        return [list(range(len(points)))]
    centered = points - points.mean(axis=0)
    chosen = medoids(centered, np.ones(len(points)), count, np.random.default_rng([seed, class_id, 3]))
    while True:
        cluster_of = assign(centered, centered[chosen])
        sizes = np.bincount(cluster_of, minlength=len(chosen))
        if sizes.min() >= _FEWEST or len(chosen) == 1:
            return [np.flatnonzero(cluster_of == cluster).tolist() for cluster in range(len(chosen))]
        del chosen[int(sizes.argmin())]


def _peak_memory(device: str) -> int:
    """Bytes: of the device since the process began, or else of the whole process."""
    if device.startswith("cuda"):
        return int(torch.cuda.max_memory_allocated(device))
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


__all__ = ["LearnedPrompts"]
