"""Stable Diffusion 1.x, 2.x and XL of diffusers, in two halves (contract `Generator`)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import torch

from fgl import hub
from fgl.contracts.generator import ArraySpec, Footprint, UploadSchema
from fgl.errors import ModelError
from fgl.hub import cache, commit_of, messages, repository_of
from fgl.io import strict_json
from fgl.io.files import digest
from fgl.plugins.generators.adaptation import BaseModel, DenoiserAdaptation
from fgl.plugins.generators.batching import batch_size
from fgl.plugins.generators.checking import check_parts
from fgl.plugins.generators.denoiser import DiffusionDenoiser
from fgl.plugins.generators.encoder import NEGATIVE, PromptEncoder
from fgl.plugins.generators.image_start import ImageStart
from fgl.plugins.generators.known_models import EMBEDDED, LCM_WIDTHS
from fgl.plugins.generators.loading import autocast_dtype, choose_dtype, load_parts, load_safety_checker
from fgl.plugins.generators.lora import check_base, check_lora, fuse_lora
from fgl.plugins.generators.model_folder import GENERATORS, ModelFolder
from fgl.plugins.generators.model_source import is_local, resolve
from fgl.plugins.generators.options import LORA_FILE, StableDiffusionOptions, StableDiffusionXLOptions
from fgl.plugins.generators.pipeline_parts import CHECKER_FILES, STABLE_DIFFUSION, STABLE_DIFFUSION_XL, Layout
from fgl.plugins.generators.safety_checker import SafetyCheck
from fgl.plugins.generators.schedulers import load_noise_schedule, load_scheduler, scheduler_name
from fgl.plugins.generators.synthesizer import DiffusionSynthesizer, kept_size

if TYPE_CHECKING:
    from fgl.contracts.adaptation import AdapterSpec
    from fgl.contracts.arrays import Pixels
    from fgl.contracts.generator import PlanItem
from fgl.plugins.generators.word_vectors import DiffusionWordVectors

# Part of the fingerprint: raise it when equal rows, seeds and options would yield other images.
_METHOD = "fgl stable-diffusion 1"


class StableDiffusion:
    """See `StableDiffusionOptions`. All methods raise ModelError if the model cannot be found or used."""

    layout: ClassVar[Layout] = STABLE_DIFFUSION
    # Text encoders end in a layer norm: before its gain no element exceeds the square root of the width, 28 or 32. This
    # leaves room for a gain of 30, and is far below what overflows in float16.
    max_abs: ClassVar[float] = 1e3

    def __init__(self, options: StableDiffusionOptions) -> None:
        self.options = options
        self._commit: str | None = None

    def declare(self) -> UploadSchema:
        """prompt_embeds [n, s, d], with two text encoders also pooled_prompt_embeds [n, p], and the negatives of both,
        which rows share.

        The fingerprint of the encoder is a sha256 over the text encoders' weights, their configurations and the
        tokenizers' files.
        """
        folder = self._folder(*self.layout.encoders)
        self._check(folder, [part for part in self.layout.painters if folder.has(part)])
        self._scheduler(folder)  # wrong names fail here, before anything is encoded
        self._size(folder)
        self._check_extras(folder)
        shapes = self._shapes(folder)
        positive = tuple(ArraySpec(name, shape, max_abs=self.max_abs) for name, shape in shapes.items())
        negative = tuple(
            ArraySpec(NEGATIVE + name, shape, shared=True, optional=True, max_abs=self.max_abs)
            for name, shape in shapes.items()
        )
        return UploadSchema(
            arrays=positive + negative,
            encoder=folder.encoder_digest(),
            guided=tuple(spec.name for spec in negative) if self._guided(folder) else (),
            guidance_scale=self.options.guidance_range[1],
        )

    def fingerprint(self) -> str:
        """sha256 over the contents of all parts and the options that determine an image.

        The model's location, the device, the memory layout and batch sizes do not count. All weights are read, and must
        be finite.
        """
        parts = (*self.layout.encoders, *self.layout.painters)
        options, folder = self.options, self._folder(*parts)
        self._check(folder, parts, content=True)
        picture: dict[str, object] = {
            "method": _METHOD,
            "files": folder.digest([*folder.encoder_files(), *folder.painter_files()]),
            "scheduler": self._scheduler(folder),
            "steps": options.num_inference_steps,
            "guidance": options.guidance_range,
            "size": self._size(folder),
            "dtype": options.dtype,
        }
        # Features that are off leave no trace, so that fingerprints stay the same when fgl gains features.
        if options.lora is not None:
            check_lora(self._lora(), options.lora, content=True)
            check_base(self._lora(), options.lora, folder)
            picture["lora"] = [digest(self._lora()), options.lora_scale]
        if options.vae_tiling:
            picture["vae_tiling"] = True
        if options.save_size is not None:
            picture["save_size"] = options.save_size
        if options.safety_checker != "off":
            picture["safety_checker"] = self._checker_digest()
        return hashlib.sha256(
            json.dumps({**picture, **self._micro()}, sort_keys=True, allow_nan=False).encode()
        ).hexdigest()

    def encoding(self) -> Mapping[str, object]:
        """The encoder, how many texts it encodes together, and whether negative prompts are encoded."""
        folder = self._folder(*self.layout.encoders)
        return {
            "encoder": folder.encoder_digest(),
            "encode_batch_size": self.options.encode_batch_size,
            "negatives": self._guided(folder) and self.options.guidance_range[1] > 1,
        }

    def rounding(self, device: str) -> Mapping[str, object]:
        """The batch size, the number format that `dtype` means on the device, the memory layout, and whatever else
        affects the order of sums."""
        on, options = torch.device(device), self.options
        folder = self._folder(*self.layout.encoders)
        settings: dict[str, object] = {
            "batch_size": batch_size(options.batch_size, on, self._size(folder)),
            "dtype": str(choose_dtype(options.dtype, on)).removeprefix("torch."),
            "channels_last": options.channels_last,
            "device": on.type,
        }
        if options.vae_slicing:
            settings["vae_slicing"] = True
        if options.compile:
            settings["compile"] = True
        if options.attention != "fused":
            settings["attention"] = options.attention
        return settings

    def describe(self) -> Mapping[str, object]:
        """JSON for the report. Needs all weights, but reads only their headers.

        repository and commit are those that a Hub model was pulled from, possibly a mirror's, and None for a folder.
        parameters are counted by part.
        """
        parts = (*self.layout.encoders, *self.layout.painters)
        options, folder = self.options, self._folder(*parts)
        height, width = kept_size(self._size(folder), options.save_size)
        low, high = options.guidance_range
        counts = {part: folder.parameters(part) for part in parts}
        return {
            "model": options.model,
            "revision": options.revision,
            "repository": repository_of(folder.path),
            "commit": commit_of(folder.path),
            "license": folder.license(),
            "parameters": {**counts, "total": sum(counts.values())},
            "image_size": [height, width],
            "scheduler": self._scheduler(folder),
            "num_inference_steps": options.num_inference_steps,
            "guidance_scale": low if low == high else [low, high],
            "dtype": options.dtype,
            "lora": options.lora,
            "lora_commit": None if options.lora is None else commit_of(self._lora().parent),
            "safety_checker": options.safety_checker,
        }

    def footprint(self, whole: bool) -> Footprint:
        """Parameters from the headers of the weight files, and the sizes of these files."""
        parts = (*self.layout.encoders, *(self.layout.painters if whole else ()))
        folder = self._folder(*parts)
        sizes = [path.stat().st_size for part in parts for path in folder.weights(part)]
        return Footprint(parts, sum(map(folder.parameters, parts)), sum(sizes))

    def encoder(self, device: str) -> PromptEncoder:
        """Load tokenizers and text encoders, in float32. The denoiser and the decoder may be missing."""
        folder = self._folder(*self.layout.encoders)
        return PromptEncoder(
            load_parts(folder, self.layout.client),
            self.layout,
            torch.device(device),
            self._shapes(folder),
            self.options.encode_batch_size,
            guidance=self.options.guidance_range[1],
            guided=self._guided(folder),
            zeros=folder.zeros_for_no_negative(),
        )

    def synthesizer(self, device: str) -> DiffusionSynthesizer:
        """Load denoiser, decoder and scheduler. Tokenizers and text encoders may be missing."""
        return self._synthesizer(device, None)

    def varying(self, device: str, original: Callable[[PlanItem], Pixels], strength: float) -> DiffusionSynthesizer:
        """Load denoiser, autoencoder and scheduler, to paint as StableDiffusionImg2ImgPipeline, or that of XL, does."""
        return self._synthesizer(device, ImageStart(original, strength))

    def _synthesizer(self, device: str, start: ImageStart | None) -> DiffusionSynthesizer:
        options, folder = self.options, self._folder(*self.layout.painters)
        scheduler = load_scheduler(folder, options.scheduler, options.lora is not None)
        pipeline = load_parts(folder, self.layout.painters, scheduler=scheduler)
        if options.lora is not None:
            fuse_lora(pipeline, self._lora(), options.lora, options.lora_scale)
        on = torch.device(device)
        dtype = choose_dtype(options.dtype, on)
        safety = None
        if options.safety_checker != "off":
            safety = SafetyCheck(*load_safety_checker(self._checker(), options.safety_checker), on, dtype)
        return DiffusionSynthesizer(
            pipeline, self.layout, options, on, dtype, self._size(folder), safety, self._micro(), start
        )

    def denoiser(self, device: str) -> DiffusionDenoiser:
        """Load denoiser and autoencoder, in float32, with the LoRA of the options fused in. Tokenizers and text
        encoders may be missing."""
        options, folder = self.options, self._folder(*self.layout.painters)
        pipeline = load_parts(folder, self.layout.painters, scheduler=load_noise_schedule(folder))
        if options.lora is not None:
            fuse_lora(pipeline, self._lora(), options.lora, options.lora_scale)
        on = torch.device(device)
        dtype = autocast_dtype(options.dtype, on)
        size = self._size(folder)
        kept, scale = kept_size(size, options.save_size), options.guidance_range[1]
        return DiffusionDenoiser(pipeline, self.layout, on, dtype, size, kept, self._micro(), scale)

    def adaptation(self, spec: AdapterSpec) -> DenoiserAdaptation:
        """How the denoiser is adapted. All parts of the model must be here."""
        folder = self._folder(*self.layout.encoders, *self.layout.painters)
        has_lora = self.options.lora is not None
        return DenoiserAdaptation(
            spec, BaseModel(folder, self._size(folder), has_lora, self.denoiser, self.synthesizer)
        )

    def word_vectors(self, texts: Sequence[str], words: Sequence[str], device: str) -> DiffusionWordVectors:
        """Load tokenizers and text encoders, in float32. The denoiser and the decoder may be missing."""
        folder = self._folder(*self.layout.encoders)
        pipeline = load_parts(folder, self.layout.client)
        return DiffusionWordVectors(
            pipeline, self.layout, torch.device(device), list(self._shapes(folder)), texts, words
        )

    def _shapes(self, folder: ModelFolder) -> dict[str, tuple[int, ...]]:
        """Shape of a row of each array."""
        pooled = folder.pooled_width()
        shapes: dict[str, tuple[int, ...]] = {"prompt_embeds": folder.prompt_shape()}
        return shapes if pooled is None else {**shapes, "pooled_prompt_embeds": (pooled,)}

    @staticmethod
    def _guided(folder: ModelFolder) -> bool:
        """Whether guidance compares with a negative prompt. Distilled models take the scale as an input instead."""
        return folder.config("unet").get("time_cond_proj_dim") is None

    def _check_extras(self, folder: ModelFolder) -> None:
        """Check what only the server will load, as far as it exists, before all clients have done their work."""
        options = self.options
        for name, key in ((options.lora, "lora"), (options.safety_checker, "safety_checker")):
            if name is None or name in ("off", "own") or Path(name).expanduser().exists() or cache.is_hub_id(name):
                continue
            words = "lcm, " if key == "lora" else "off, own, "
            raise ModelError(f"{key}: {name} is not a folder here; expected {words}a folder or a Hub id (owner/name)")
        width = folder.config("unet").get("cross_attention_dim")
        if options.lora in LCM_WIDTHS and width != LCM_WIDTHS[options.lora]:
            raise ModelError(
                f"lora: {options.lora} is for denoisers that take text {LCM_WIDTHS[options.lora]} wide, {folder.name} "
                f"takes {width}: lcm is for Stable Diffusion 1.5 and SDXL; give the LoRA of this model, or none"
            )
        if options.lora is not None and Path(options.lora).expanduser().exists():
            check_lora(self._lora(), options.lora)
            if folder.has("unet"):
                check_base(self._lora(), options.lora, folder)
        if options.safety_checker == "own" and is_local(options.model):
            self._checker()

    def _scheduler(self, folder: ModelFolder) -> str:
        return scheduler_name(folder, self.options.scheduler, self.options.lora is not None)

    def _micro(self) -> dict[str, object]:
        """What the denoiser receives besides the text and the time."""
        return {}

    def _folder(self, *parts: str) -> ModelFolder:
        """The model's folder, with at least the weights of `parts` pulled, and checked."""
        folder = ModelFolder(self._place(parts), self.options.model, self.layout)
        folder.check()
        self._check(folder, parts)
        return folder

    def _check(self, folder: ModelFolder, parts: Collection[str], *, content: bool = False) -> None:
        if not self.options.model.startswith(EMBEDDED):  # fgl's own models are covered by tests
            check_parts(folder, parts, content=content)

    def _place(self, parts: Collection[str]) -> Path:
        # Once pulled, the commit is requested by name: a push in between must not mix two versions.
        options = self.options
        revision, files = self._commit or options.revision, self.layout.files(parts)
        path = resolve(options.model, revision, files, options.mirrors, self._remedy(parts))
        if not is_local(options.model):
            self._commit = commit_of(path)
        return path

    def _remedy(self, parts: Collection[str]) -> str:
        """The command that pulls what `_place` looks for."""
        options = self.options
        if "safety_checker" not in parts:
            only = set(parts) <= set(self.layout.encoders)
            return messages.pull_command(options.model, options.revision, options.mirrors, encoder_only=only)
        # only the component knows which repositories are needed for it
        selection = {"model": options.model, "revision": options.revision, "mirrors": list(options.mirrors)}
        settings = [f"generator.{key}={strict_json.dumps(value)}" for key, value in selection.items()]
        return messages.pull_command(
            GENERATORS[self.layout.pipeline], settings=[*settings, "generator.safety_checker=own"]
        )

    def _lora(self) -> Path:
        """The file of the LoRA weights."""
        name = str(self.options.lora)
        path = Path(name).expanduser()
        if path.is_file():
            return path
        expected = "lcm, a safetensors file, a folder or a Hub id (owner/name)"
        files = [LORA_FILE, "README.md"]
        file = hub.resolve(name, self.options.lora_revision, files, key="lora", expected=expected) / LORA_FILE
        if not file.is_file():
            raise ModelError(f"lora: {name} has no {LORA_FILE}; expected that file, or the path of a safetensors file")
        return file

    def _checker(self) -> Path:
        """The folder of the safety checker, or of the pipeline that holds it."""
        if self.options.safety_checker != "own":
            expected = "off, own, a folder or a Hub id (owner/name)"
            name = self.options.safety_checker
            return hub.resolve(name, None, CHECKER_FILES, key="safety_checker", expected=expected)
        folder = self._place(("safety_checker",))
        if not (folder / "safety_checker").is_dir():
            raise ModelError(
                f"safety_checker: {self.options.model} has none of its own; give the folder or Hub id of one, such as "
                "CompVis/stable-diffusion-safety-checker, or off"
            )
        return folder

    def _checker_digest(self) -> str:
        folder = self._checker()
        home = folder / "safety_checker" if (folder / "safety_checker").is_dir() else folder
        extractor = folder / "feature_extractor" if home != folder else folder
        files = [home / "model.safetensors", home / "config.json", extractor / "preprocessor_config.json"]
        for path in files:
            if not path.is_file():
                raise ModelError(f"safety_checker: {self.options.safety_checker} has no {path.name} in {path.parent}")
        return " ".join(digest(path) for path in files)

    def _size(self, folder: ModelFolder) -> tuple[int, int]:
        """(height, width) of an image, in pixels."""
        wanted = self.options.height, self.options.width
        model_size = (0, 0) if None not in wanted else folder.image_size()
        # a latent must halve evenly at every level of the denoiser but the last
        step = folder.scale_factor() * 2 ** (folder.levels() - 1)
        for name, side in zip(("height", "width"), wanted, strict=True):
            if side is not None and side % step:
                raise ModelError(f"{name}: got {side}; {folder.name} needs a multiple of {step} pixels")
        return wanted[0] or model_size[0], wanted[1] or model_size[1]


class StableDiffusionXL(StableDiffusion):
    """Two text encoders, whose penultimate layers are joined, a pooled embedding, and sizes and crop as conditions
    (Podell et al. 2023, arXiv 2307.01952). See `StableDiffusionXLOptions`."""

    layout: ClassVar[Layout] = STABLE_DIFFUSION_XL
    # Penultimate layers are not normalised: some channels of the first token are several hundred.
    max_abs: ClassVar[float] = 1e4

    options: StableDiffusionXLOptions

    def _micro(self) -> dict[str, object]:
        """Sizes and crop, in the denoiser's order. None: the size of the image."""
        options = self.options
        return {
            "original_size": options.original_size,
            "crops_coords_top_left": options.crops_coords_top_left,
            "target_size": options.target_size,
        }
