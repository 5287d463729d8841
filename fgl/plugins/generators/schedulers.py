"""The noise schedule and solver: the model's own, or another that can take its place."""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import SequenceMatcher
from itertools import takewhile
from typing import Any

import diffusers

from fgl.errors import ModelError
from fgl.plugins.generators.model_folder import ModelFolder
from fgl.text import first_line

_REFUSED = {
    "DPMSolverSDEScheduler": "it draws its noise from torchsde and ignores the generator of each image, so that a "
    "picture would depend on its batch; EulerAncestralDiscreteScheduler is stochastic too and does not",
    "EDMEulerScheduler": "it is for models trained with EDM preconditioning, and gives noise with others; "
    "EulerDiscreteScheduler is the same solver for Stable Diffusion",
}


# For denoisers that were distilled to it, of which a LoRA can make one; with others they give mush.
_DISTILLED = ("LCMScheduler", "TCDScheduler")


def scheduler_name(folder: ModelFolder, wanted: str | None, distilled: bool = False) -> str:
    """Class name of the scheduler to use. wanted: None for the model's own. distilled: whether a LoRA may have made a
    few-step model of it. Loads no weights.

    Raises ModelError where there is no such scheduler, it does not fit the model, or it cannot be reproducible."""
    model_scheduler = str(folder.json("model_index.json")["scheduler"][1])
    name = wanted or model_scheduler
    if name in _REFUSED and (wanted or name == "DPMSolverSDEScheduler"):
        raise ModelError(f"scheduler: {name} is refused: {_REFUSED[name]}")
    own_class = getattr(diffusers, model_scheduler, None)
    if own_class is None or not hasattr(own_class, "_get_compatibles"):
        raise ModelError(
            f"model: {folder.name} wants the scheduler {model_scheduler}, which the installed diffusers does not have"
        )
    # by class: the instance's `compatibles` is the same list
    fitting = sorted({kind.__name__ for kind in own_class._get_compatibles()} - _REFUSED.keys() | {model_scheduler})
    if distilled:
        fitting = sorted({*fitting, *_DISTILLED})
    if name not in fitting:
        near = _nearest(name, fitting)
        hint = f": did you mean {near}?" if near else ""
        if name in _DISTILLED:
            hint = ": it is for distilled models; give their LoRA as lora"
        raise ModelError(
            f"scheduler: {name} cannot replace the {model_scheduler} of {folder.name}{hint} ({', '.join(fitting)})"
        )
    return name


def _nearest(name: str, known: Sequence[str]) -> str | None:
    """What was probably meant. A name's first letters tell most: DPM, in whatever spelling, is short for DPMSolver,
    although DDPM is closer letter by letter."""
    stem = _stem(name)

    def likeness(other: str) -> tuple[int, float]:
        same = takewhile(lambda pair: pair[0] == pair[1], zip(stem, _stem(other), strict=False))
        begins = len(list(same))
        return begins if begins >= 3 else 0, SequenceMatcher(None, stem, _stem(other)).ratio()

    best = max(known, key=likeness)
    begins, ratio = likeness(best)
    return best if begins or ratio >= 0.5 else None


def _stem(name: str) -> str:
    """Small letters and digits, without the ending that all schedulers share, also where it is spelled wrong."""
    return re.sub(r"[^a-z0-9]|sc?h?e?d[a-z]*$", "", name.lower())


def load_scheduler(folder: ModelFolder, wanted: str | None, distilled: bool = False) -> Any:
    """A scheduler with the model's configuration. Raises ModelError as `scheduler_name` does."""
    name = scheduler_name(folder, wanted, distilled)
    try:
        return getattr(diffusers, name).from_config(folder.config("scheduler"))
    except (ImportError, TypeError, ValueError, NotImplementedError) as error:
        raise ModelError(
            f"scheduler: {name} does not take the configuration of {folder.name}: {first_line(error)}; choose another, "
            "or none for the model's own"
        ) from error
