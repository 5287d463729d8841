"""The parts of each supported class of diffusers pipeline, and which of its files each side needs."""

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
"""Files of a repository that is a safety checker."""


@dataclass(frozen=True, slots=True)
class Layout:
    """The layout of one pipeline class."""

    pipeline: str
    """Name of the pipeline class."""

    parts: Mapping[str, tuple[str, tuple[str, ...] | None]]
    """Name of a part → (library, classes that it may be; None: any class of that library)."""

    tokenizers: tuple[str, ...]
    """Names of the tokenizers, in the order in which embeddings are joined."""

    encoders: tuple[str, ...]
    """Names of the text encoders, in the same order."""

    @property
    def client(self) -> tuple[str, ...]:
        """The client's parts."""
        return *self.tokenizers, *self.encoders

    @property
    def painters(self) -> tuple[str, ...]:
        """The server's parts that have weights."""
        return "unet", "vae"

    def files(self, parts: Collection[str]) -> list[str]:
        """Patterns of the files to pull for the weights of `parts`: safetensors of full precision, but no pickle, no
        code, and no duplicates in other formats.

        The configurations of all parts, a few kilobytes, are included: both sides need them for the upload schema.
        """
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
