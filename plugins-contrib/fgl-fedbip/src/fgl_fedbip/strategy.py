"""The prompt strategy: tokens that a client learns, and latents of two of its images each.

Shapes: c classes that the client holds, r rows, s positions of a row, d width of a position.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from fgl import ClientContext, DivergedError, ModelError, Prepared, Prompt, SupportsDenoiser
from PIL import Image, ImageOps

if TYPE_CHECKING:
    from fgl import Array, Denoiser, Pixels

    from fgl_fedbip.options import TokenOptions

ROWS = "prompt_embeds"
LATENTS = "latents"
_MIX = 0.1
"""Standard deviation of the first image's share in a latent; its mean is one half."""


class FedBip:
    """Learns a token for each class and one for the client's domain, by textual inversion at the text encoder's output.

    Chen et al. 2024, FedBiP (arXiv 2410.04810). The domain token is in the last position but one of a row, the class
    token in the last.
    """

    def __init__(self, options: TokenOptions) -> None:
        self.options = options
        self._loaded: tuple[Any, str, Denoiser] | None = None

    def prompts(self, context: ClientContext) -> Prepared:
        """`rows_per_class` rows for each class, in label order; the samples of a class are shared evenly among them.

        Latents are sent only where the generator declares them. Raises ModelError if the generator has no denoiser to
        learn against, or other latents than it declares; DivergedError if the loss becomes NaN or infinite.
        """
        labels, options = np.asarray(context.images.labels), self.options
        classes, counts = (part.tolist() for part in np.unique(labels, return_counts=True))
        texts = [options.template.replace("{label}", context.class_names[class_id]) for class_id in classes]
        start = context.encode([Prompt(class_id, text) for class_id, text in zip(classes, texts, strict=True)])
        random = np.random.default_rng(context.seed)
        shots = [self._drawn(np.flatnonzero(labels == class_id), random) for class_id in classes]
        denoiser, size = self._denoiser(context)
        latents = denoiser.latents(_pixels(context, [place for places in shots for place in places], size))
        owner = torch.tensor([place for place, places in enumerate(shots) for _ in places])
        embeds = torch.from_numpy(np.array(start[ROWS], np.float32))
        tokens, domain = self._learn(denoiser, latents, owner, embeds, start, context)
        kept = np.repeat(np.arange(len(classes)), options.rows_per_class)
        rows = embeds.numpy()[kept].copy()
        rows[:, -1] = tokens[kept]
        rows[:, -2] = domain + random.normal(0, options.noise, (len(kept), len(domain)))
        arrays: dict[str, Array] = {
            name: array if name in start.indices else array[kept] for name, array in start.items() if name != ROWS
        }
        arrays[ROWS] = rows
        declared = {spec.name: spec.shape for spec in context.declaration.arrays} if context.declaration else {}
        if LATENTS in declared:
            arrays[LATENTS] = _interpolated(latents.cpu().numpy(), owner.numpy(), kept, random)
            if arrays[LATENTS].shape[1:] != declared[LATENTS]:
                shape = list(arrays[LATENTS].shape[1:])
                raise ModelError(f"generator.latents: got {list(declared[LATENTS])}; the model's latents are {shape}")
        prompts = [
            Prompt(classes[place], texts[place], weight=counts[place] / options.rows_per_class) for place in kept
        ]
        return Prepared(prompts, arrays, {name: index[kept] for name, index in start.indices.items()})

    def _learn(
        self,
        denoiser: Denoiser,
        latents: torch.Tensor,
        owner: torch.Tensor,
        embeds: torch.Tensor,
        start: Any,
        context: ClientContext,
    ) -> tuple[Array, Array]:
        """(class tokens [c, d], domain token [d]), float32. owner: for each latent the place of its class."""
        device = latents.device
        tokens = embeds[:, -1].to(device).clone().requires_grad_()
        domain = embeds[:, -2].mean(0).to(device).clone().requires_grad_()
        body = embeds[:, :-2].to(device)
        others = {
            name: torch.from_numpy(np.array(array, np.float32)).to(device)
            for name, array in start.items()
            if name != ROWS and name not in start.indices
        }
        optimizer = torch.optim.Adam([tokens, domain], lr=self.options.lr)
        rng = torch.Generator().manual_seed(context.seed)
        total = self.options.epochs * len(latents)
        with context.progress.track(f"learn tokens of {context.client_id}", total, "image") as task:
            for _ in range(self.options.epochs):
                for batch in torch.split(torch.randperm(len(latents), generator=rng), self.options.batch_size):
                    places = owner[batch].to(device)
                    last = torch.stack([domain.expand(len(batch), -1), tokens[places]], 1)
                    arrays = {ROWS: torch.cat([body[places], last], 1)}
                    arrays |= {name: array[places] for name, array in others.items()}
                    loss = denoiser.loss(latents[batch.to(device)], arrays, rng).mean()
                    if not bool(torch.isfinite(loss)):
                        raise DivergedError(f"learning tokens diverged: lower lr ({self.options.lr:g})")
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()
                    task.advance(len(batch))
        return tokens.detach().cpu().numpy(), domain.detach().cpu().numpy()

    def _denoiser(self, context: ClientContext) -> tuple[Denoiser, tuple[int, int]]:
        """The denoiser, loaded once for all clients of a process, and (height, width) of its images."""
        generator = context.generator()
        if not isinstance(generator, SupportsDenoiser):
            raise ModelError(f"fedbip: the generator {context.generator_name!r} has no denoiser to learn against")
        if self._loaded is None or self._loaded[:2] != (generator, context.device):
            self._loaded = (generator, context.device, generator.denoiser(context.device))
        size: Any = generator.describe()["image_size"]
        return self._loaded[2], (int(size[0]), int(size[1]))

    def _drawn(self, positions: Any, random: np.random.Generator) -> list[int]:
        few = min(len(positions), self.options.shots)
        return sorted(int(position) for position in random.choice(positions, few, replace=False))


def _interpolated(latents: Array, owner: Array, kept: Array, random: np.random.Generator) -> Array:
    """A latent for each row: two images of its class, mixed. One image alone is mixed with the mean of all, so that no
    latent is that of a single image."""
    mixed = []
    for place in kept:
        mine = np.flatnonzero(owner == place)
        first, second = random.choice(mine, 2, replace=False) if len(mine) > 1 else (mine[0], -1)
        share = float(np.clip(random.normal(0.5, _MIX), 0, 1))
        other = latents[second] if second >= 0 else latents.mean(0)
        mixed.append(share * latents[first] + (1 - share) * other)
    return np.stack(mixed).astype(np.float32)


def _pixels(context: ClientContext, positions: Sequence[int], size: tuple[int, int]) -> Pixels:
    """uint8 [n, h, w, 3]: the middle of each image in the proportions of `size`, resized to it."""
    fitted = (
        ImageOps.fit(context.images.image(position), size[::-1], Image.Resampling.LANCZOS) for position in positions
    )
    return np.stack([np.asarray(image) for image in fitted])
