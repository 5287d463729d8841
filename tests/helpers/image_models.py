"""Image models of the real classes, tiny and with random weights, for tests of feature spaces."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import torch
from transformers import (
    CLIPConfig,
    CLIPModel,
    Dinov2Config,
    Dinov2Model,
    PreTrainedModel,
    ResNetConfig,
    ResNetModel,
    ViTConfig,
    ViTModel,
)

Kind = Literal["dinov2", "clip", "resnet", "vit"]

SIDE = 32
"""Of an image as the models take it, pixels."""
DIMENSIONS: dict[Kind, int] = {"dinov2": 16, "clip": 12, "resnet": 24, "vit": 16}
"""Pooled features of each kind."""

_LAYERS: dict[str, Any] = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}
_VISION: dict[str, Any] = {**_LAYERS, "image_size": SIDE, "patch_size": 8}


def save_image_model(folder: Path, kind: Kind = "dinov2", *, seed: int = 0, pooler: bool = True) -> Path:
    """Write a model of images with its image processor to `folder`, and return it.

    seed: of the weights; torch's global random state is left as it was. pooler: whether a ViT has its pooling layer,
    which those that were made for other things lack.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = _model(kind, pooler)
    model.save_pretrained(folder)
    processor = "CLIPImageProcessor" if kind == "clip" else "BitImageProcessor"
    prepare = {
        "image_processor_type": processor,
        "do_resize": True,
        "size": {"shortest_edge": SIDE},
        "do_center_crop": True,
        "crop_size": {"height": SIDE, "width": SIDE},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "resample": 3,
        "do_normalize": True,
        "image_mean": [0.5, 0.4, 0.3],
        "image_std": [0.2, 0.2, 0.3],
        "do_convert_rgb": True,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(prepare))
    return folder


def _model(kind: Kind, pooler: bool) -> PreTrainedModel:
    if kind == "dinov2":
        return Dinov2Model(Dinov2Config(**{**_VISION, "mlp_ratio": 2}))
    if kind == "vit":
        return ViTModel(ViTConfig(**_VISION), add_pooling_layer=pooler)
    if kind == "resnet":
        return ResNetModel(ResNetConfig(embedding_size=8, hidden_sizes=[12, 24], depths=[1, 1], layer_type="basic"))
    text = {**_LAYERS, "vocab_size": 32, "max_position_embeddings": 8, "bos_token_id": 0, "eos_token_id": 1}
    return CLIPModel(CLIPConfig(text_config=text, vision_config=_VISION, projection_dim=DIMENSIONS["clip"]))
