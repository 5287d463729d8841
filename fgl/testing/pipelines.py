"""Stable Diffusion pipelines of the real classes, tiny and with random weights, for tests of generators."""

from __future__ import annotations

from inspect import signature
from pathlib import Path
from typing import Any, Literal

import diffusers
import torch
from diffusers import AutoencoderKL, AutoencoderTiny, StableDiffusionPipeline, UNet2DConditionModel
from tokenizers import pre_tokenizers
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

TOKENS = 16
WIDTH = 16
SIDE = 16
"""Tokens of a prompt, width of an embedding, side of an image in pixels."""

_START, _END = "<|startoftext|>", "<|endoftext|>"


def save_pipeline(
    folder: Path,
    *,
    vae: Literal["kl", "tiny"] = "tiny",
    scheduler: str = "DDIMScheduler",
    prediction_type: Literal["epsilon", "v_prediction"] = "epsilon",
    time_cond_proj_dim: int | None = None,
    attention_mask: bool = False,
    seed: int = 0,
    **scheduler_options: Any,
) -> Path:
    """Write a whole pipeline of some tens of thousands of parameters to `folder`, in float32, and return it.

    Images are 16x16 from latents of 8x8. time_cond_proj_dim: the denoiser takes the guidance scale as an input, as
    distilled models do. attention_mask: the text encoder minds padding. seed: of the weights; torch's global random
    state is left as it was.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        tokenizer = byte_tokenizer()
        text = CLIPTextConfig(
            vocab_size=len(tokenizer), hidden_size=WIDTH, intermediate_size=2 * WIDTH, num_hidden_layers=2,
            num_attention_heads=2, max_position_embeddings=TOKENS, projection_dim=WIDTH,
            bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )  # fmt: skip
        encoder = CLIPTextModel(text)
        if attention_mask:
            encoder.config.use_attention_mask = True
        autoencoder = _autoencoder(vae)
        unet = UNet2DConditionModel(
            sample_size=8, in_channels=4, out_channels=4, block_out_channels=(16, 32), layers_per_block=1,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), attention_head_dim=8, norm_num_groups=8,
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"), cross_attention_dim=WIDTH,
            time_cond_proj_dim=time_cond_proj_dim,
        )  # fmt: skip
    # what the published models state, and what the pipeline corrects a scheduler to that does not
    takes = signature(getattr(diffusers, scheduler)).parameters
    stated = {key: value for key, value in {"steps_offset": 1, "clip_sample": False}.items() if key in takes}
    noise = getattr(diffusers, scheduler)(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", prediction_type=prediction_type,
        **stated | scheduler_options,
    )  # fmt: skip
    StableDiffusionPipeline(
        vae=autoencoder, text_encoder=encoder, tokenizer=tokenizer, unet=unet, scheduler=noise, safety_checker=None,
        feature_extractor=None, requires_safety_checker=False,
    ).save_pretrained(folder, safe_serialization=True)  # fmt: skip
    return folder


def byte_tokenizer() -> CLIPTokenizer:
    """A CLIP tokenizer that has bytes alone for tokens: every text has one, and most are longer than TOKENS."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = [*alphabet, *(token + "</w>" for token in alphabet), _START, _END]
    vocabulary = {token: index for index, token in enumerate(tokens)}
    return CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=TOKENS)


def _autoencoder(kind: Literal["kl", "tiny"]) -> AutoencoderKL | AutoencoderTiny:
    if kind == "kl":
        return AutoencoderKL(
            block_out_channels=(8, 16), down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2, latent_channels=4, norm_num_groups=4, sample_size=SIDE,
        )  # fmt: skip
    return AutoencoderTiny(
        encoder_block_out_channels=(8, 8), decoder_block_out_channels=(8, 8), num_encoder_blocks=(1, 1),
        num_decoder_blocks=(1, 1), latent_channels=4,
    )  # fmt: skip
