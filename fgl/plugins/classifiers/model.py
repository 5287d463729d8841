"""A trained classifier: it predicts, provides its state, and saves itself in Hugging Face format."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from transformers import PreTrainedModel

from fgl.contracts.preparation import RESAMPLING
from fgl.contracts.progress import NullProgress
from fgl.errors import ModelError
from fgl.plugins._logging import quiet
from fgl.plugins.classifiers.augment import Augmenter
from fgl.plugins.classifiers.options import ClassifierOptions

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fgl.contracts.arrays import Array, Labels, Pixels
    from fgl.contracts.classifier import CheckpointName
    from fgl.contracts.progress import Progress


State = dict[str, torch.Tensor]


class Network:
    """A model on its device, with the number format chosen for it."""

    def __init__(self, model: PreTrainedModel, options: ClassifierOptions, device: torch.device) -> None:
        self.options, self.device = options, device
        layout = torch.channels_last if options.channels_last else torch.contiguous_format
        self.model = torch.nn.Module.to(model, device)
        self.model.to(memory_format=layout)  # type: ignore[call-arg]
        self.layout = layout
        self.low_precision = options.dtype == "bf16" or (options.dtype == "auto" and fast_bf16(device))

    def logits(self, images: torch.Tensor, exact: bool = False) -> torch.Tensor:
        """float32 [n, 3, side, side] → float32 [n, classes]. exact: compute in float32, even if bf16 is faster."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.low_precision and not exact):
            logits: torch.Tensor = self.model(pixel_values=images.contiguous(memory_format=self.layout)).logits
        return logits.float()

    def predict(self, pixels: Pixels, augmenter: Augmenter, progress: Progress, label: str) -> torch.Tensor:
        """Prepared images, uint8 [n, side, side, 3] → class ids on the CPU, int64 [n]."""
        return self.outputs(pixels, augmenter, progress, label).argmax(1)

    def outputs(
        self, pixels: Pixels, augmenter: Augmenter, progress: Progress, label: str, exact: bool = True
    ) -> torch.Tensor:
        """Prepared images, uint8 [n, side, side, 3] → logits on the CPU, float32 [n, classes].

        exact: compute in float32, as users of the exported folder do.
        """
        self.model.train(False)
        size = max(2 * self.options.batch_size, 64)
        logits = [torch.empty(0, int(self.model.config.num_labels or 0))]
        with torch.inference_mode(), float32(), progress.track(label, len(pixels)) as task:
            for start in range(0, len(pixels), size):
                # a copy: pixels may be a view of a file, which torch would treat as writable
                batch = torch.tensor(pixels[start : start + size], device=self.device)
                logits.append(self.logits(augmenter.evaluate(batch), exact).cpu())
                task.advance(len(batch))
        return torch.cat(logits)

    def features(self, pixels: Pixels, augmenter: Augmenter, progress: Progress, label: str) -> torch.Tensor:
        """Prepared images, uint8 [n, side, side, 3] → inputs of the last linear layer, float32 [n, d] on the CPU.

        Raises ModelError if the network ends in another kind of layer.
        """
        heads = [
            module
            for module in self.model.modules()
            if isinstance(module, torch.nn.Linear) and module.out_features == self.model.config.num_labels
        ]
        if not heads:
            raise ModelError(
                f"{self.model.config.model_type} does not end in a linear layer: it has no features to give"
            )
        read: list[torch.Tensor] = []

        def keep(_: torch.nn.Module, given: tuple[torch.Tensor, ...]) -> None:
            read.append(given[0].float().flatten(1).cpu())

        handle = heads[-1].register_forward_pre_hook(keep)
        try:
            self.predict(pixels, augmenter, progress, label)
        finally:
            handle.remove()
        return torch.cat(read) if read else torch.empty(0, heads[-1].in_features)


