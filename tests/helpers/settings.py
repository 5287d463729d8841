"""What a run of seconds needs: folders of small images, and settings with one step, one epoch and few images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.conftest import changed


def small(data: Path, pipeline: Path, **changes: Any) -> dict[str, Any]:
    """Settings of a run on `data` with the pipeline at `pipeline`. changes: see `changed`."""
    base: dict[str, Any] = {
        "dataset": str(data),
        "partition": {"name": "iid", "clients": 2},
        "generator": {
            "name": "stable-diffusion",
            "model": str(pipeline),
            "num_inference_steps": 1,
            "dtype": "fp32",
            "guidance_scale": 1.0,
        },
        "synthesis": {"images_per_class": 3, "shard_size": 9},
        "classifier": {"name": "small", "epochs": 1, "image_size": 16, "batch_size": 8},
        "baselines": "none",
    }
    return changed(base, changes)


def write_noise(root: Path, per_class: int = 12) -> Path:
    """Class folders of 16×16 noise, a class brighter than the one before it; returns `root`."""
    draw = np.random.default_rng(0)
    for index, name in enumerate(("river", "road", "sea")):
        (root / name).mkdir()
        for number in range(per_class):
            pixels = draw.integers(0, 120, (16, 16, 3)) + 60 * index
            Image.fromarray(pixels.astype(np.uint8)).save(root / name / f"{number:03d}.png")
    return root
