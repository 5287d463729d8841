"""Builds transformers image classifiers, with errors that say what to change."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from transformers import AutoConfig, AutoModelForImageClassification, PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES

from fgl.errors import ModelError, suggestion
from fgl.hub import is_local, resolve
from fgl.hub.cache import is_hub_id
from fgl.plugins._logging import quiet
from fgl.plugins._weights import check_files, check_numbers, complain, unused
from fgl.plugins.classifiers.options import PRETRAINED_FILES, ClassifierOptions
from fgl.text import first_line

if TYPE_CHECKING:
    from numpy.typing import NDArray


def build(options: ClassifierOptions, class_names: Sequence[str], seed: int) -> PreTrainedModel:
    """Build a float32 model on the CPU with one output per class and the class names as labels.

    Weights from scratch are determined by `seed`. Raises ModelError for an architecture, configuration or weights that
    cannot be used as requested.
    """
    labels = {
        "id2label": dict(enumerate(class_names)),
        "label2id": {name: index for index, name in enumerate(class_names)},
    }
    with seeded(seed, torch.device("cpu")):
        model = _from_weights(options, labels) if options.pretrained else _from_scratch(options, labels)
        _probe(model, options)
    return model


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Inside, `seed` determines global random numbers (initial weights, dropout); outside, they are unchanged."""
    with torch.random.fork_rng(devices=_cuda(device)):
        reseed(seed, device)
        yield


def reseed(seed: int, device: torch.device) -> None:
    """Restart the global random generators, within `seeded`."""
    # Not torch.manual_seed: it would also reseed devices whose state is not restored.
    torch.default_generator.manual_seed(seed)
    for index in _cuda(device):
        torch.cuda.default_generators[index].manual_seed(seed)


def _cuda(device: torch.device) -> list[int]:
    if device.type != "cuda":
        return []
    return [torch.cuda.current_device() if device.index is None else device.index]


def load_state(model: torch.nn.Module, state: Mapping[str, NDArray[np.generic]], source: str) -> None:
    """Load arrays by name into `model`. Raises ModelError if names or shapes differ. source: for errors."""
    wanted = model.state_dict()
    missing, unknown = sorted(wanted.keys() - state.keys()), sorted(state.keys() - wanted.keys())
    misshapen = [name for name in wanted.keys() & state.keys() if tuple(wanted[name].shape) != state[name].shape]
    if missing or unknown or misshapen:
        raise ModelError(
            f"{source} does not fit the classifier: {len(missing)} arrays missing, {len(unknown)} unknown, "
            f"{len(misshapen)} of another shape (first: {[*missing, *unknown, *sorted(misshapen)][0]}); "
            "expected the state of a classifier with the same options and class names"
        )
    model.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in state.items()})


def _from_scratch(options: ClassifierOptions, labels: dict[str, Any]) -> PreTrainedModel:
    architecture = str(options.architecture)
    if architecture not in MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES or architecture == "timm_wrapper":
        known = sorted(MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES.keys() - {"timm_wrapper"})
        raise ModelError(
            f"unknown architecture {architecture!r}{suggestion(architecture, known)}; "
            f"expected a transformers model_type that classifies images: {', '.join(known)}"
        )
    default = AutoConfig.for_model(architecture)
    known = sorted({*default.to_dict(), *default.attribute_map})
    for key in options.config:
        if key not in known:
            raise ModelError(
                f"{architecture} has no configuration key {key!r}{suggestion(key, known)}; "
                f"expected one of those at https://huggingface.co/docs/transformers/model_doc/{architecture}"
            )
    config = dict(options.config)
    if hasattr(default, "image_size"):
        # Position embeddings are for one image size, which is the training size.
        config.setdefault("image_size", options.image_size)
    try:
        built: PreTrainedModel = AutoModelForImageClassification.from_config(  # type: ignore[no-untyped-call]
            AutoConfig.for_model(architecture, **config, **labels), dtype=torch.float32
        )
    except Exception as error:  # transformers validates little: a wrong value surfaces as whatever its layers raise
        raise ModelError(f"{architecture} cannot be built with config {options.config}: {first_line(error)}") from error
    return built


def _from_weights(options: ClassifierOptions, labels: dict[str, Any]) -> PreTrainedModel:
    source = str(options.pretrained)
    if (source.startswith((".", "/", "~")) or source.count("/") > 1) and not Path(source).is_dir():
        raise ModelError(f"pretrained: no folder {source}; expected a folder with config.json and model.safetensors")
    folder = source
    if is_hub_id(source) and not is_local(source):
        folder = str(resolve(source, options.revision, PRETRAINED_FILES, key="pretrained"))
    check_files(sorted(Path(folder).glob("*.safetensors*")), f"pretrained: {source} is damaged", Path(folder))
    try:
        with quiet():
            model, info = AutoModelForImageClassification.from_pretrained(
                folder,
                dtype=torch.float32,
                ignore_mismatched_sizes=True,  # the head has another number of classes
                use_safetensors=True,
                trust_remote_code=False,
                output_loading_info=True,
                **labels,
            )
    except Exception as error:  # OSError, ValueError, and what the Hub client and safetensors raise
        raise ModelError(
            f"pretrained: cannot load {source}: {first_line(error)}; expected a folder or Hub id of a transformers "
            "image classifier with safetensors weights"
        ) from error
    assert isinstance(model, PreTrainedModel)
    complain(model, info, f"pretrained: {source}", _is_fresh)
    check_numbers(model, f"pretrained: {source}")
    return model


def _is_fresh(model: PreTrainedModel, name: str) -> bool:
    """Whether the weights of that name are trained from scratch: those of the head, whose number of classes differs."""
    return unused(model, name) or not name.startswith(f"{model.base_model_prefix}.")


def _probe(model: PreTrainedModel, options: ClassifierOptions) -> None:
    """Run one image through the model: sizes that do not fit must fail here, with the option that fixes it."""
    side = options.image_size
    try:
        model.train(False)
        with torch.inference_mode():
            logits = model(pixel_values=torch.zeros(1, 3, side, side)).logits
    except Exception as error:
        raise ModelError(
            f"{model.config.model_type} does not take RGB images of {side}x{side} pixels: {first_line(error)}; "
            "change image_size or config"
        ) from error
    if logits.shape != (1, model.config.num_labels):
        raise ModelError(
            f"{model.config.model_type} gives logits of shape {tuple(logits.shape)}; expected one per class"
        )
