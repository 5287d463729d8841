"""A pipeline's folder, inspected without loading it: layout, configurations, digests, sizes, license."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from fgl.errors import ModelError
from fgl.hub.documents import json_object, license
from fgl.hub.weights import WeightsError, is_pointer, tensors
from fgl.io.files import digest
from fgl.plugins.generators.pipeline_parts import WEIGHTS, Layout
from fgl.text import plain

GENERATORS = {  # pipeline class → name of the generator that runs any of it
    "StableDiffusionPipeline": "stable-diffusion",
    "StableDiffusionXLPipeline": "stable-diffusion-xl",
}


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """The folder of a diffusers pipeline."""

    path: Path
    """Where it is."""

    name: str
    """The user's name for it, for errors."""

    layout: Layout
    """What it must consist of."""

    def check(self) -> None:
        """Raise ModelError unless the folder holds a pipeline of the layout whose parts fit each other.

        All parts must be of the libraries' own classes. Code in a folder is never run.
        """
        index = self.json("model_index.json", "it is not the folder of a diffusers pipeline")
        class_name = index.get("_class_name")
        if class_name != self.layout.pipeline:
            raise self._another(class_name)
        for part, (library, classes) in self.layout.parts.items():
            entry = index.get(part)
            got = tuple(entry) if isinstance(entry, list) and len(entry) == 2 else (None, None)
            if got[0] != library or not isinstance(got[1], str) or (classes and got[1] not in classes):
                expected = " or ".join(classes) if classes else f"a class of {library}"
                has = plain(f"{got[0]}.{got[1]}", 80)
                raise ModelError(f"model: {self.name} has a {part} of {has}; expected {expected}")
        self._check_strangers()
        self._check_fit()

    def _another(self, kind: object) -> ModelError:
        """The error for a folder whose `_class_name` is not the layout's."""
        wanted = self.layout.pipeline
        if isinstance(kind, list):
            return ModelError(
                f"model: {self.name} is a custom pipeline ({plain(kind, 80)}), whose code lies in its folder: fgl runs "
                f"no code of a model; expected a {wanted} of diffusers"
            )
        if not isinstance(kind, str):
            return ModelError(f"model: model_index.json of {self.name} names no pipeline; expected a {wanted}")
        other = f"use generator {GENERATORS[kind]}" if kind in GENERATORS else "choose another model"
        return ModelError(f"model: {self.name} is a {plain(kind, 80)}; expected a {wanted}: {other}")

    def _check_strangers(self) -> None:
        """Raise ModelError for files that a library would load or run and that no fingerprint covers."""
        for part in self.layout.parts:
            for path in sorted((self.path / part).glob("*")):
                if path.suffix == ".py" or path.name == "adapter_config.json":
                    raise ModelError(
                        f"model: {self.name} has {part}/{path.name}, which would change what is loaded: fgl runs no "
                        "code of a model and takes LoRA weights only by the option lora; remove the file, or choose "
                        "another model"
                    )

    def _check_fit(self) -> None:
        unet, latents = self.config("unet"), self.config("vae").get("latent_channels")
        if not unet.get("in_channels") == unet.get("out_channels") == latents:
            raise ModelError(
                f"model: {self.name} denoises {unet.get('in_channels')} channels to {unet.get('out_channels')} and "
                f"decodes {latents}; expected equal numbers: an inpainting, editing or depth model cannot generate "
                "from text alone"
            )
        _, width = self.prompt_shape()
        if unet.get("encoder_hid_dim") is None and unet.get("cross_attention_dim") not in (width, [width]):
            accepted = unet.get("cross_attention_dim")
            if not (isinstance(accepted, list) and set(accepted) == {width}):
                raise ModelError(
                    f"model: {self.name} encodes text {width} wide, its denoiser takes {accepted}; expected equal "
                    "widths: the folder mixes parts of two models"
                )
        pooled = self.pooled_width()
        if pooled is None:
            return
        if unet.get("addition_embed_type") != "text_time":
            raise ModelError(
                f"model: the denoiser of {self.name} takes {unet.get('addition_embed_type')} beside the text; expected "
                "text_time: pooled embeddings, sizes and crops"
            )
        takes = unet.get("projection_class_embeddings_input_dim")
        if takes != pooled + 6 * int(unet.get("addition_time_embed_dim") or 0):
            raise ModelError(
                f"model: {self.name} pools text {pooled} wide and states six numbers of size and crop, its denoiser "
                f"takes {takes}: the folder mixes parts of two models, or is a refiner"
            )

    def json(self, name: str, otherwise: str = "the folder is incomplete") -> dict[str, Any]:
        """The JSON object in file `name`. Raises ModelError, which says `otherwise` if the file does not exist."""
        try:
            return json_object(self.path / name)
        except FileNotFoundError as error:
            raise ModelError(f"model: {self.name} has no {name}: {otherwise}; looked in {self.path}") from error
        except (OSError, ValueError) as error:
            pointer = (self.path / name).is_file() and is_pointer(self.path / name)
            problem = "it is a git-lfs pointer: run `git lfs pull` there, or copy the file itself" if pointer else error
            raise ModelError(f"model: cannot read {name} of {self.name}: {plain(problem)}; it is damaged") from error

    def config(self, part: str) -> dict[str, Any]:
        name = "scheduler_config.json" if part == "scheduler" else "config.json"
        return self.json(f"{part}/{name}")

    def prompt_shape(self) -> tuple[int, int]:
        """(s, d): number of tokens, and the sum of the widths of all text encoders."""
        shapes = [self._text_shape(*pair) for pair in zip(self.layout.tokenizers, self.layout.encoders, strict=True)]
        if len({tokens for tokens, _ in shapes}) > 1:
            raise ModelError(
                f"model: the text encoders of {self.name} take {[tokens for tokens, _ in shapes]} tokens; expected "
                "equal numbers"
            )
        return shapes[0][0], sum(width for _, width in shapes)

    def _text_shape(self, tokenizer: str, encoder: str) -> tuple[int, int]:
        config = self.config(encoder)
        width, positions = config.get("hidden_size"), config.get("max_position_embeddings")
        # a tokenizer without a limit says 1e30: then the encoder's positions are the limit
        tokens = self.json(f"{tokenizer}/tokenizer_config.json").get("model_max_length", positions)
        if not isinstance(width, int) or not isinstance(positions, int) or not isinstance(tokens, int | float):
            raise ModelError(
                f"model: {encoder}/config.json of {self.name} does not state hidden_size and max_position_embeddings; "
                "expected the configuration of a CLIP text model"
            )
        if positions < tokens < 10**9:
            raise ModelError(
                f"model: the {tokenizer} of {self.name} gives {tokens} tokens, its text encoder takes {positions}"
            )
        return int(min(tokens, positions)), width

    def pooled_width(self) -> int | None:
        """Width of the pooled embedding; None if the pipeline has none."""
        if len(self.layout.encoders) == 1:
            return None
        width = self.config(self.layout.encoders[-1]).get("projection_dim")
        if not isinstance(width, int):
            raise ModelError(f"model: {self.layout.encoders[-1]}/config.json of {self.name} states no projection_dim")
        return width

    def zeros_for_no_negative(self) -> bool:
        """Whether a prompt without a negative one is guided away from zeros rather than from the empty text."""
        return bool(self.pooled_width() and self.json("model_index.json").get("force_zeros_for_empty_prompt", True))

    def scale_factor(self) -> int:
        """Pixels per latent, along a side."""
        vae = self.config("vae")
        levels = vae.get("block_out_channels") or vae.get("decoder_block_out_channels")
        if not isinstance(levels, list) or not 0 < len(levels) < 10:
            raise ModelError(f"model: vae/config.json of {self.name} states no block_out_channels; expected a list")
        return int(2 ** (len(levels) - 1))

    def levels(self) -> int:
        """Number of levels of the denoiser: a latent is halved at each but the last."""
        levels = self.config("unet").get("block_out_channels", [0])
        if not isinstance(levels, list) or not 0 < len(levels) < 10:
            raise ModelError(f"model: unet/config.json of {self.name} has block_out_channels that are not a list")
        return len(levels)

    def image_size(self) -> tuple[int, int]:
        """The model's own (height, width), in pixels."""
        side, scale = self.config("unet").get("sample_size"), self.scale_factor()
        sides = [one for one in (side if isinstance(side, list) else [side, side]) if isinstance(one, int)]
        if len(sides) != 2:
            raise ModelError(f"model: unet/config.json of {self.name} has sample_size {side}; give height and width")
        return sides[0] * scale, sides[1] * scale

    def weights(self, part: str) -> list[Path]:
        """The safetensors files of `part`. Raises ModelError if they are missing, or only pickles exist."""
        home, stem = self.path / part, WEIGHTS[part]
        whole, index = home / f"{stem}.safetensors", home / f"{stem}.safetensors.index.json"
        if whole.is_file() and index.is_file():
            raise ModelError(
                f"model: {self.name} has its {part} twice, as {whole.name} and in shards ({index.name}), and libraries "
                "differ in which they load; remove one of the two"
            )
        if whole.is_file():
            return [home / f"{stem}.safetensors"]
        if index.is_file():
            return self._shards(part, index)
        raise self._unweighted(part)

    def indices(self, part: str) -> list[Path]:
        """The list of the part's shards, if it is in shards."""
        return sorted((self.path / part).glob(f"{WEIGHTS[part]}.safetensors.index.json"))

    def has(self, part: str) -> bool:
        """Whether a file holds, or should hold, weights of the part."""
        kinds = (".safetensors", ".safetensors.index.json", ".bin")
        return any(path.name.endswith(kinds) for path in (self.path / part).glob("*"))

    def _shards(self, part: str, index: Path) -> list[Path]:
        named = self.json(f"{part}/{index.name}").get("weight_map")
        names = list(named.values()) if isinstance(named, dict) else []
        if not names or not all(isinstance(name, str) for name in names):
            raise ModelError(f"model: {part}/{index.name} of {self.name} names no shards (weight_map); it is damaged")
        shards = [index.parent / Path(name).name for name in sorted(set(names))]
        missing = [shard.name for shard in shards if not shard.is_file()]
        if missing:
            raise ModelError(
                f"model: {self.name} lacks {len(missing)} of the {len(shards)} shards of its {part} ({part}/"
                f"{plain(missing[0], 80)}); the folder {self.path} is incomplete: pull the whole model while online, "
                "or copy it again"
            )
        return shards

    def _unweighted(self, part: str) -> ModelError:
        """The error for a part without weights that fgl opens: what exists instead, and what to do."""
        stem = WEIGHTS[part]
        files = sorted(path.name for path in (self.path / part).glob("*") if path.is_file())
        variants = [name for name in files if name.startswith(f"{stem}.") and name.endswith(".safetensors")]
        pickles = [name for name in files if name.endswith((".bin", ".pt", ".pth", ".ckpt"))]
        if variants:
            kind = plain(variants[0].removeprefix(f"{stem}.").removesuffix(".safetensors").partition("-")[0], 20)
            return ModelError(
                f"model: {self.name} has its {part} only as the variant {kind} ({part}/{plain(variants[0], 80)}); "
                f"expected {part}/{stem}.safetensors: load it once with variant={kind!r} and save_pretrained it to a "
                "folder, or give that file this name"
            )
        if pickles:
            return ModelError(
                f"model: {self.name} has its {part} as pickle only ({plain(pickles[0], 80)}), which can run code when "
                "opened; expected safetensors: convert it where you trust it, with "
                "save_pretrained(safe_serialization=True)"
            )
        return ModelError(
            f"model: {self.name} lacks the weights of its {part} ({part}/{stem}.safetensors); the folder {self.path} "
            "is incomplete: pull the whole model while online, or copy it again"
        )

    def encoder_files(self) -> list[Path]:
        """The files that determine an embedding."""
        paths: list[Path] = []
        for name in self.layout.tokenizers:
            files = [path for path in (self.path / name).glob("*") if path.is_file() and path.name[0] != "."]
            if not files:
                raise ModelError(f"model: {self.name} has no {name}; looked in {self.path / name}")
            paths += sorted(files)
        for name in self.layout.encoders:
            paths += [self.path / name / "config.json", *self.weights(name)]
        return paths

    def encoder_digest(self) -> str:
        """sha256 over everything that determines an embedding."""
        files = self.digest(self.encoder_files())
        if self.pooled_width() is None:
            return files
        return hashlib.sha256(f"{files} zeros {self.zeros_for_no_negative()}".encode()).hexdigest()

    def painter_files(self) -> list[Path]:
        """The files that determine an image, given embeddings, noise and options."""
        painters = self.layout.painters
        configs = [self.path / name / "config.json" for name in painters]
        configs.append(self.path / "scheduler/scheduler_config.json")
        return [*configs, *(path for name in painters for path in self.weights(name))]

    def unet_digest(self) -> str:
        """sha256 over the denoiser alone, for what fits one denoiser and no other."""
        return self.digest([self.path / "unet/config.json", *self.weights("unet")])

    def files(self) -> list[Path]:
        """The files of all parts, with their configurations and lists of shards."""
        parts = (*self.layout.encoders, *self.layout.painters)
        lists = [path for part in parts for path in self.indices(part)]
        return list(
            dict.fromkeys([self.path / "model_index.json", *self.encoder_files(), *self.painter_files(), *lists])
        )

    def dtypes(self, part: str) -> set[str]:
        """The number formats of the part's weights, by safetensors' names, such as F16."""
        return {one.dtype for path in self.weights(part) for one in tensors(path).values()}

    def digest(self, files: Iterable[Path]) -> str:
        """sha256 over names and contents.

        A Hub cache names files by the digest that the server stated; contents are hashed nevertheless, since the client
        checks no digest over HTTP.
        """
        total = hashlib.sha256()
        for path in files:
            total.update(f"{path.relative_to(self.path).as_posix()}\0{digest(path)}\n".encode())
        return total.hexdigest()

    def parameters(self, part: str) -> int:
        """Number of parameters of the part, from the headers of its files."""
        try:
            return sum(prod(one.shape) for path in self.weights(part) for one in tensors(path).values())
        except WeightsError as error:
            raise ModelError(f"model: the weights of the {part} of {self.name}: a file {error}") from error

    def license(self) -> str:
        """The license that the model card's front matter states."""
        return license(self.path / "README.md")
