"""Loads some parts of a pipeline, and leaves the others on disk."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch

from fgl.errors import ModelError
from fgl.plugins._logging import quiet_diffusers
from fgl.plugins._weights import check_numbers, complain
from fgl.plugins.generators.model_folder import ModelFolder
from fgl.plugins.generators.pipeline_parts import STABLE_DIFFUSION
from fgl.text import first_line

with quiet_diffusers():  # the import reports image libraries that are not installed, and not needed
    import diffusers

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def load_parts(folder: ModelFolder, parts: Collection[str], **given: Any) -> Any:
    """A pipeline of the folder's layout with only `parts`, in float32 on the CPU. Files of other parts are not opened.

    given: parts that are already loaded. Raises ModelError if weights are damaged or do not fit their configuration.
    """
    index = folder.json("model_index.json")
    absent = {name: None for name, entry in index.items() if isinstance(entry, list) and name not in parts}
    extra = {"requires_safety_checker": False} if folder.layout is STABLE_DIFFUSION else {"add_watermarker": False}
    try:
        with quiet_diffusers():
            pipeline = getattr(diffusers, folder.layout.pipeline).from_pretrained(
                folder.path, use_safetensors=True, local_files_only=True, **absent | given, **extra
            )
            for part in parts:
                module = getattr(pipeline, part)
                if isinstance(module, torch.nn.Module):
                    # Cast here, not by argument: its name differs between the versions of diffusers that fgl takes.
                    module.to(torch.float32).train(False).requires_grad_(False)
                    check_numbers(module, f"model: the {part} of {folder.name}")
    except ModelError:
        raise
    except Exception as error:  # OSError, ValueError, RuntimeError, SafetensorError, and what newer versions raise
        raise ModelError(
            f"model: cannot load {', '.join(parts)} of {folder.name}: {first_line(error)}; the files in {folder.path} "
            "are damaged, or were written for another version of diffusers or transformers: check them with `fgl "
            "models verify`, which takes that folder too, pull or copy them again"
        ) from error
    return pipeline


def load_safety_checker(folder: Path, name: str) -> tuple[Any, Any]:
    """(checker, feature extractor) from a pipeline's folder, or from a checker's folder. name: for errors."""
    inside = (folder / "safety_checker").is_dir()
    checker, extractor = (folder / "safety_checker", folder / "feature_extractor") if inside else (folder, folder)
    try:
        with quiet_diffusers():
            from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
            from transformers import CLIPImageProcessor

            module, info = StableDiffusionSafetyChecker.from_pretrained(
                checker, use_safetensors=True, local_files_only=True, output_loading_info=True
            )
            complain(module, info, f"safety_checker: that of {name}")
            module.to(torch.float32).train(False).requires_grad_(False)
            check_numbers(module, f"safety_checker: that of {name}")
            return module, CLIPImageProcessor.from_pretrained(extractor, local_files_only=True)
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(
            f"safety_checker: cannot load that of {name}: {first_line(error)}; expected a folder or Hub id with a "
            "StableDiffusionSafetyChecker in safetensors, or off"
        ) from error


def choose_dtype(wanted: str, device: torch.device) -> torch.dtype:
    """The dtype that an option stands for.

    auto: fp16 on a GPU, as in the paper; bf16 on a CPU with instructions for it; float32 elsewhere.
    """
    if wanted != "auto":
        return DTYPES[wanted]
    if device.type == "cuda":
        return torch.float16
    # the oldest torch that fgl supports has no get_capabilities: float32 there
    has: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)() if device.type == "cpu" else {}
    return torch.bfloat16 if has.get("avx512_bf16") or has.get("amx_bf16") else torch.float32


def autocast_dtype(wanted: str, device: torch.device) -> torch.dtype:
    """The number format of computations that gradients pass through: as `choose_dtype`, but never fp16, in which small
    gradients become zero."""
    dtype = choose_dtype(wanted, device)
    if dtype != torch.float16:
        return dtype
    return torch.bfloat16 if device.type != "cuda" or torch.cuda.is_bf16_supported() else torch.float32
