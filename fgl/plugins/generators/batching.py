"""How many images to denoise together: an initial estimate, and when to reduce it."""

from __future__ import annotations

from typing import Literal

import torch

# Memory of a CUDA device for each image of 512x512 in 16 bits with guidance, beyond the weights. An estimate: if it is
# wrong, the batch is halved.
_BYTES_AN_IMAGE = 1.2e9
_WEIGHTS = 8e9
_MOST = 64
# On a CPU batches save little: large ones only make progress reports rarer.
_CPU_PIXELS = 8 * 512 * 512
_CPU_MOST = 100


def batch_size(wanted: int | Literal["auto"], device: torch.device, size: tuple[int, int]) -> int:
    """How many images to denoise together at first. size: (height, width), in pixels. Depends only on the device."""
    if wanted != "auto":
        return wanted
    pixels = size[0] * size[1]
    if device.type == "cuda":
        # of all memory, not of what is free: a run must not depend on other users of the device
        room = torch.cuda.get_device_properties(device).total_memory - _WEIGHTS
        return _even(room / (_BYTES_AN_IMAGE * pixels / 512**2), _MOST)
    return _even(_CPU_PIXELS / pixels, _CPU_MOST)


def _even(count: float, most: int) -> int:
    """A power of two at most `most`, or `most` itself: sizes that kernels like, and that halve well."""
    if count >= most:
        return most
    return int(2 ** (max(1, int(count)).bit_length() - 1))


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the device or the computer ran out of memory."""
    if isinstance(error, torch.cuda.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(
        sign in str(error) for sign in ("DefaultCPUAllocator: can't allocate", "not enough memory", "out of memory")
    )


def release(device: torch.device) -> None:
    """Return cached memory to the device, so that it is available to a smaller batch in one piece."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