class Trained:
    """What `TransformersClassifier` returns (contract `TrainedClassifier`).

    Keeps the weights of the epoch with the best validation top-1 (`selected`) and of the last one (`last`); without a
    validation set both are the last.
    """

    def __init__(
        self, network: Network, selected: State, last: State, history: Sequence[Mapping[str, float]] = ()
    ) -> None:
        self._network, self._states, self._history = network, {"selected": selected, "last": last}, tuple(history)
        options = network.options
        self._augmenter = Augmenter(options, options.image_size, network.device, 0, options.eval_resize)

    def predict(self, pixels: Pixels, which: CheckpointName = "selected", progress: Progress | None = None) -> Labels:
        """uint8 [n, h, w, 3] → class ids, int64 [n]."""
        self._network.model.load_state_dict(self._states[which])
        labels: NDArray[np.int64] = self._network.predict(
            self._augmenter.prepare(pixels), self._augmenter, progress or NullProgress(), "predict"
        ).numpy()
        return labels

    def features(self, pixels: Pixels, which: CheckpointName = "selected", progress: Progress | None = None) -> Array:
        """uint8 [n, h, w, 3] → inputs of the last layer, float32 [n, d]."""
        self._network.model.load_state_dict(self._states[which])
        features = self._network.features(
            self._augmenter.prepare(pixels), self._augmenter, progress or NullProgress(), "features"
        )
        return np.asarray(features.numpy(), dtype=np.float32)

    def logits(self, pixels: Pixels, which: CheckpointName = "selected", progress: Progress | None = None) -> Array:
        """uint8 [n, h, w, 3] → logits, float32 [n, classes]."""
        self._network.model.load_state_dict(self._states[which])
        logits = self._network.outputs(
            self._augmenter.prepare(pixels), self._augmenter, progress or NullProgress(), "query"
        )
        return np.asarray(logits.numpy(), dtype=np.float32)

    def state(self, which: CheckpointName = "selected") -> Mapping[str, Array]:
        """Copies of parameters and buffers by name; floating ones as float32."""
        return {
            name: (tensor.float() if tensor.is_floating_point() else tensor).cpu().numpy().copy()
            for name, tensor in self._states[which].items()
        }

    def trained(self) -> Sequence[str]:
        """Names of the parameters that are not frozen; the other arrays of `state` are buffers."""
        state = self._states["last"]
        parameters = self._network.model.named_parameters()
        return [name for name, weight in parameters if weight.requires_grad and name in state]

    def history(self) -> Sequence[Mapping[str, float]]:
        """One entry for each epoch: epoch (from 1), loss, and, given a validation set, validation_top1."""
        return self._history

    def size_bytes(self) -> int:
        """Size of parameters and buffers in their own dtype, in bytes: what FedAvg sends in one direction."""
        return sum(tensor.numel() * tensor.element_size() for tensor in self._states["last"].values())

    def save(self, folder: Path, which: CheckpointName = "selected") -> None:
        """Write config.json, model.safetensors and preprocessor_config.json: `AutoModelForImageClassification` and
        `AutoImageProcessor` open the folder, with the classes named."""
        self._network.model.load_state_dict(self._states[which])
        with quiet():
            self._network.model.save_pretrained(folder)
        text = json.dumps(image_processor(self._network.options), indent=2, sort_keys=True, allow_nan=False) + "\n"
        (folder / "preprocessor_config.json").write_text(text)


def image_processor(options: ClassifierOptions) -> dict[str, object]:
    """The configuration of a transformers image processor that does what `Augmenter.prepare` and `evaluate` do."""
    side = options.image_size
    return {
        "image_processor_type": "CLIPImageProcessor",
        "do_convert_rgb": True,
        "do_resize": True,
        "resample": int(RESAMPLING),
        "size": {"shortest_edge": options.eval_resize or side},
        "do_center_crop": True,
        "crop_size": {"height": side, "width": side},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(options.mean),
        "image_std": list(options.std),
    }


@contextmanager
def float32() -> Iterator[None]:
    """Inside, float32 means float32, also on GPUs that would round the factors of convolutions to TF32."""
    cudnn = torch.backends.cudnn
    with cudnn.flags(enabled=cudnn.enabled, benchmark=False, deterministic=True, allow_tf32=False):
        yield


def fast_bf16(device: torch.device) -> bool:
    """Whether bf16 is faster than fp32 on the device: GPUs from Ampere on, and CPUs with bf16 instructions."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device)[0] >= 8
    if device.type == "cpu":
        # the oldest torch that fgl supports has no get_capabilities: fp32 there
        capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
        return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
    return False
