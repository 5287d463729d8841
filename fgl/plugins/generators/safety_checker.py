"""The safety checker of Stable Diffusion: which images not to keep."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from PIL import Image

from fgl.plugins._logging import quiet_diffusers

if TYPE_CHECKING:
    from fgl.contracts.arrays import Pixels


class SafetyCheck:
    """Decides as `StableDiffusionPipeline.run_safety_checker` does (see Rando et al. 2022, arXiv 2210.04610)."""

    def __init__(self, checker: Any, extractor: Any, device: torch.device, dtype: torch.dtype) -> None:
        self._checker, self._extractor, self._device, self._dtype = checker, extractor, device, dtype
        checker.to(device, dtype=dtype)

    def blanked(self, pixels: Pixels) -> tuple[int, ...]:
        """Positions of the images, uint8 [b, h, w, 3], that the checker would blank."""
        with quiet_diffusers(), torch.no_grad():
            views = self._extractor([Image.fromarray(image) for image in pixels], return_tensors="pt").pixel_values
            blank = [torch.zeros(1) for _ in pixels]  # what it would black out; only its verdict matters
            _, verdicts = self._checker(images=blank, clip_input=views.to(self._device, self._dtype))
        return tuple(position for position, bad in enumerate(verdicts) if bad)
