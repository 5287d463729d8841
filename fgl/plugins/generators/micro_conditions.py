"""The sizes and the crop that the denoiser of Stable Diffusion XL receives besides the text and the time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


def time_ids(micro: Mapping[str, Any], size: tuple[int, int], count: int) -> Tensor:
    """float32 [count, 6]: original size, crop and target size, equal for all images (Podell et al. 2023, arXiv
    2307.01952).

    Args:
        micro: These three by the names of the options, each (height, width) or (top, left) in pixels; None: `size`.
        size: (height, width) of the images, in pixels.
        count: Number of rows.
    """
    stated = (
        micro["original_size"] or size,
        micro["crops_coords_top_left"],
        micro["target_size"] or size,
    )
    return torch.tensor([[number for pair in stated for number in pair]], dtype=torch.float32).repeat(count, 1)
