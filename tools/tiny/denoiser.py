"""The denoiser: its architecture, its noise schedule, and the latents it learns from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import DPMSolverMultistepScheduler, UNet2DConditionModel
from torch import Tensor

from tools.tiny.data import SYMMETRIES, Part


def unet(widths: list[int], layers: int, latent_channels: int, text_width: int) -> UNet2DConditionModel:
    """Convolutions alone at 8x8, cross-attention at 4x4 and below: attention over 64 tokens costs a CPU more."""
    return UNet2DConditionModel(
        sample_size=8, in_channels=latent_channels, out_channels=latent_channels, block_out_channels=tuple(widths),
        layers_per_block=layers, down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"), cross_attention_dim=text_width, attention_head_dim=8,
        norm_num_groups=16,
    )  # fmt: skip


def scheduler() -> DPMSolverMultistepScheduler:
    return DPMSolverMultistepScheduler(
        num_train_timesteps=1000, beta_schedule="squaredcos_cap_v2", prediction_type="v_prediction",
        timestep_spacing="trailing", solver_order=2, final_sigmas_type="zero",
    )  # fmt: skip


@torch.no_grad()
def latents(model: Any, parts: list[Part], path: Path, device: torch.device) -> list[Tensor]:
    """Latents of every image in each of its symmetries: one float16 [symmetries, n, c, 8, 8] a dataset, cached."""
    if path.exists():
        return list(torch.load(path, weights_only=True).values())
    found: dict[str, Tensor] = {}
    for part in parts:
        x = torch.from_numpy(part.images).permute(0, 3, 1, 2).float().div(127.5).sub(1)
        views = []
        for kind in range(SYMMETRIES[part.name]):
            view = turn(x, kind).contiguous(memory_format=torch.channels_last)
            with torch.autocast(device.type, torch.bfloat16):
                batches = [model.encoder(view[i : i + 250].to(device)) for i in range(0, len(x), 250)]
            views.append(torch.cat(batches).half().cpu())
        found[part.name] = torch.stack(views).contiguous()
    torch.save(found, path)
    return list(found.values())


def turn(x: Tensor, kind: int) -> Tensor:
    """One of the eight symmetries of the square: bit 0 mirrors, bits 1 and 2 count quarter turns."""
    x = x.flip(3) if kind & 1 else x
    return x.rot90(kind >> 1, (2, 3))


def sizes(batch: int, shares: dict[str, float]) -> list[int]:
    return [round(batch * share) for share in shares.values()]


def steps_of(rng: torch.Generator, count: int) -> Tensor:
    """Timesteps spread evenly over 0..999 within a batch (stratified), which lowers the variance of the loss."""
    return ((torch.arange(count) + torch.rand(count, generator=rng)) / count * 1000).long().clamp(max=999)


def choose(rng: torch.Generator, high: int, count: int) -> np.ndarray:
    return torch.randint(high, (count,), generator=rng).numpy()
