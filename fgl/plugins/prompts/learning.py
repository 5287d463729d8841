"""Optimizes what rows of an upload are made of against a frozen denoiser; a killed run resumes to the same bytes.

Shapes: r rows, n images, b images of a step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from torch import Tensor

from fgl.errors import DivergedError

if TYPE_CHECKING:
    from fgl.contracts.generator import Denoiser
    from fgl.contracts.progress import Progress
    from fgl.plugins.prompts.learned_options import LearnedOptions

# Adam's, with a memory of some hundred steps: gradients of a denoising loss are noisy.
_BETAS = (0.9, 0.99)
_EPSILON = 1e-8
_WARMUP = 0.05
# Numbers of latents that pass through the denoiser together: 64 images of 16x8x8, or 4 of 4x64x64.
_AT_ONCE = 65536


class State(Protocol):
    """Where the state of unfinished learning is stored."""

    def load(self) -> dict[str, Tensor] | None:
        """What was stored last, or None."""

    def save(self, tensors: Mapping[str, Tensor]) -> None:
        """Replace it, atomically."""


@dataclass(frozen=True, slots=True)
class Examples:
    """Images as the denoiser sees them, and the row that each belongs to."""

    latents: Tensor
    """float32 [n, ...]."""

    members: list[Tensor]
    """For each row the positions of its images, int64."""

    held_out: list[Tensor]
    """For each row the positions of images that are not learned from; may be empty."""


@dataclass(slots=True)
class Learned:
    """Learned rows."""

    rows: dict[str, Tensor]
    """What was optimized, as it was given: name → float32 [r, ...]."""

    steps: int
    """Steps that were taken."""

    losses: list[float] = field(default_factory=list)
    """Mean loss on held-out images at each evaluation, the first before any step. Empty if none are held out."""


Render = Callable[[Mapping[str, Tensor], Tensor], Mapping[str, Tensor]]
"""(what is optimized, rows int64 [b]) → the arrays of these rows, [b, *shape], with gradients."""


def as_they_are(values: Mapping[str, Tensor], rows: Tensor) -> dict[str, Tensor]:
    """The `Render` of rows that are optimized themselves."""
    return {name: each[rows.to(each.device)] for name, each in values.items()}


class Learner:
    """Adam. Everything random in a step follows from its number, so that a state needs no random state.

    Args:
        denoiser: The frozen denoiser.
        examples: What to learn from.
        start: What to optimize: name → float32 [r, ...].
        options: Steps, batches, learning rate.
        seed: Of what is drawn.
        device: Of the denoiser.
        render: What the rows are made of.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        examples: Examples,
        start: Mapping[str, Tensor],
        options: LearnedOptions,
        seed: int,
        device: str,
        render: Render = as_they_are,
    ) -> None:
        self._render = render
        self._denoiser, self._examples, self._options, self._seed = denoiser, examples, options, seed
        self._rows = {name: values.to(device).clone().requires_grad_() for name, values in start.items()}
        self._first = {name: torch.zeros_like(values) for name, values in self._rows.items()}
        self._second = {name: torch.zeros_like(values) for name, values in self._rows.items()}
        self._best = {name: values.detach().clone() for name, values in self._rows.items()}
        count = len(examples.members)
        self._lowest = torch.full((count,), math.inf)
        self._losses: list[float] = []
        self._step = self._stale = 0
        self._device = device
        latent = examples.latents[0].numel()
        self._at_once = max(1, _AT_ONCE // latent)

    def run(self, state: State, progress: Progress, label: str) -> Learned:
        """Learn, from where `state` is. Raises DivergedError if a loss is not finite."""
        options = self._options
        self._restore(state.load())
        every = max(1, math.ceil(options.steps / options.evaluations))
        if not self._losses and self._step == 0:
            self._evaluate()
        with progress.track(label, options.steps, "steps") as task:
            task.advance(self._step)
            while self._step < options.steps and self._stale < options.patience:
                loss = self._update()
                self._step += 1
                if self._step % every == 0 or self._step == options.steps:
                    self._evaluate()
                    state.save(self._state())
                task.advance(1, f"loss {loss:.3f}")
        return Learned(self._kept(), self._step, self._losses)

    def _update(self) -> float:
        """One step of Adam (Kingma and Ba 2015, arXiv 1412.6980), after which the gradients are forgotten."""
        options, step = self._options, self._step
        rng = self._random("step", step)
        rows = self._turn(options.batch_size)
        picks = torch.rand(len(rows), generator=rng)
        members = self._examples.members
        images = torch.stack(
            [members[row][int(pick * len(members[row]))] for row, pick in zip(rows, picks.tolist(), strict=True)]
        )
        place = torch.randperm(len(rows), generator=rng) + torch.rand(len(rows), generator=rng)
        loss = self._losses_of(torch.tensor(rows), images, place / len(rows), rng, train=True)
        total = float(loss.mean())
        if not math.isfinite(total):
            raise DivergedError(f"learning prompts: the loss of step {step + 1} is {total}; expected a lower lr")
        warm = min(1.0, (step + 1) / (_WARMUP * options.steps))
        rate = options.lr * warm * (0.5 + 0.5 * math.cos(math.pi * step / options.steps))
        with torch.no_grad():
            for name, values in self._rows.items():
                gradient = values.grad if values.grad is not None else torch.zeros_like(values)
                first, second = self._first[name], self._second[name]
                first.lerp_(gradient, 1 - _BETAS[0])
                second.lerp_(gradient.square(), 1 - _BETAS[1])
                mean, spread = first / (1 - _BETAS[0] ** (step + 1)), second / (1 - _BETAS[1] ** (step + 1))
                values -= rate * mean / (spread.sqrt() + _EPSILON)
                values.grad = None
        return total

    def _turn(self, count: int) -> list[int]:
        """The rows of this step: every row comes as often as any other, in an order that is drawn for each pass."""
        total = len(self._examples.members)
        first, last = self._step * count, (self._step + 1) * count
        turns = range(first // total, (last - 1) // total + 1)
        orders = torch.cat([torch.randperm(total, generator=self._random("order", turn)) for turn in turns])
        rows: list[int] = orders[first % total :][:count].tolist()
        return rows

    def _losses_of(self, rows: Tensor, images: Tensor, place: Tensor, rng: torch.Generator, train: bool) -> Tensor:
        """Loss of each image, [b], without a gradient; where `train`, the gradient of their mean is left in the rows.

        place: of the timesteps on the schedule, 0 to 1."""
        last = self._denoiser.timesteps - 1
        times = (place.pow(self._options.noise_power) * self._denoiser.timesteps).long().clamp_(max=last)
        losses = []
        for start in range(0, len(rows), self._at_once):
            part = slice(start, start + self._at_once)
            with torch.set_grad_enabled(train):
                distinct, place_of = torch.unique(rows[part], return_inverse=True)
                rendered = self._render(self._rows, distinct)
                arrays = {name: values[place_of.to(values.device)] for name, values in rendered.items()}
                latents = self._examples.latents[images[part]].to(self._device)
                loss = self._denoiser.loss(latents, arrays, rng, times[part])
                if train:
                    (loss.sum() / len(rows)).backward()
            losses.append(loss.detach().float().cpu())
        return torch.cat(losses)

    def _evaluate(self) -> None:
        """Keep each row whose held-out images have a lower loss than ever. Noise and timesteps are always the same."""
        held = self._examples.held_out
        rows = torch.tensor([row for row, images in enumerate(held) for _ in images], dtype=torch.long)
        if not len(rows):
            return
        place = torch.cat([(torch.arange(len(images)) + 0.5) / len(images) for images in held if len(images)])
        loss = self._losses_of(rows, torch.cat(held), place, self._random("evaluate", 0), train=False)
        self._losses.append(float(loss.mean()))
        counts = torch.tensor([len(images) for images in held])
        means = torch.zeros(len(held)).index_add_(0, rows, loss) / counts.clamp(min=1)
        better = (means < self._lowest) & (counts > 0)
        self._stale = 0 if bool(better.any()) else self._stale + 1
        self._lowest = torch.where(better, means, self._lowest)
        for name, values in self._rows.items():
            self._best[name][better.to(self._device)] = values.detach()[better.to(self._device)]

    def _kept(self) -> dict[str, Tensor]:
        """Each row at its lowest loss; those without held-out images as they are now."""
        blind = torch.tensor([not len(images) for images in self._examples.held_out])
        kept = {}
        for name, values in self._rows.items():
            kept[name] = self._best[name].cpu().clone()
            kept[name][blind] = values.detach().cpu()[blind]
        return kept

    def _state(self) -> dict[str, Tensor]:
        tensors = {
            "step": torch.tensor([self._step, self._stale]),
            "lowest": self._lowest,
            "losses": torch.tensor(self._losses, dtype=torch.float64),
        }
        for kind, arrays in self._parts().items():
            tensors |= {f"{kind}/{name}": values.detach().cpu().contiguous() for name, values in arrays.items()}
        return tensors

    def _restore(self, tensors: Mapping[str, Tensor] | None) -> None:
        if tensors is None:
            return
        self._step, self._stale = (int(value) for value in tensors["step"])
        self._lowest = tensors["lowest"].clone()
        self._losses = tensors["losses"].tolist()
        with torch.no_grad():
            for kind, arrays in self._parts().items():
                for name, values in arrays.items():
                    values.copy_(tensors[f"{kind}/{name}"])

    def _parts(self) -> dict[str, dict[str, Tensor]]:
        return {"rows": self._rows, "first": self._first, "second": self._second, "best": self._best}

    def _random(self, kind: str, number: int) -> torch.Generator:
        entropy = np.random.SeedSequence([self._seed, number, *kind.encode()])
        return torch.Generator().manual_seed(int(entropy.generate_state(1, np.uint64)[0] >> np.uint64(1)))


__all__ = ["Examples", "Learned", "Learner", "Render", "State", "as_they_are"]
