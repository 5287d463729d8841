"""Loads some parts of a pipeline and leaves the others on disk."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch

from fgl.core.errors import ModelError
from fgl.plugins.generators.folder import ModelFolder
from fgl.plugins.generators.quiet import quiet

with quiet():  # the import tells of image libraries that are not installed, and not needed
    from diffusers import StableDiffusionPipeline

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def load_parts(folder: ModelFolder, parts: Collection[str], **given: Any) -> Any:
    """A StableDiffusionPipeline with `parts` alone, in float32 on the CPU; the files of the others are not opened.

    given: parts that are loaded already. Raises ModelError where weights are damaged or do not fit their configuration.
    """
    index = folder.json("model_index.json")
    absent = {name: None for name, entry in index.items() if isinstance(entry, list) and name not in parts}
    try:
        with quiet():
            pipeline = StableDiffusionPipeline.from_pretrained(
                folder.path,
                use_safetensors=True,
                local_files_only=True,
                **absent | given,
                requires_safety_checker=False,
            )
            for part in parts:
                module = getattr(pipeline, part)
                if isinstance(module, torch.nn.Module):
                    # Cast here, not by argument: its name differs between the versions of diffusers that fgl takes.
                    module.to(torch.float32).train(False).requires_grad_(False)
    except Exception as error:  # OSError, ValueError, RuntimeError, SafetensorError, and what newer ones raise
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:300]
        raise ModelError(
            f"model: cannot load {', '.join(parts)} of {folder.name}: {reason}; the files in {folder.path} are "
            "damaged, or were written for another version of diffusers or transformers: pull or copy them again"
        ) from error
    return pipeline


def choose_dtype(wanted: str, device: torch.device) -> torch.dtype:
    """auto: fp16 on a GPU as the paper has it, bf16 on a CPU with instructions for it, float32 elsewhere."""
    if wanted != "auto":
        return DTYPES[wanted]
    if device.type == "cuda":
        return torch.float16
    # get_capabilities is younger than the oldest torch we take: there, float32
    has: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)() if device.type == "cpu" else {}
    return torch.bfloat16 if has.get("avx512_bf16") or has.get("amx_bf16") else torch.float32
