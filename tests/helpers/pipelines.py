"""Stable Diffusion pipelines of the real classes, tiny and with random weights, for tests of generators."""

from __future__ import annotations

from collections.abc import Sequence
from inspect import signature
from pathlib import Path
from typing import Any, Literal

import diffusers
import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderTiny,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
from tokenizers import pre_tokenizers
from transformers import (
    CLIPConfig,
    CLIPImageProcessor,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
)

TOKENS = 16
WIDTH = 16
SIDE = 16
"""Tokens of a prompt, width of an embedding, side of an image in pixels."""

XL_WIDTH = 24
POOLED = 12
"""Width of the second text encoder of an XL pipeline, and of its pooled embedding."""

_START, _END = "<|startoftext|>", "<|endoftext|>"


def save_pipeline(
    folder: Path,
    *,
    vae: Literal["kl", "tiny"] = "tiny",
    scheduler: str = "DDIMScheduler",
    prediction_type: Literal["epsilon", "v_prediction", "sample"] = "epsilon",
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
        encoder = CLIPTextModel(_text_config(tokenizer, WIDTH))
        if attention_mask:
            encoder.config.use_attention_mask = True
        autoencoder = _autoencoder(vae)
        unet = _unet(WIDTH, time_cond_proj_dim=time_cond_proj_dim)
    noise = _scheduler(scheduler, prediction_type=prediction_type, **scheduler_options)
    StableDiffusionPipeline(
        vae=autoencoder,
        text_encoder=encoder,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=noise,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder, safe_serialization=True)
    return folder


def save_xl_pipeline(
    folder: Path,
    *,
    vae: Literal["kl", "tiny"] = "tiny",
    scheduler: str = "EulerDiscreteScheduler",
    time_cond_proj_dim: int | None = None,
    zeros: bool = True,
    latents_mean: Sequence[float] | None = None,
    seed: int = 0,
    **scheduler_options: Any,
) -> Path:
    """Write a whole Stable Diffusion XL pipeline of some tens of thousands of parameters to `folder`, in float32.

    Two text encoders of widths WIDTH and XL_WIDTH, embeddings of WIDTH + XL_WIDTH, pooled ones of POOLED. zeros: a
    prompt without a negative one is pushed away from zeros, as the published model states. latents_mean: of an
    AutoencoderKL, with a standard deviation of 0.5. The rest as `save_pipeline`.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        tokenizer = byte_tokenizer()
        encoder = CLIPTextModel(_text_config(tokenizer, WIDTH))
        other = CLIPTextModelWithProjection(_text_config(tokenizer, XL_WIDTH, POOLED))
        unet = _unet(
            WIDTH + XL_WIDTH,
            time_cond_proj_dim=time_cond_proj_dim,
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=POOLED + 6 * 8,
        )
        autoencoder = _autoencoder(vae)
    if latents_mean is not None:
        autoencoder.register_to_config(latents_mean=list(latents_mean), latents_std=[0.5] * len(latents_mean))
    StableDiffusionXLPipeline(
        vae=autoencoder,
        text_encoder=encoder,
        text_encoder_2=other,
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        unet=unet,
        scheduler=_scheduler(scheduler, **scheduler_options),
        force_zeros_for_empty_prompt=zeros,
        add_watermarker=False,
    ).save_pretrained(folder, safe_serialization=True)
    return folder


def save_lora(folder: Path, pipeline: Path, *, text_encoder: bool = False, seed: int = 0) -> Path:
    """Write LoRA weights of rank 2 for the denoiser of `pipeline` to `folder`, as diffusers saves them.

    text_encoder: whether there are weights for the text encoder too. Needs peft."""
    from peft import LoraConfig, get_peft_model_state_dict

    unet = UNet2DConditionModel.from_pretrained(pipeline, subfolder="unet")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        unet.add_adapter(
            LoraConfig(r=2, lora_alpha=2, init_lora_weights=False, target_modules=["to_q", "to_k", "conv1"])
        )
    StableDiffusionPipeline.save_lora_weights(
        folder,
        unet_lora_layers=get_peft_model_state_dict(unet),
        text_encoder_lora_layers={"text_model.x.lora_A.weight": torch.zeros(2, 2)} if text_encoder else None,
    )
    return folder


def save_safety_checker(folder: Path, *, strictness: float = 0.0, seed: int = 0) -> Path:
    """Write a StableDiffusionSafetyChecker with random weights and its image processor to `folder`.

    strictness: an image is blanked where its features' cosine with one random concept exceeds this, -1 to 1."""
    vision = {
        "hidden_size": 8,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
        "image_size": SIDE,
        "patch_size": 8,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        checker = StableDiffusionSafetyChecker(CLIPConfig(projection_dim=8, vision_config=vision, text_config={}))
        checker.concept_embeds.data = torch.randn_like(checker.concept_embeds)
        checker.concept_embeds_weights.data = torch.full_like(checker.concept_embeds_weights, 2.0)
        checker.concept_embeds_weights.data[0] = strictness
        checker.special_care_embeds_weights.data = torch.full_like(checker.special_care_embeds_weights, 2.0)
    checker.save_pretrained(folder, safe_serialization=True)
    size = {"height": SIDE, "width": SIDE}
    CLIPImageProcessor(size={"shortest_edge": SIDE}, crop_size=size).save_pretrained(folder)
    return folder


def _text_config(tokenizer: CLIPTokenizer, width: int, pooled: int | None = None) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=TOKENS,
        projection_dim=pooled or width,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def _unet(width: int, **options: Any) -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=8,
        in_channels=4,
        out_channels=4,
        block_out_channels=(16, 32),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        attention_head_dim=8,
        norm_num_groups=8,
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=width,
        **options,
    )


def _scheduler(name: str, **options: Any) -> Any:
    """With what the published models state, and what the pipeline corrects a scheduler to that does not."""
    kind = getattr(diffusers, name)
    takes = signature(kind).parameters
    stated = {key: value for key, value in {"steps_offset": 1, "clip_sample": False}.items() if key in takes}
    return kind(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", **stated | options)


def byte_tokenizer() -> CLIPTokenizer:
    """A CLIP tokenizer that has bytes alone for tokens: every text has one, and most are longer than TOKENS."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = [*alphabet, *(token + "</w>" for token in alphabet), _START, _END]
    vocabulary = {token: index for index, token in enumerate(tokens)}
    return CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=TOKENS)


def _autoencoder(kind: Literal["kl", "tiny"]) -> AutoencoderKL | AutoencoderTiny:
    if kind == "kl":
        return AutoencoderKL(
            block_out_channels=(8, 16),
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            latent_channels=4,
            norm_num_groups=4,
            sample_size=SIDE,
        )
    return AutoencoderTiny(
        encoder_block_out_channels=(8, 8),
        decoder_block_out_channels=(8, 8),
        num_encoder_blocks=(1, 1),
        num_decoder_blocks=(1, 1),
        latent_channels=4,
    )
