"""Loads some parts of a pipeline and leaves the others on disk."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from fgl.core.errors import ModelError
from fgl.plugins.generators.folder import ModelFolder
from fgl.plugins.generators.layouts import STABLE_DIFFUSION
from fgl.plugins.generators.quiet import quiet
from fgl.plugins.quiet import brief

with quiet():  # the import tells of image libraries that are not installed, and not needed
    import diffusers

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def load_parts(folder: ModelFolder, parts: Collection[str], **given: Any) -> Any:
    """A pipeline of the folder's layout with `parts` alone, in float32 on the CPU; the files of the others are not
    opened.

    given: parts that are loaded already. Raises ModelError where weights are damaged or do not fit their configuration.
    """
    index = folder.json("model_index.json")
    absent = {name: None for name, entry in index.items() if isinstance(entry, list) and name not in parts}
    own = {"requires_safety_checker": False} if folder.layout is STABLE_DIFFUSION else {"add_watermarker": False}
    try:
        with quiet():
            pipeline = getattr(diffusers, folder.layout.pipeline).from_pretrained(
                folder.path, use_safetensors=True, local_files_only=True, **absent | given, **own
            )
            for part in parts:
                module = getattr(pipeline, part)
                if isinstance(module, torch.nn.Module):
                    # Cast here, not by argument: its name differs between the versions of diffusers that fgl takes.
                    module.to(torch.float32).train(False).requires_grad_(False)
    except Exception as error:  # OSError, ValueError, RuntimeError, SafetensorError, and what newer ones raise
        raise ModelError(
            f"model: cannot load {', '.join(parts)} of {folder.name}: {brief(error)}; the files in {folder.path} are "
            "damaged, or were written for another version of diffusers or transformers: check them with fgl models "
            "verify, pull or copy them again"
        ) from error
    return pipeline


def fuse_lora(pipeline: Any, file: Path, name: str, scale: float) -> None:
    """Add LoRA weights to the pipeline's denoiser for good. name: what the user calls them, for errors.

    Raises ModelError where they are damaged, are not for this denoiser, or change the text encoder too: what clients
    encode with is the plain one."""
    if find_spec("peft") is None:
        raise ModelError("lora: needs the package peft: pip install peft (fgl's extra lora)")
    try:
        with safe_open(file, framework="np") as weights:
            keys = list(weights.keys())
        if any(key.startswith(("text_encoder", "lora_te", "te_", "te1_", "te2_")) for key in keys):
            raise ModelError(
                f"lora: {name} changes the text encoder as well as the denoiser, and clients would have to have it; "
                "expected LoRA weights of the denoiser alone, such as an LCM-LoRA"
            )
        given = {"weight_name": file.name, "local_files_only": True, "use_safetensors": True}
        with quiet():
            state = pipeline.lora_state_dict(file.parent, **given)
            wanted = _lora_modules(state[0] if isinstance(state, tuple) else state)
            pipeline.load_lora_weights(file.parent, **given)
            # What does not fit is left out with a notice alone, and with nothing left the picture is the plain model's.
            taken = sum(1 for module in pipeline.unet.modules() if getattr(module, "lora_A", None))
            if not wanted or taken != len(wanted):
                raise ModelError(
                    f"lora: {name} is for {len(wanted)} layers, of which this denoiser has {taken}; expected LoRA "
                    "weights made for this kind of model, with keys that begin with unet or lora_unet"
                )
            pipeline.fuse_lora(lora_scale=scale, safe_fusing=True)
            pipeline.unload_lora_weights()
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(f"lora: {name} does not fit the denoiser: {brief(error)}") from error


def _lora_modules(state: Mapping[str, Any]) -> set[str]:
    """Layers of the denoiser that LoRA weights are for; those of other networks count as layers that nothing has."""
    found = {key.split(".lora", 1)[0] for key in state if ".lora" in key}
    return found | {key for key in state if not key.startswith("unet.")}


def load_safety_checker(folder: Path, name: str) -> tuple[Any, Any]:
    """(checker, feature extractor) from a pipeline's folder, or from a checker's own. name: for errors."""
    inside = (folder / "safety_checker").is_dir()
    checker, extractor = (folder / "safety_checker", folder / "feature_extractor") if inside else (folder, folder)
    try:
        with quiet():
            from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
            from transformers import CLIPImageProcessor

            module = StableDiffusionSafetyChecker.from_pretrained(checker, use_safetensors=True, local_files_only=True)
            module.to(torch.float32).train(False).requires_grad_(False)
            return module, CLIPImageProcessor.from_pretrained(extractor, local_files_only=True)
    except Exception as error:
        raise ModelError(
            f"safety_checker: cannot load that of {name}: {brief(error)}; expected a folder or Hub id with a "
            "StableDiffusionSafetyChecker in safetensors, or off"
        ) from error


def choose_dtype(wanted: str, device: torch.device) -> torch.dtype:
    """auto: fp16 on a GPU as the paper has it, bf16 on a CPU with instructions for it, float32 elsewhere."""
    if wanted != "auto":
        return DTYPES[wanted]
    if device.type == "cuda":
        return torch.float16
    # get_capabilities is younger than the oldest torch we take: there, float32
    has: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)() if device.type == "cpu" else {}
    return torch.bfloat16 if has.get("avx512_bf16") or has.get("amx_bf16") else torch.float32
