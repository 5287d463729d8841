"""The prompt strategy itself. Imported only by runs that select it.

Shapes: c classes that the client holds, n images of a class, h and w the generator's image size in pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from fgl import ClientContext, DivergedError, ModelError, Prepared, Prompt, SupportsDenoiser
from PIL import Image, ImageOps

if TYPE_CHECKING:
    from fgl import Denoiser, Pixels

    from fgl_feddeo.options import FedDeoOptions


class FedDeo:
    """Learns a description of each class that the client holds: one row of the generator's arrays.

    Yang et al. 2024, arXiv 2407.19953, section 4.1. Arrays that rows share, such as the negative prompt, stay as they
    are.
    """

    def __init__(self, options: FedDeoOptions) -> None:
        self.options = options
        self._loaded: tuple[Any, str, Denoiser] | None = None

    def prompts(self, context: ClientContext) -> Prepared:
        """One row for each class, in label order; its weight is the number of the client's images of the class.

        Raises ModelError if the generator has no denoiser to learn against, DivergedError if the loss becomes NaN or
        infinite.
        """
        labels = np.asarray(context.images.labels)
        classes, counts = np.unique(labels, return_counts=True)
        prompts = [
            Prompt(int(class_id), self.options.template.replace("{label}", context.class_names[class_id]), weight=count)
            for class_id, count in zip(classes, counts.astype(float), strict=True)
        ]
        encoded = context.encode(prompts)
        if not self.options.epochs or not prompts:
            return Prepared(prompts, encoded, encoded.indices)
        own = [name for name in encoded if name not in encoded.indices]
        denoiser, size = self._denoiser(context)
        rows: dict[str, list[Any]] = {name: [] for name in own}
        images = [self._chosen(np.flatnonzero(labels == class_id), context.seed) for class_id in classes]
        steps = sum(self.options.epochs * math.ceil(len(some) / self.options.batch_size) for some in images)
        with context.progress.track(f"learn descriptions of {context.client_id}", steps, "step") as task:
            for place, (class_id, positions) in enumerate(zip(classes, images, strict=True)):
                latents = denoiser.latents(_pixels(context, positions, size))
                start = {name: torch.from_numpy(np.array(encoded[name][place], np.float32)) for name in own}
                learned = self._learn(denoiser, latents, start, context.seed + int(class_id), task.advance)
                for name, row in learned.items():
                    rows[name].append(row.numpy())
        arrays = {name: np.stack(rows[name]) if name in rows else encoded[name] for name in encoded}
        return Prepared(prompts, arrays, encoded.indices)

    def _learn(
        self, denoiser: Denoiser, latents: torch.Tensor, start: dict[str, torch.Tensor], seed: int, advance: Any
    ) -> dict[str, torch.Tensor]:
        """SGD on one row of each array."""
        rows = {name: row.to(latents.device).clone().requires_grad_() for name, row in start.items()}
        optimizer = torch.optim.SGD(rows.values(), lr=self.options.lr)
        rng = torch.Generator().manual_seed(seed % 2**63)
        for _ in range(self.options.epochs):
            for batch in torch.split(torch.randperm(len(latents), generator=rng), self.options.batch_size):
                arrays = {name: row.expand(len(batch), *row.shape) for name, row in rows.items()}
                loss = denoiser.loss(latents[batch.to(latents.device)], arrays, rng).mean()
                if not math.isfinite(float(loss.detach())):
                    raise DivergedError(f"learning a description diverged: lower lr ({self.options.lr:g})")
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                advance(1)
        return {name: row.detach().cpu() for name, row in rows.items()}

    def _denoiser(self, context: ClientContext) -> tuple[Denoiser, tuple[int, int]]:
        """The denoiser, loaded once for all clients of a process, and (height, width) of its images."""
        generator = context.generator()
        if not isinstance(generator, SupportsDenoiser):
            raise ModelError(f"feddeo: the generator {context.generator_name!r} has no denoiser to learn against")
        if self._loaded is None or self._loaded[:2] != (generator, context.device):
            self._loaded = (generator, context.device, generator.denoiser(context.device))
        size: Any = generator.describe()["image_size"]
        return self._loaded[2], (int(size[0]), int(size[1]))

    def _chosen(self, positions: Any, seed: int) -> Sequence[int]:
        most = self.options.max_images
        if most is None or len(positions) <= most:
            return [int(position) for position in positions]
        drawn = np.random.default_rng(seed).choice(positions, most, replace=False)
        return sorted(int(position) for position in drawn)


def _pixels(context: ClientContext, positions: Sequence[int], size: tuple[int, int]) -> Pixels:
    """uint8 [n, h, w, 3]: the middle of each image in the proportions of `size`, resized to it."""
    fitted = (
        ImageOps.fit(context.images.image(position), size[::-1], Image.Resampling.LANCZOS) for position in positions
    )
    return np.stack([np.asarray(image) for image in fitted])
