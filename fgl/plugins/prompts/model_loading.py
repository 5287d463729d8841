"""Finds a transformers model for captioning or writing, and loads it without pickle or code."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoTokenizer

from fgl import hub
from fgl.contracts.options import ModelRef
from fgl.errors import ModelError
from fgl.hub import cache, state
from fgl.plugins._logging import quiet
from fgl.plugins._weights import check_files, check_names, check_numbers, complain, identity
from fgl.plugins.prompts.options import MODEL_FILES, Precision
from fgl.text import first_line

CAPTIONER = "a model that captions images"
WRITER = "a causal language model"


def find(model: str, revision: str | None, kind: str) -> Path:
    """The folder of `model`, pulled if necessary. kind: what it should be, for messages.

    Raises ModelError if it does not exist, or has no safetensors weights.
    """
    expected = f"a folder or a Hub id (owner/name) of {kind} of transformers"
    folder = hub.resolve(model, revision, MODEL_FILES, expected=expected)
    if (folder / "adapter_config.json").exists():  # transformers would load what it names, unseen by any digest
        raise ModelError(f"model: {model} is an adapter to another model; merge the two, and give the folder of that")
    if not any(folder.glob("*.safetensors")):
        at = f" at revision {revision}" if revision else ""
        raise ModelError(
            f"model: {model}{at} has no safetensors weights, and fgl opens no others, since pickle can run code; name "
            "a `revision` that has them (the Hub keeps conversions as pull requests: see the model's Community page), "
            "or load it once where you trust it, save_pretrained it to a folder, and give that folder as model"
        )
    check_files(sorted(folder.glob("*.safetensors*")), f"model: {model} is damaged", folder)
    return folder


def found_here(model: str, revision: str | None, kind: str) -> Path | None:
    """As `find`, without a network: None for a Hub model that is missing from the cache, or incomplete."""
    if hub.is_local(model) or not cache.is_hub_id(model):
        return find(model, revision, kind)
    use = ModelRef(model, revision, files=MODEL_FILES)
    return None if state.folder_of(use, use.files) is None else find(model, revision, kind)


def buildable(auto_class: Any, folder: Path, model: str) -> Any:
    """The configuration of a model, checked with the headers of its weights: no numbers are read. Raises ModelError if
    `load` could not build the model."""
    try:
        with quiet():
            config = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
            if type(config) not in auto_class._model_mapping:
                raise ValueError(f"it is of the kind {config.model_type!r}")
            try:
                with torch.device("meta"):  # shapes without numbers
                    auto_class.from_config(config, trust_remote_code=False)
            except (NotImplementedError, RuntimeError) as error:
                if "meta" not in str(error):  # some kinds compute with numbers while they are built
                    raise
    except Exception as error:  # OSError, ValueError, KeyError, and what a wrong configuration makes its model raise
        raise _cannot_load(auto_class, model, error) from error
    try:
        check_names(auto_class.from_pretrained, folder, sorted(folder.glob("*.safetensors")), f"model: {model}")
    except ModelError:
        raise
    except Exception as error:  # as above
        raise _cannot_load(auto_class, model, error) from error
    return config


def load(auto_class: Any, folder: Path, model: str, device: str, dtype: Precision) -> Any:
    """Load a model in evaluation mode.

    Args:
        auto_class: The class of transformers to load it with.
        folder: Its folder.
        model: The user's name for it, for errors.
        device: Where to load it.
        dtype: Its number format.

    Raises ModelError.
    """
    try:
        with quiet():
            loaded, info = auto_class.from_pretrained(
                folder,
                dtype=precision(dtype, device),
                use_safetensors=True,
                trust_remote_code=False,
                local_files_only=True,
                output_loading_info=True,
            )
            complain(loaded, info, f"model: {model}")
            loaded = loaded.eval().to(device)
    except ModelError:
        raise
    except Exception as error:  # OSError, ValueError, KeyError, and what safetensors and torch raise
        raise _cannot_load(auto_class, model, error) from error
    check_numbers(loaded, f"model: {model}", sorted(folder.glob("*.safetensors")))
    return loaded


def _cannot_load(auto_class: Any, model: str, error: BaseException) -> ModelError:
    wanted = CAPTIONER if "Image" in auto_class.__name__ else WRITER
    return ModelError(
        f"model: cannot load {model}: {first_line(error)}; expected a folder or Hub id of {wanted} with config.json "
        "and safetensors weights"
    )


def load_tokenizer(folder: Path, model: str, config: Any) -> Any:
    """Load a model's tokenizer. Raises ModelError if its files are missing, or belong to another model."""
    try:
        with quiet():
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # OSError, ValueError, ImportError and what the files make them raise
        raise ModelError(
            f"model: {model} has no tokenizer that can be loaded: {first_line(error)}; expected its files beside the "
            "weights"
        ) from error
    check_tokenizer(tokenizer, config, model)
    return tokenizer


def check_tokenizer(tokenizer: Any, config: Any, model: str) -> None:
    """Raise ModelError for a tokenizer that knows too few of the model's tokens: transformers builds an empty one if
    its files are missing."""
    needed = getattr(config.get_text_config(decoder=True), "vocab_size", 0)
    if 2 * len(tokenizer) < needed:
        raise ModelError(
            f"model: the tokenizer of {model} has {len(tokenizer)} tokens and its weights {needed}; expected the "
            "tokenizer's files (tokenizer.json, or vocab.txt and the like) beside the weights"
        )


def precision(dtype: Precision, device: str) -> torch.dtype:
    """The dtype that an option stands for. auto: fp16 on a GPU, as in the paper's code; fp32 elsewhere, where half
    precision is slow or not supported."""
    if dtype == "auto":
        return torch.float16 if device.startswith("cuda") else torch.float32
    return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[dtype]


def digest(folder: Path) -> str:
    """sha256 that identifies a model: of the commit if the folder is in the Hub's cache, else of all its files."""
    commit = hub.commit_of(folder)
    if commit is not None:
        return hashlib.sha256(f"{folder.parent.parent.name}@{commit}".encode()).hexdigest()
    files = sorted(path for path in folder.iterdir() if path.is_file() and any(map(path.match, MODEL_FILES)))
    return identity(files)


__all__ = [
    "CAPTIONER",
    "WRITER",
    "buildable",
    "check_tokenizer",
    "digest",
    "find",
    "found_here",
    "load",
    "load_tokenizer",
    "precision",
]
