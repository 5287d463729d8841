"""Pooled features of any transformers image model. The model's own image processor prepares the images."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoModel

from fgl import hub
from fgl.errors import ModelError
from fgl.hub import cache
from fgl.plugins._logging import quiet
from fgl.plugins._weights import check_files, check_numbers, complain, identity
from fgl.plugins.features.metrics import Comparing
from fgl.plugins.features.options import MODEL_FILES, ImageModelOptions
from fgl.text import first_line

if TYPE_CHECKING:
    from fgl.contracts.arrays import Array, Pixels
    from fgl.contracts.classifier import Classifier, FitContext
    from fgl.contracts.dataset import LabelledPixels
    from fgl.contracts.progress import Progress


class ImageModelSpace:
    """Contract `FeatureSpace`. The model is pulled wherever it is used: at the server, and at each client."""

    def __init__(self, options: ImageModelOptions) -> None:
        self.options = options

    def learns(self) -> bool:
        return False

    def learn(self, data: LabelledPixels, classifier: Classifier, context: FitContext) -> Mapping[str, Array]:
        return {}

    def extractor(self, state: Mapping[str, Array], classifier: Classifier, context: FitContext) -> Pooled:
        name = self.options.model
        if not hub.is_local(name) and (Path(name).expanduser().exists() or not cache.is_hub_id(name)):
            raise ModelError(
                f"features.model: {name} is neither a folder nor a Hub id; expected one of the two, such as "
                "facebook/dinov2-small"
            )
        folder = hub.resolve(self.options.model, self.options.revision, MODEL_FILES)
        return Pooled(self.options, folder, context.device)


class Pooled(Comparing):
    """Contract `Extractor`. Raises ModelError if the model cannot be loaded or does not take images."""

    def __init__(self, options: ImageModelOptions, folder: Path, device: str) -> None:
        self._options, self._folder, self._device = options, folder, device
        self.neighbors = options.neighbors
        self._model, self._pooled = _load(options, folder, device)
        self._images = _processor(options.model, folder)
        self._digest = _digest(folder)
        side = np.zeros((1, 32, 32, 3), dtype=np.uint8)
        self._dimensions = int(self._batch(side).shape[1])

    def describe(self) -> Mapping[str, object]:
        use = self._options.models()[0]
        size = getattr(self._images, "crop_size", None) or getattr(self._images, "size", None)
        return {
            "space": "image-model",
            "model": hub.repository_of(self._folder) or self._options.model,
            "kind": str(self._model.config.model_type),
            "commit": hub.commit_of(self._folder),
            "digest": self._digest,
            "license": use.license,
            "dimensions": self._dimensions,
            "pooling": self._options.pooling,
            "dtype": str(self._model.dtype).removeprefix("torch."),
            "image_size": _plain(size),
        }

    def features(self, pixels: Pixels, progress: Progress) -> Array:
        points = [np.empty((0, self._dimensions), dtype=np.float32)]
        with progress.track("features", len(pixels)) as task:
            for start in range(0, len(pixels), self._options.batch_size):
                batch = pixels[start : start + self._options.batch_size]
                points.append(self._batch(batch))
                task.advance(len(batch))
        return np.concatenate(points)

    def _batch(self, pixels: Pixels) -> Array:
        """float32 [n, d]."""
        # Filled up to a full batch, so that rounding does not depend on the other images.
        short = self._options.batch_size - len(pixels)
        filled = np.concatenate([pixels, np.repeat(pixels[-1:], short, axis=0)])
        try:
            with quiet(), torch.inference_mode():
                images = [Image.fromarray(one) for one in filled]
                inputs = self._images(images=images, return_tensors="pt")["pixel_values"]
                points = self._read(inputs.to(self._device, self._model.dtype))
        except torch.cuda.OutOfMemoryError as error:
            raise ModelError(
                f"features.batch_size: {len(filled)} images at once do not fit into the memory of {self._device}; "
                "expected a smaller number"
            ) from error
        except (RuntimeError, ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
            raise ModelError(
                f"features.model: {self._options.model} ({self._model.config.model_type}) gives no features of "
                f"images: {first_line(error)}; expected a model of images, such as facebook/dinov2-small"
            ) from error
        return np.asarray(points[: len(pixels)].float().cpu().numpy(), dtype=np.float32)

    def _read(self, inputs: torch.Tensor) -> torch.Tensor:
        """[n, d], by the selected pooling."""
        pooling = self._options.pooling
        if hasattr(self._model, "get_image_features"):  # models such as CLIP: images and texts in one space
            if pooling == "auto":
                given = self._model.get_image_features(pixel_values=inputs)
                pooled = given if isinstance(given, torch.Tensor) else given.pooler_output
                return pooled.flatten(1)
            output = self._model.vision_model(pixel_values=inputs)
        else:
            output = self._model(pixel_values=inputs)
        pooled = getattr(output, "pooler_output", None)
        if pooling == "auto" and self._pooled and pooled is not None:
            return torch.as_tensor(pooled).flatten(1)
        last: torch.Tensor = output.last_hidden_state
        if last.ndim == 4:  # a map of [n, d, h, w]
            return last.mean((2, 3))
        return last.mean(1) if pooling == "mean" else last[:, 0]


def _load(options: ImageModelOptions, folder: Path, device: str) -> tuple[Any, bool]:
    """(the model, whether its own pooling layer has weights). Raises ModelError."""
    name = options.model
    if (folder / "adapter_config.json").exists():  # transformers would load what it names, unseen by any digest
        raise ModelError(f"features.model: {name} is an adapter to another model; give the folder of the merged one")
    if not any(folder.glob("*.safetensors")):
        raise ModelError(
            f"features.model: {name} has no safetensors weights, and fgl opens no others, since pickle can run code; "
            "name a `revision` that has them, or save_pretrained it to a folder where you trust it"
        )
    check_files(sorted(folder.glob("*.safetensors*")), f"features.model: {name} is damaged", folder)
    auto = torch.float16 if device.startswith("cuda") else torch.float32
    dtypes = {"auto": auto, "fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
    try:
        with quiet():
            model, info = AutoModel.from_pretrained(
                folder,
                dtype=dtypes[options.dtype],
                use_safetensors=True,
                trust_remote_code=False,
                local_files_only=True,
                output_loading_info=True,
            )
            model = model.eval().to(device)
    except Exception as error:  # OSError, ValueError, KeyError, and what safetensors and torch raise
        raise ModelError(
            f"features.model: cannot load {name}: {first_line(error)}; expected a folder or Hub id of a transformers "
            "image model with config.json and safetensors weights"
        ) from error
    complain(model, info, f"features.model: {name}")
    check_numbers(model, f"features.model: {name}", sorted(folder.glob("*.safetensors")))
    return model, not info["missing_keys"]


def _processor(name: str, folder: Path) -> Any:
    loader: Any = AutoImageProcessor  # transformers leaves it untyped
    try:
        with quiet():
            return loader.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False, **_without_torchvision()
            )
    except Exception as error:  # OSError, ValueError, ImportError and what its file makes it raise
        raise ModelError(
            f"features.model: {name} has no image processor that can be loaded: {first_line(error)}; expected "
            "preprocessor_config.json beside the weights, which says size, mean and standard deviation"
        ) from error


def _without_torchvision() -> dict[str, Any]:
    """Prepare images with Pillow, even if torchvision is installed: resampling differs between the two."""
    if find_spec("transformers.image_processing_backends") is not None:
        return {"backend": "pil"}
    return {"use_fast": False}


def _digest(folder: Path) -> str:
    """sha256 that identifies the model: over names and contents of all files that were loaded."""
    loaded = sorted(path for path in folder.iterdir() if any(map(path.match, MODEL_FILES)))
    return identity(path for path in loaded if path.name != "README.md")


def _plain(size: Any) -> object:
    """An image processor's size as JSON: newer versions use a class of their own for it."""
    if size is None:
        return None
    found = dict(size) if isinstance(size, Mapping) else dict(vars(size))
    return {name: value for name, value in found.items() if value is not None}
