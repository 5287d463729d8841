"""Which weights of a denoiser an adapter trains: all of them, or low-rank pairs beside them."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from fgl.errors import ModelError
from fgl.plugins._logging import quiet_diffusers

if TYPE_CHECKING:
    from fgl.contracts.adaptation import AdapterSpec
    from fgl.contracts.arrays import Array

State = dict[str, Tensor]

_DOWN, _UP = ".lora_A.default.", ".lora_B.default."
_ATTENTION = (".to_q", ".to_k", ".to_v", ".to_out.0")


class AdapterWeights:
    """The weights of a denoiser that are trained, attached to its module. The others are frozen.

    LoRA (Hu et al. 2021, arXiv 2106.09685): beside each layer W, B·A of the given rank, with A as peft draws it from
    the seed and B zero, without a further scale: alpha is the rank.

    Args:
        module: The denoiser, UNet2DConditionModel; it is changed.
        spec: What is trained.
        seed: Seed of what is drawn: A, or with the kind scratch all weights.
    """

    def __init__(self, module: Any, spec: AdapterSpec, seed: int) -> None:
        self.module, self.spec = module, spec
        module.requires_grad_(False)
        with torch.random.fork_rng(devices=[]), quiet_diffusers():
            # a factor that is not trained must be the same wherever the adapter is
            torch.manual_seed(0 if spec.factors == "up" else seed % 2**63)
            if spec.kind == "lora":
                _add_lora(module, spec)
            elif spec.kind == "scratch":
                module.load_state_dict(type(module).from_config(module.config).state_dict())
        if spec.kind == "lora" and spec.factors == "up":
            for name, weight in module.named_parameters():
                weight.requires_grad_(_UP in name)
        if spec.kind != "lora":
            for name, weight in module.named_parameters():
                weight.requires_grad_(spec.layers == "all" or _is_attention(name.rpartition(".")[0]))
        self.named: dict[str, nn.Parameter] = {
            name: weight for name, weight in module.named_parameters() if weight.requires_grad
        }
        if not self.named:
            raise ModelError("the denoiser has no layers of attention to adapt; choose layers: all")

    def state(self) -> State:
        """A copy of what is trained."""
        return {name: weight.detach().clone() for name, weight in self.named.items()}

    @torch.no_grad()
    def load(self, state: Mapping[str, Tensor]) -> None:
        """Set what is trained."""
        for name, weight in self.named.items():
            weight.copy_(state[name])

    def tensors(self, arrays: Mapping[str, Array], whose: str) -> State:
        """Arrays of another adapter of this kind, as tensors. Raises ModelError if they do not fit."""
        wanted = {name: tuple(weight.shape) for name, weight in self.named.items()}
        given = {name: tuple(array.shape) for name, array in arrays.items()}
        if wanted != given:
            odd = sorted(name for name in {*wanted, *given} if wanted.get(name) != given.get(name))
            raise ModelError(
                f"{whose} does not fit the adapter: {odd[0]} is {given.get(odd[0], 'missing')}, expected "
                f"{wanted.get(odd[0], 'no such weight')}; {len(odd)} of {len(wanted)} weights differ"
            )
        return {
            name: torch.from_numpy(np.array(array, dtype=np.float32)).to(self.named[name].device)
            for name, array in arrays.items()
        }

    def merged(self, state: Mapping[str, Tensor]) -> State:
        """All weights of the denoiser, with the adapter merged into them. The module stays as it is."""
        whole = AdapterWeights.__new__(AdapterWeights)
        whole.module = copy.deepcopy(self.module)
        whole.named = {name: weight for name, weight in whole.module.named_parameters() if name in self.named}
        whole.load(state)
        if self.spec.kind == "lora":
            with quiet_diffusers():
                whole.module.fuse_lora()
                whole.module.unload_lora()
        return {name: tensor.detach() for name, tensor in whole.module.state_dict().items()}

    def lora(self, state: Mapping[str, Tensor]) -> State:
        """Low-rank pairs under the names that diffusers loads them by."""
        fixed = {name: weight.detach() for name, weight in self.module.named_parameters() if _DOWN in name}
        pairs = {**fixed, **state}
        return {f"unet.{name.replace('.default.', '.')}": tensor.cpu().contiguous() for name, tensor in pairs.items()}


def check_peft() -> None:
    """Raise ModelError if peft is not installed."""
    if find_spec("peft") is None:
        raise ModelError("adaptation: LoRA needs the package peft: pip install peft (fgl's extra lora)")


def _add_lora(module: Any, spec: AdapterSpec) -> None:
    check_peft()
    from peft import LoraConfig

    layers = [
        name
        for name, part in module.named_modules()
        if isinstance(part, nn.Linear | nn.Conv2d) and (spec.layers == "all" or _is_attention(name))
    ]
    if not layers:
        raise ModelError("the denoiser has no layers of attention to adapt; choose layers: all")
    module.add_adapter(LoraConfig(r=spec.rank, lora_alpha=spec.rank, target_modules=layers))


def _is_attention(layer: str) -> bool:
    return layer.endswith(_ATTENTION)
