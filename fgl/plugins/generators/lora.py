"""LoRA weights of the denoiser: checked by their names before any work, and fused into it."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import safe_open

from fgl.errors import ModelError
from fgl.hub.weights import WeightsError, tensors
from fgl.io import strict_json
from fgl.plugins._logging import quiet_diffusers
from fgl.plugins._weights import check_content
from fgl.text import first_line, plain

if TYPE_CHECKING:
    from fgl.plugins.generators.model_folder import ModelFolder

BASE = "fgl_base"
"""Key of a file's metadata: the model, and the sha256 of the denoiser, that its weights were trained beside."""
_OF_TEXT = ("text_encoder", "lora_te", "te_", "te1_", "te2_")
_DENOISER = ("unet.", "lora_unet_")
# Names of the two factors of a layer, and of its scale, in diffusers, peft, and kohya's scripts.
_FIRST = (".lora_A.weight", ".lora_down.weight", "lora.down.weight", ".lora_linear_layer.down.weight")
_SECOND = (".lora_B.weight", ".lora_up.weight", "lora.up.weight", ".lora_linear_layer.up.weight")
_SCALE = (".alpha", ".lora_magnitude_vector", ".lora_magnitude_vector.weight")


def check_lora(file: Path, name: str, *, content: bool = False) -> None:
    """Raise ModelError if some of the weights cannot be used.

    That is so for damaged files, other kinds of adapter, and weights of the text encoder, since clients encode with
    the plain one.

    Args:
        file: The weights.
        name: The user's name for them.
        content: Whether to read all numbers, which must be finite.
    """
    try:
        keys = list(tensors(file))
    except WeightsError as error:
        raise ModelError(f"lora: {name} does not fit the denoiser: {plain(file.name)} {error}") from error
    of_text = [key for key in keys if key.startswith(_OF_TEXT)]
    if of_text:
        raise ModelError(
            f"lora: {name} changes the text encoder as well as the denoiser ({len(of_text)} of {len(keys)} weights, "
            f"such as {plain(of_text[0], 80)}), and clients would have to have it; expected LoRA weights of only "
            "the denoiser, such as an LCM-LoRA: leave the others out if the denoiser's work without them"
        )
    others = [key for key in keys if "dora_scale" in key or not key.endswith((*_FIRST, *_SECOND, *_SCALE))]
    if others and all(key.startswith(_DENOISER) for key in keys):
        raise ModelError(
            f"lora: {name} has {len(others)} weights that do not belong to a LoRA, such as {plain(others[0], 80)}; "
            "expected low-rank pairs (lora_A and lora_B, or lora_down, lora_up and alpha), and no LoHa, LoKr or DoRA"
        )
    if content:
        check_content([file], f"lora: {name}")


def base_metadata(folder: ModelFolder) -> dict[str, str]:
    """What a LoRA file says of the denoiser that it was trained beside. One key: safetensors writes several in an order
    that changes."""
    return {BASE: strict_json.dumps({"model": Path(folder.name).name, "unet": folder.unet_digest()}, sort_keys=True)}


def check_base(file: Path, name: str, folder: ModelFolder) -> None:
    """Raise ModelError if LoRA weights state another denoiser than the folder's. Only those that fgl trained state one;
    others are taken at their names' word.

    name: the user's name for them.
    """
    with safe_open(file, "np") as weights:
        text = (weights.metadata() or {}).get(BASE)
    if text is None:
        return
    try:
        stated = strict_json.loads(text)
        model, unet = str(stated["model"]), str(stated["unet"])
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ModelError(f"lora: {name} does not say which model it is for ({BASE} is damaged)") from error
    here = folder.unet_digest()
    if unet != here:
        raise ModelError(
            f"lora: {name} was trained beside the denoiser of {plain(model, 80)} (sha256 {plain(unet[:12])}), and that "
            f"of {folder.name} is another one (sha256 {here[:12]}); expected the model that was adapted"
        )


def fuse_lora(pipeline: Any, file: Path, name: str, scale: float) -> None:
    """Add LoRA weights to the pipeline's denoiser permanently.

    Args:
        pipeline: The pipeline.
        file: The weights.
        name: The user's name for them, for errors.
        scale: Their strength.

    Raises ModelError as `check_lora` does, and if the denoiser lacks some of their layers.
    """
    if find_spec("peft") is None:
        raise ModelError("lora: needs the package peft: pip install peft (fgl's extra lora)")
    check_lora(file, name, content=True)
    given: dict[str, Any] = {"weight_name": file.name, "local_files_only": True, "use_safetensors": True}
    # the XL pipeline renames the blocks of some files by this, so the count must too
    renamed = {"unet_config": pipeline.unet.config} if hasattr(pipeline, "text_encoder_2") else {}
    try:
        with quiet_diffusers():
            state = pipeline.lora_state_dict(file.parent, **given, **renamed)
            wanted = _layers(state[0] if isinstance(state, tuple) else state)
            pipeline.load_lora_weights(file.parent, **given)
            # Weights that do not fit are dropped with only a notice; if all are, the images are the plain model's.
            taken = sum(1 for module in pipeline.unet.modules() if getattr(module, "lora_A", None))
            if not wanted or taken != wanted:
                raise ModelError(
                    f"lora: {name} is for {wanted} layers, of which this denoiser has {taken}; expected LoRA "
                    "weights made for this kind of model, with keys that begin with unet or lora_unet"
                )
            pipeline.fuse_lora(lora_scale=scale, safe_fusing=True)
            pipeline.unload_lora_weights()
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(f"lora: {name} does not fit the denoiser: {first_line(error)}") from error


def _layers(keys: Iterable[str]) -> int:
    """How many layers the LoRA weights are for. Layers of other networks count too, and then match nothing. keys: as
    diffusers has renamed them."""
    names = list(keys)
    return sum(key.endswith(_FIRST) or not key.startswith("unet.") for key in names)
