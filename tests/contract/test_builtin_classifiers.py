"""The built-in classifiers keep the contract that third parties are tested against."""

from __future__ import annotations

import pytest
import torch

from fgl.plugins.classifiers.classifier import TransformersClassifier
from fgl.plugins.classifiers.options import ClassifierOptions
from fgl.testing.contracts import ClassifierContract

SMALL = {"image_size": 32, "epochs": 3, "batch_size": 16, "optimizer": "adamw", "lr": 0.01, "flip": True}
REGNET = {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "groups_width": 8, "layer_type": "x"}
VIT = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "patch_size": 8,
    "hidden_dropout_prob": 0.1,
}


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class TestRegNet(ClassifierContract):
    """With batch normalization, whose running statistics are buffers."""

    make = staticmethod(
        lambda: TransformersClassifier(ClassifierOptions(architecture="regnet", config=REGNET, noise=0.02, **SMALL))
    )


class TestVisionTransformerWithDropout(ClassifierContract):
    make = staticmethod(
        lambda: TransformersClassifier(ClassifierOptions(architecture="vit", config=VIT, ema=0.9, **SMALL))
    )
