"""The denoiser: its architecture, its noise schedule, and the latents it learns from."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from diffusers import DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor, nn

from fgl.plugins.generators.denoiser import DiffusionDenoiser
from fgl.plugins.generators.pipeline_parts import STABLE_DIFFUSION
from tools.tiny.data import SYMMETRIES, Part


def unet(widths: list[int], layers: int, latent_channels: int, text_width: int) -> UNet2DConditionModel:
    """Convolutions alone at 8x8, cross-attention at 4x4 and below: attention over 64 tokens costs a CPU more.

    The text also joins the time embedding, and so reaches every residual block. That part starts at zero: weights
    trained without it mean the same with it (see `adopt`).
    """
    model = UNet2DConditionModel(
        sample_size=8,
        in_channels=latent_channels,
        out_channels=latent_channels,
        block_out_channels=tuple(widths),
        layers_per_block=layers,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=text_width,
        attention_head_dim=8,
        norm_num_groups=16,
        addition_embed_type="text",
        addition_embed_type_num_heads=text_width // 32,
    )
    nn.init.zeros_(model.add_embedding.norm2.weight)
    # Plain matrix products: over 16 tokens, torch's fused attention spends a third of a training step in its backward.
    model.set_attn_processor(AttnProcessor())
    return model


def adopt(model: UNet2DConditionModel, state: dict[str, Tensor]) -> None:
    """Load weights, also of a UNet whose text did not yet join the time embedding."""
    missing, surplus = model.load_state_dict(state, strict=False)
    if surplus or any(not name.startswith("add_embedding.") for name in missing):
        raise ValueError(f"weights of another UNet: missing {missing}, surplus {surplus}")


_ADAMW = ("embedding.weight", "positional_embedding", "conv_in", "conv_out")


class Optimizer:
    """Muon (Jordan et al. 2024) for the matrices inside the networks, AdamW for everything else.

    torch's Muon takes matrices only: the weights of a convolution join as [out, height * width * in], in the same
    memory. Embeddings, biases, norms and the convolutions at both ends of the UNet stay with AdamW.
    """

    def __init__(self, model: nn.Module, lr: float, muon_lr: float, weight_decay: float) -> None:
        self.pairs: list[tuple[nn.Parameter, nn.Parameter]] = []
        others = []
        for name, weight in model.named_parameters():
            if weight.ndim < 2 or any(part in name for part in _ADAMW):
                others.append(weight)
                continue
            flat = flatten(weight.detach())
            if flat.data_ptr() != weight.data_ptr():
                raise ValueError(f"{name} is not laid out channels last: its matrix would be a copy")
            self.pairs.append((weight, nn.Parameter(flat)))
        matrices = [matrix for _, matrix in self.pairs]
        self.muon = torch.optim.Muon(matrices, muon_lr, weight_decay, adjust_lr_fn="match_rms_adamw")
        self.adamw = torch.optim.AdamW(others, lr, betas=(0.9, 0.99), weight_decay=0.0)
        self.rates = [(self.muon, muon_lr), (self.adamw, lr)]

    def step(self, factor: float) -> None:
        """Update at `factor` times the full learning rates, and forget the gradients."""
        for weight, matrix in self.pairs:
            matrix.grad = None if weight.grad is None else flatten(weight.grad)
        for optimizer, rate in self.rates:
            for group in optimizer.param_groups:
                group["lr"] = rate * factor
            optimizer.step()
            optimizer.zero_grad()
        for weight, _ in self.pairs:
            weight.grad = None

    def state_dict(self) -> dict[str, Any]:
        return {"muon": self.muon.state_dict(), "adamw": self.adamw.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.muon.load_state_dict(state["muon"])
        self.adamw.load_state_dict(state["adamw"])


def flatten(weight: Tensor) -> Tensor:
    """[out, in, height, width] -> [out, height * width * in], without a copy if laid out channels last."""
    return weight.permute(0, 2, 3, 1).reshape(len(weight), -1) if weight.ndim == 4 else weight


def scheduler() -> DPMSolverMultistepScheduler:
    return DPMSolverMultistepScheduler(
        num_train_timesteps=1000,
        beta_schedule="squaredcos_cap_v2",
        prediction_type="v_prediction",
        timestep_spacing="trailing",
        solver_order=2,
        final_sigmas_type="zero",
    )


def learning(model: Any, vae: Any, device: torch.device) -> DiffusionDenoiser:
    """The loss that `fgl adapt` trains with, for a denoiser on its way. vae: its autoencoder, frozen."""
    parts = SimpleNamespace(
        unet=model, vae=vae, scheduler=DDPMScheduler.from_config(scheduler().config), vae_scale_factor=4
    )
    return DiffusionDenoiser(parts, STABLE_DIFFUSION, device, torch.bfloat16, (32, 32), (32, 32), {}, 1.0)


def few_step_scheduler() -> DDIMScheduler:
    """Of a distilled denoiser, each of whose steps is a whole DDIM step."""
    return DDIMScheduler(
        num_train_timesteps=1000,
        beta_schedule="squaredcos_cap_v2",
        prediction_type="v_prediction",
        timestep_spacing="trailing",
        clip_sample=False,
        set_alpha_to_one=True,
    )


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
    """Timesteps of a batch: stratified, which lowers the variance of the loss, from 50 to 999, twice as dense in the
    middle as at both ends. Where noise is weak the loss is large and teaches little: a sampler of eight trailing steps
    never goes below 125."""
    u = (torch.arange(count) + torch.rand(count, generator=rng)) / count
    return (50 + 950 * (u + 0.08 * torch.sin(2 * torch.pi * u))).long().clamp(0, 999)


def choose(rng: torch.Generator, high: int, count: int) -> np.ndarray:
    return torch.randint(high, (count,), generator=rng).numpy()
