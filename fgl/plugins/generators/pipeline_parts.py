"""What a diffusers pipeline of each supported class is made of, and which of its files each side needs."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

WEIGHTS = {
    "text_encoder": "model",
    "text_encoder_2": "model",
    "unet": "diffusion_pytorch_model",
    "vae": "diffusion_pytorch_model",
    "safety_checker": "model",
}
"""File name of each part's weights, without `.safetensors`."""

CHECKER_FILES = ("config.json", "preprocessor_config.json", "model.safetensors", "README.md")
"""Of a repository that is a safety checker."""


@dataclass(frozen=True, slots=True)
class Layout:
    """One pipeline class. parts: name → (library, classes that it may be, None for any of that library).

    tokenizers, encoders: names of the client's parts, in the order in which their embeddings are joined."""

    pipeline: str
    parts: Mapping[str, tuple[str, tuple[str, ...] | None]]
    tokenizers: tuple[str, ...]
    encoders: tuple[str, ...]

    @property
    def client(self) -> tuple[str, ...]:
        return *self.tokenizers, *self.encoders

    @property
    def painters(self) -> tuple[str, ...]:
        """The server's parts that have weights."""
        return "unet", "vae"

    def files(self, parts: Collection[str]) -> list[str]:
        """Patterns of what to pull for the weights of `parts`: safetensors of full precision and nothing else, no
        pickle, no code, no duplicates in other formats.

        Configurations of all parts, a few kilobytes, come along: both sides need them to declare what they take."""
        wanted = ["model_index.json", "README.md", "scheduler/scheduler_config.json"]
        wanted += [f"{name}/*.{kind}" for name in self.tokenizers for kind in ("json", "txt", "model")]
        wanted += [f"{name}/config.json" for name in (*self.encoders, *self.painters)]
        for part in parts:
            if part in WEIGHTS:
                wanted += weight_files(part)
            if part == "safety_checker":
                wanted += ["safety_checker/config.json", "feature_extractor/preprocessor_config.json"]
        return wanted


def weight_files(part: str) -> list[str]:
    """Patterns of the files of one part's weights, whole or in shards."""
    stem = f"{part}/{WEIGHTS[part]}"
    return [f"{stem}.safetensors", f"{stem}.safetensors.index.json", f"{stem}-*-of-*.safetensors"]


_SERVER: dict[str, tuple[str, tuple[str, ...] | None]] = {
    "unet": ("diffusers", ("UNet2DConditionModel",)),
    "vae": ("diffusers", ("AutoencoderKL", "AutoencoderTiny")),
    "scheduler": ("diffusers", None),
}

STABLE_DIFFUSION = Layout(
    "StableDiffusionPipeline",
    {"tokenizer": ("transformers", None), "text_encoder": ("transformers", None), **_SERVER},
    tokenizers=("tokenizer",),
    encoders=("text_encoder",),
)

STABLE_DIFFUSION_XL = Layout(
    "StableDiffusionXLPipeline",
    {
        "tokenizer": ("transformers", None),
        "text_encoder": ("transformers", None),
        "tokenizer_2": ("transformers", None),
        "text_encoder_2": ("transformers", ("CLIPTextModelWithProjection",)),
        **_SERVER,
    },
    tokenizers=("tokenizer", "tokenizer_2"),
    encoders=("text_encoder", "text_encoder_2"),
)
