"""Stable Diffusion at full size with random weights, for measuring speed, which does not depend on them.

The configurations are those of the published models; `parameters` counts them without allocating anything.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    EulerDiscreteScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from tests.helpers.pipelines import byte_tokenizer

_NOISE: dict[str, Any] = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
_VAE: dict[str, Any] = {
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 2,
    "latent_channels": 4,
    "norm_num_groups": 32,
}
UNETS: dict[str, dict[str, Any]] = {
    "sd21": {
        "sample_size": 64,
        "block_out_channels": (320, 640, 1280, 1280),
        "attention_head_dim": (5, 10, 20, 20),
        "down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
        "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
        "cross_attention_dim": 1024,
        "use_linear_projection": True,
    },
    "sdxl": {
        "sample_size": 128,
        "block_out_channels": (320, 640, 1280),
        "attention_head_dim": (5, 10, 20),
        "down_block_types": ("DownBlock2D",) + ("CrossAttnDownBlock2D",) * 2,
        "up_block_types": ("CrossAttnUpBlock2D",) * 2 + ("UpBlock2D",),
        "transformer_layers_per_block": (1, 2, 10),
        "cross_attention_dim": 2048,
        "use_linear_projection": True,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": 2816,
    },
}
VAES: dict[str, dict[str, Any]] = {
    "sd21": {**_VAE, "sample_size": 512, "scaling_factor": 0.18215, "force_upcast": False},
    "sdxl": {**_VAE, "sample_size": 1024, "scaling_factor": 0.13025, "force_upcast": True},
}
_CLIP_L = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
_CLIP_H = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 23, "num_attention_heads": 16}
_CLIP_G = {"hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32, "num_attention_heads": 20}


def parameters(name: str) -> dict[str, int]:
    """How many numbers the denoiser and the decoder hold, in millions."""
    with torch.device("meta"):
        parts = {"unet": UNet2DConditionModel(**UNETS[name]), "vae": AutoencoderKL(**VAES[name])}
    return {key: round(sum(one.numel() for one in part.parameters()) / 1e6) for key, part in parts.items()}


def save(name: str, folder: Path, dtype: torch.dtype, seed: int = 0) -> Path:
    """Write the whole pipeline to `folder`. The tokenizer has bytes for tokens: only the length of texts is wrong."""
    torch.manual_seed(seed)
    tokenizer = byte_tokenizer()
    tokenizer.model_max_length = 77
    unet, vae = UNet2DConditionModel(**UNETS[name]), AutoencoderKL(**VAES[name])
    if name == "sd21":
        pipeline: Any = StableDiffusionPipeline(
            vae=vae,
            unet=unet,
            text_encoder=CLIPTextModel(_text(tokenizer, "gelu", **_CLIP_H)),
            tokenizer=tokenizer,
            scheduler=DDIMScheduler(**_NOISE, steps_offset=1, clip_sample=False, set_alpha_to_one=False),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
    else:
        pipeline = StableDiffusionXLPipeline(
            vae=vae,
            unet=unet,
            text_encoder=CLIPTextModel(_text(tokenizer, "quick_gelu", **_CLIP_L)),
            text_encoder_2=CLIPTextModelWithProjection(_text(tokenizer, "gelu", projection_dim=1280, **_CLIP_G)),
            tokenizer=tokenizer,
            tokenizer_2=tokenizer,
            scheduler=EulerDiscreteScheduler(**_NOISE, steps_offset=1),
            add_watermarker=False,
        )
    pipeline.to(dtype).save_pretrained(folder, safe_serialization=True)
    return folder


def _text(tokenizer: CLIPTokenizer, activation: str, **sizes: int) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=49408,
        max_position_embeddings=77,
        hidden_act=activation,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **sizes,
    )
