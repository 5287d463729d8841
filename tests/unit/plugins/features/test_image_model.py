"""Feature spaces of models: what they read, what they refuse, and where they come from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import AutoModel

from fgl.contracts.dataset import LabelledPixels
from fgl.contracts.progress import NullProgress
from fgl.core.plugin_manager import PluginManager
from fgl.errors import ModelError
from fgl.plugins.features.image_model import ImageModelSpace
from fgl.plugins.features.options import ImageModelOptions
from fgl.testing.contracts import fit_context
from tests.helpers import warm
from tests.helpers.hub import Hub
from tests.helpers.image_models import DIMENSIONS, SIDE, save_image_model


def extractor(folder: Path | str, **options: Any) -> Any:
    space: Any = ImageModelSpace(ImageModelOptions(model=str(folder), **options))
    return space.extractor({}, None, fit_context())


def prepared(pixels: Any, said: dict[str, Any]) -> torch.Tensor:
    """By hand what the image processor does with pixels that have the model's size."""
    mean, std = (torch.tensor(said[name]).view(3, 1, 1) for name in ("image_mean", "image_std"))
    return (torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255 - mean) / std


def pictures(count: int = 3, side: int = SIDE) -> Any:
    return np.random.default_rng(0).integers(0, 256, (count, side, side, 3)).astype(np.uint8)


def test_images_are_prepared_as_the_models_own_processor_says(tmp_path: Path) -> None:
    folder = save_image_model(tmp_path / "dino")
    said = json.loads((folder / "preprocessor_config.json").read_text())
    pixels = pictures()
    with torch.inference_mode():
        expected = AutoModel.from_pretrained(folder)(pixel_values=prepared(pixels, said)).pooler_output
    found = extractor(folder).features(pixels, NullProgress())
    assert np.abs(found - expected.numpy()).max() < 1e-5
    (folder / "preprocessor_config.json").write_text(json.dumps({**said, "image_mean": [0.9, 0.9, 0.9]}))
    assert np.abs(extractor(folder).features(pixels, NullProgress()) - found).max() > 1e-3


def test_images_of_another_size_are_brought_to_the_models(tmp_path: Path) -> None:
    folder = save_image_model(tmp_path / "dino")
    large = np.stack([np.asarray(Image.fromarray(one).resize((80, 80), 0)) for one in pictures()])
    assert extractor(folder).features(large, NullProgress()).shape == (3, DIMENSIONS["dinov2"])


def test_mean_pooling_is_the_mean_over_tokens_and_cls_the_first(tmp_path: Path) -> None:
    folder = save_image_model(tmp_path / "vit", "vit")
    found = {
        pooling: extractor(folder, pooling=pooling).features(pictures(), NullProgress()) for pooling in ("cls", "mean")
    }
    model = AutoModel.from_pretrained(folder)
    inputs = prepared(pictures(), json.loads((folder / "preprocessor_config.json").read_text()))
    with torch.inference_mode():
        last = model(pixel_values=inputs).last_hidden_state
    assert np.abs(found["mean"] - last.mean(1).numpy()).max() < 1e-5
    assert np.abs(found["cls"] - last[:, 0].numpy()).max() < 1e-5


def test_a_pooling_layer_without_weights_is_not_used(tmp_path: Path) -> None:
    """transformers would fill it with random numbers: other features every time."""
    folder = save_image_model(tmp_path / "vit", "vit", pooler=False)
    first, second = (extractor(folder).features(pictures(), NullProgress()) for _ in range(2))
    assert (first == second).all()
    assert (first == extractor(folder, pooling="cls").features(pictures(), NullProgress())).all()


def test_weights_that_are_missing_are_refused(tmp_path: Path) -> None:
    folder = save_image_model(tmp_path / "dino")
    weights = load_file(folder / "model.safetensors")
    lost = next(name for name in weights if "layer.1" in name)
    del weights[lost]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    # under the name that the library has for it, which is not that of the file in every version
    with pytest.raises(ModelError, match=r"lacks 1 of its \d+ weights \(encoder\.layer\.1\.attention"):
        extractor(folder)


def test_pickled_weights_are_refused(tmp_path: Path) -> None:
    folder = save_image_model(tmp_path / "dino")
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="no safetensors weights"):
        extractor(folder)


def test_a_model_without_an_image_processor_is_refused(tmp_path: Path) -> None:
    folder = save_image_model(tmp_path / "dino")
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(ModelError, match=r"preprocessor_config\.json"):
        extractor(folder)


def test_a_model_of_words_is_refused(writer: Path) -> None:
    with pytest.raises(ModelError, match=r"features\.model"):
        extractor(writer)


def test_another_model_has_another_digest(tmp_path: Path) -> None:
    digests = {extractor(save_image_model(tmp_path / str(seed), seed=seed)).describe()["digest"] for seed in (0, 1)} | {
        extractor(save_image_model(tmp_path / "again", seed=0)).describe()["digest"]
    }
    assert len(digests) == 2


def test_a_model_of_the_hub_is_pulled_at_its_commit_and_said(hub: Hub, tmp_path: Path) -> None:
    folder = save_image_model(tmp_path / "dino")
    (folder / "pytorch_model.bin").write_bytes(b"pickle")
    commit = hub.push("owner/dino", folder)
    code = """
import json, sys
from fgl.plugins.features.image_model import ImageModelSpace
from fgl.plugins.features.options import ImageModelOptions
from fgl.testing.contracts import fit_context
space = ImageModelSpace(ImageModelOptions(model="owner/dino"))
print(json.dumps(dict(space.extractor({}, None, fit_context()).describe())))
"""
    done = warm.run(code, env=hub.env(tmp_path / "home"))
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    assert (said["model"], said["commit"]) == ("owner/dino", commit)
    assert not any("pytorch_model.bin" in request.path and "/resolve/" in request.path for request in hub.log)


def test_penultimate_features_are_what_the_last_layer_reads() -> None:
    labels = np.arange(12, dtype=np.int64) % 4
    data = LabelledPixels(np.random.default_rng(1).integers(0, 256, (12, 32, 32, 3)).astype(np.uint8), labels)
    registry = PluginManager.load().registry
    networks: dict[str, dict[str, Any]] = {
        "regnet": {"embedding_size": 8, "hidden_sizes": [8, 12], "depths": [1, 1], "groups_width": 4},
        "vit": {
            "hidden_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "intermediate_size": 16,
            "patch_size": 16,
        },
    }
    for architecture, config in networks.items():
        options = {"architecture": architecture, "config": config, "image_size": 32, "epochs": 1, "dtype": "fp32"}
        model: Any = registry.create("classifier", "transformers", options).fit(data, None, fit_context())
        points = model.features(data.pixels, "last", NullProgress())
        weights = model.state("last")
        head = max(name for name in weights if name.startswith("classifier") and name.endswith("weight"))
        logits = points @ weights[head].T + weights[head.replace("weight", "bias")]
        assert (logits.argmax(1) == model.predict(data.pixels, "last", NullProgress())).all()
        assert points.shape[1] == weights[head].shape[1]
