"""Distil many denoising steps into few: one long step of the student is several short ones of the teacher.

As in progressive distillation (Salimans and Ho 2022, arXiv 2202.00512), in one stage: the teacher solves the ODE from
t to t - stride in `substeps` steps of DPM-Solver++(2M) (Lu et al. 2022, arXiv 2211.01095) and the student learns the
one DDIM step that lands where the teacher does.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Guess = Callable[[Tensor, Tensor], Tensor]


class Distiller:
    """Targets for a student of `steps` steps.

    alphas: cumulative products of the noise schedule [1000]. Time -1 is the clean image.
    """

    def __init__(self, alphas: Tensor, steps: int, substeps: int) -> None:
        self._alphas = torch.cat([alphas.double(), alphas.new_ones(1).double()])  # the last one is time -1
        self._steps, self._substeps = steps, substeps
        self.stride = len(alphas) // steps

    def times(self, count: int, rng: torch.Generator) -> Tensor:
        """Start times of the student's steps, int64 [count]: three in four are those that sampling with trailing
        spacing visits, the others lie anywhere above the last, so that other numbers of steps work too."""
        grid = 1000 - torch.arange(self._steps) * self.stride - 1
        t = grid[torch.randint(self._steps, (count,), generator=rng)]
        other = torch.randint(int(grid[-1]), 1000, (count,), generator=rng)
        return torch.where(torch.rand(count, generator=rng) < 0.75, t, other)

    def level(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """(signal, noise) amplitudes at integer times, each float64 [n, 1, 1, 1]."""
        a = self._alphas[t].view(-1, 1, 1, 1)
        return a.sqrt(), (1 - a).sqrt()

    def target(self, z: Tensor, t: Tensor, guess: Guess) -> Tensor:
        """v that takes z at time t [n] to where the teacher, v = guess(z, t), goes in a stride; like z."""
        last = (t - self.stride).clamp(min=-1)
        x, now, previous, before = z.double(), t, None, None
        for index in range(1, self._substeps + 1):
            then = t + ((last - t) * index).div(self._substeps, rounding_mode="floor")
            (a, s), (a2, s2) = self.level(now), self.level(then)
            clean = a * x - s * guess(x.float(), now).double()
            half = (a.log() - s.log()).clamp(-20, 20)
            # h is infinite where the step ends at the clean image: there the update is first order, and is `clean`.
            h = (a2.log() - s2.clamp(min=1e-9).log()).clamp(-20, 20) - half
            d = clean
            if previous is not None and before is not None:
                slope = (clean - previous) * h / (half - before) / 2
                d = torch.where((then >= 0).view(-1, 1, 1, 1), clean + slope, clean)
            x = (s2 / s) * x + (a2 - a * s2 / s) * d
            previous, before, now = clean, half, then
        (a, s), (a2, s2) = self.level(t), self.level(last)
        clean = (x - s2 / s * z) / (a2 - a * s2 / s)
        noise = (z - a * clean) / s
        return (a * noise - s * clean).float()
