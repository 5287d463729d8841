"""Stable Diffusion 1.x and 2.x, as diffusers has them, in two halves (contract `Generator`)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

import torch

from fgl.core.errors import ModelError
from fgl.core.types import ArraySpec, Declaration
from fgl.hub import commit_of
from fgl.plugins.generators.encoding import PromptEncoder
from fgl.plugins.generators.folder import ModelFolder
from fgl.plugins.generators.loading import choose_dtype, load_parts
from fgl.plugins.generators.options import StableDiffusionOptions
from fgl.plugins.generators.schedulers import load_scheduler, scheduler_name
from fgl.plugins.generators.sources import WEIGHTS, is_local, resolve
from fgl.plugins.generators.synthesis import DiffusionSynthesizer

# Enters the fingerprint: raise it when equal rows, seeds and options come to give other pictures.
_METHOD = "fgl stable-diffusion 1"
# Text encoders end in a layer norm: before its gain no element exceeds the root of the width, 28 or 32. This leaves
# room for a gain of 30, and is far from what overflows in float16.
_MAX_ABS = 1e3


class StableDiffusion:
    """See `StableDiffusionOptions`. All methods raise ModelError where the model cannot be found or used."""

    def __init__(self, options: StableDiffusionOptions) -> None:
        self.options = options
        self._commit: str | None = None

    def declare(self) -> Declaration:
        """prompt_embeds [n, s, d], and negative_prompt_embeds that rows share. The fingerprint of the encoder is a
        sha256 over the text encoder's weights, its configuration and the tokenizer's files."""
        folder = self._folder("text_encoder")
        scheduler_name(folder, self.options.scheduler)  # wrong names fail here, before anything is encoded
        self._size(folder)
        shape = folder.prompt_shape()
        return Declaration(
            arrays=(
                ArraySpec("prompt_embeds", shape, max_abs=_MAX_ABS),
                ArraySpec("negative_prompt_embeds", shape, shared=True, optional=True, max_abs=_MAX_ABS),
            ),
            encoder=folder.digest(folder.encoder_files()),
            guided=("negative_prompt_embeds",) if self._guided(folder) else (),
            guidance_scale=self.options.guidance_range[1],
        )

    def fingerprint(self) -> str:
        """sha256 over the contents of all parts and the options that determine a picture. Where the model is, the
        device, the layout and the sizes of batches are not among them."""
        folder = self._folder(*WEIGHTS)
        picture = {
            "method": _METHOD,
            "files": folder.digest([*folder.encoder_files(), *folder.painter_files()]),
            "scheduler": scheduler_name(folder, self.options.scheduler),
            "steps": self.options.num_inference_steps,
            "guidance": self.options.guidance_range,
            "size": self._size(folder),
            "dtype": self.options.dtype,
        }
        return hashlib.sha256(json.dumps(picture, sort_keys=True).encode()).hexdigest()

    def encoding(self) -> Mapping[str, object]:
        """The encoder, how many texts it takes at once, and whether negative prompts are encoded."""
        folder = self._folder("text_encoder")
        return {
            "encoder": folder.digest(folder.encoder_files()),
            "encode_batch_size": self.options.encode_batch_size,
            "negatives": self._guided(folder) and self.options.guidance_range[1] > 1,
        }

    def rounding(self, device: str) -> Mapping[str, object]:
        """The size of a batch, the number format that `dtype` means on the device, and the layout."""
        dtype = choose_dtype(self.options.dtype, torch.device(device))
        return {
            "batch_size": self.options.batch_size,
            "dtype": str(dtype).removeprefix("torch."),
            "channels_last": self.options.channels_last,
            "device": torch.device(device).type,
        }

    def describe(self) -> Mapping[str, object]:
        """For the report. commit: what a Hub model was locked to, None for a folder. parameters: by part. Needs all
        weights in place, but reads only their headers."""
        folder = self._folder(*WEIGHTS)
        height, width = self._size(folder)
        low, high = self.options.guidance_range
        counts = {part: folder.parameters(part) for part in WEIGHTS}
        return {
            "model": self.options.model,
            "revision": self.options.revision,
            "commit": commit_of(folder.path),
            "licence": folder.licence(),
            "parameters": {**counts, "total": sum(counts.values())},
            "image_size": [height, width],
            "scheduler": scheduler_name(folder, self.options.scheduler),
            "num_inference_steps": self.options.num_inference_steps,
            "guidance_scale": low if low == high else [low, high],
            "dtype": self.options.dtype,
        }

    def encoder(self, device: str) -> PromptEncoder:
        """Load tokenizer and text encoder, in float32; the denoiser and the decoder need not be there."""
        folder = self._folder("text_encoder")
        folder.weights("text_encoder")
        pipeline = load_parts(folder, ("tokenizer", "text_encoder"))
        return PromptEncoder(
            pipeline,
            torch.device(device),
            folder.prompt_shape(),
            self.options.encode_batch_size,
            guidance=self.options.guidance_range[1],
            guided=self._guided(folder),
        )

    def synthesizer(self, device: str) -> DiffusionSynthesizer:
        """Load denoiser, decoder and scheduler; tokenizer and text encoder need not be there."""
        folder = self._folder("unet", "vae")
        for part in ("unet", "vae"):
            folder.weights(part)
        scheduler = load_scheduler(folder, self.options.scheduler)
        pipeline = load_parts(folder, ("unet", "vae"), scheduler=scheduler)
        on = torch.device(device)
        return DiffusionSynthesizer(
            pipeline, self.options, on, choose_dtype(self.options.dtype, on), self._size(folder)
        )

    @staticmethod
    def _guided(folder: ModelFolder) -> bool:
        """Whether guidance compares with a negative prompt; distilled models take the scale as an input instead."""
        return folder.config("unet").get("time_cond_proj_dim") is None

    def _folder(self, *parts: str) -> ModelFolder:
        """The model's folder, with at least the weights of `parts` pulled, and checked."""
        # Once pulled, the commit is asked for by name: a push in between must not mix two versions.
        path = resolve(self.options.model, self._commit or self.options.revision, parts)
        if not is_local(self.options.model):
            self._commit = commit_of(path)
        folder = ModelFolder(path, self.options.model)
        folder.check()
        return folder

    def _size(self, folder: ModelFolder) -> tuple[int, int]:
        """(height, width) of an image, pixels."""
        wanted = self.options.height, self.options.width
        own = (0, 0) if None not in wanted else folder.image_size()
        # a latent must halve evenly at every level of the denoiser but the last
        step = folder.scale_factor() * 2 ** (len(folder.config("unet").get("block_out_channels", [0])) - 1)
        for name, side in zip(("height", "width"), wanted, strict=True):
            if side is not None and side % step:
                raise ModelError(f"{name}: got {side}; {folder.name} needs a multiple of {step} pixels")
        return wanted[0] or own[0], wanted[1] or own[1]
