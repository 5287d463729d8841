"""The noise schedule and solver: the model's own, or one that can replace it."""

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
    "DPMSolverSDEScheduler": "it draws its noise from torchsde and ignores the generator of each image, so that an "
    "image would depend on its batch; EulerAncestralDiscreteScheduler is stochastic too and does not",
    "EDMEulerScheduler": "it is for models trained with EDM preconditioning, and gives noise with others; "
    "EulerDiscreteScheduler is the same solver for Stable Diffusion",
}


# For denoisers distilled for few steps, which a LoRA can make of any; with other denoisers they yield garbage.
_DISTILLED = ("LCMScheduler", "TCDScheduler")


def scheduler_name(folder: ModelFolder, wanted: str | None, distilled: bool = False) -> str:
    """Class name of the scheduler to use. Loads no weights.

    Args:
        folder: The model's folder.
        wanted: The requested scheduler; None: the model's own.
        distilled: Whether a LoRA may have turned the model into a few-step model.

    Raises ModelError if the scheduler does not exist, does not fit the model, or cannot be reproducible.
    """
    model_scheduler = str(folder.json("model_index.json")["scheduler"][1])
    name = wanted or model_scheduler
    if name in _REFUSED and (wanted or name == "DPMSolverSDEScheduler"):
        raise ModelError(f"scheduler: {name} is not supported: {_REFUSED[name]}")
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
    """The scheduler that was probably meant. The first letters count most: DPM, in any spelling, is short for
    DPMSolver, although DDPM is closer letter by letter."""
    stem = _stem(name)

    def likeness(other: str) -> tuple[int, float]:
        same = takewhile(lambda pair: pair[0] == pair[1], zip(stem, _stem(other), strict=False))
        begins = len(list(same))
        return begins if begins >= 3 else 0, SequenceMatcher(None, stem, _stem(other)).ratio()

    best = max(known, key=likeness)
    begins, ratio = likeness(best)
    return best if begins or ratio >= 0.5 else None


def _stem(name: str) -> str:
    """Lower-case letters and digits, without the ending that all schedulers share, even if it is misspelled."""
    return re.sub(r"[^a-z0-9]|sc?h?e?d[a-z]*$", "", name.lower())


def load_scheduler(folder: ModelFolder, wanted: str | None, distilled: bool = False) -> Any:
    """A scheduler with the model's configuration. Raises ModelError as `scheduler_name` does."""
    name = scheduler_name(folder, wanted, distilled)
    try:
        return getattr(diffusers, name).from_config(folder.config("scheduler"))
    except (ImportError, TypeError, ValueError, NotImplementedError) as error:
        raise ModelError(
            f"scheduler: {name} does not take the configuration of {folder.name}: {first_line(error)}; choose another, "
            "or leave it unset for the model's own"
        ) from error


def load_noise_schedule(folder: ModelFolder) -> Any:
    """The noise that the model was trained with, as a DDPMScheduler, whatever solver it is sampled with."""
    try:
        return diffusers.DDPMScheduler.from_config(folder.config("scheduler"))
    except (ImportError, TypeError, ValueError, NotImplementedError) as error:
        raise ModelError(f"model: the noise schedule of {folder.name} cannot be read: {first_line(error)}") from error
