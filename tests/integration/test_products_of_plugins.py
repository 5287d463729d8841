"""A kind of product that fgl does not know: three parts of an outside plugin, and no change to the core."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import fgl
from fgl.core.orchestrator import digest
from fgl.core.synthesis.shards import read_shards
from fgl.errors import BrokenPluginError, TooFewUploadsError
from tests.helpers.installed import install

PLUGIN = '''
import numpy as np
from fgl import (
    ArrayBatch, ArraySpec, Component, LabelledArrays, Prepared, Preparation, Product, Prompt, UploadSchema, hookimpl
)
from fgl.contracts.product import features_of


class ColourStrategy:
    """The mean colour of the left and the right half of each class."""

    def prompts(self, context):
        colours = features_of(context.images, context.generator(), context.device, context.progress)
        labels = context.images.labels
        held = np.unique(labels).tolist()
        prompts = [Prompt(one, "", weight=int((labels == one).sum())) for one in held]
        means = [colours[labels == one].mean(axis=0) for one in held]
        return Prepared(prompts, {"colours": np.stack(means) if means else np.empty((0, 2, 3))})


class ColourGenerator:
    def declare(self):
        return UploadSchema((ArraySpec("colours", (2, 3)),), "halves")

    def product(self):
        return Product("colours", (2, 3), "float32")

    def preparation(self):
        return Preparation(8, 8, 8)

    def feature_space(self):
        return {"halves": 1}

    def image_features(self, device):
        return self

    def features(self, pixels, progress):
        halves = [pixels[:, :, :4], pixels[:, :, 4:]]
        return np.stack([half.mean((1, 2)) / 255 for half in halves], axis=1).astype(np.float32)

    def fingerprint(self):
        return "a" * 64

    def encoding(self):
        return {}

    def rounding(self, device):
        return {}

    def describe(self):
        return {"model": "colours of halves", "license": "none"}

    def encoder(self, device):
        return self

    def encode(self, prompts):
        raise NotImplementedError

    def truncated(self, prompts):
        return 0

    def synthesizer(self, device):
        return self

    def synthesize(self, shard, conditioning, progress):
        for item in shard.items:
            mean = np.asarray(conditioning.gather("colours", [item.conditioning])[0], np.float32)
            noise = np.random.default_rng(item.seed).normal(0, 0.01, (1, 2, 3)).astype(np.float32)
            progress(1)
            yield ArrayBatch(SPOIL(mean[None] + noise))

    def notes(self):
        return {}


SPOIL = lambda values: values


class NearestColour:
    """The class whose mean colours are nearest."""

    def check(self, context):
        assert context.product.shape == (2, 3)

    def fit(self, train, validation, context):
        assert isinstance(train, LabelledArrays)
        held = [train.values[train.labels == one] for one in range(len(context.class_names))]
        means = [one.mean(axis=0) if len(one) else np.full((2, 3), 9.0) for one in held]
        return Fitted({"means": np.stack(means).astype(np.float32)})

    def initial(self, context):
        return Fitted({"means": np.zeros((len(context.class_names), 2, 3), np.float32)})

    def restore(self, state, context):
        return Fitted(dict(state))


class Fitted:
    def __init__(self, state):
        self._state = state

    def predict(self, pixels, which, progress):
        away = np.abs(pixels[:, None] - self._state["means"]).sum(axis=(2, 3))
        return away.argmin(axis=1).astype(np.int64)

    def state(self, which):
        return self._state

    def trained(self):
        return ["means"]

    def history(self):
        return []

    def size_bytes(self):
        return self._state["means"].nbytes

    def save(self, folder, which):
        folder.mkdir(exist_ok=True)
        np.savetxt(folder / "means.txt", self._state["means"].ravel())


@hookimpl
def fgl_prompt_strategies():
    return [
        Component("colours", ColourStrategy, provides=("arrays", "colours"), client_needs=("generator",), api_version=3)
    ]


@hookimpl
def fgl_generators():
    return [
        Component(
            "colours", ColourGenerator, accepts=("colours",), provides=("colours",), api_version=3,
            companions={"prompt_strategy": "colours", "classifier": "nearest-colour", "baselines": "none"},
        )
    ]


@hookimpl
def fgl_classifiers():
    return [Component("nearest-colour", NearestColour, accepts=("colours",), api_version=3)]
'''


@pytest.fixture
def run(images: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """A run of the plugin. changed: replacements in its source."""

    def run(changed: dict[str, str] | None = None, **config: Any) -> Any:
        source = PLUGIN
        for old, new in (changed or {}).items():
            assert old in source
            source = source.replace(old, new)
        install(monkeypatch, tmp_path / "site", "fgl_colours", source, "colours")
        base = {
            "dataset": str(images(per_class=12)),
            "partition": {"name": "iid", "clients": 2},
            "generator": "colours",
            "synthesis": {"images_per_class": 5, "shard_size": 4},
        }
        return fgl.run({**base, **config}, out=tmp_path / "run")

    return run


def test_a_product_of_its_own_runs_from_clients_to_baselines(run: Callable[..., Any], tmp_path: Path) -> None:
    result = run(baselines=["centralized", "fedavg"], evaluation={"at_clients": True})
    assert result["synthetic"]["product"] == {
        "kind": "colours",
        "shape": [2, 3],
        "dtype": "float32",
        "synthesized": True,
    }
    items = list(read_shards(tmp_path / "run" / "server" / "shards"))
    assert {value.shape for _, value in items} == {(2, 3)}
    assert len(items) == 15
    assert digest(tmp_path / "run") == result["synthetic"]["digest"]
    assert result["result"]["selected"]["top1"] > 0.9
    assert all(row["top1"] > 0.9 for row in result["baselines"])
    assert result["at_clients"]["top1"] > 0.9


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"SPOIL = lambda values: values": "SPOIL = lambda values: values[:, :1]"}, r"made float32 \[1, 1, 3\]"),
        ({"SPOIL = lambda values: values": "SPOIL = lambda values: values * np.nan"}, "NaN or infinite"),
        ({"SPOIL = lambda values: values": "SPOIL = lambda values: values.astype(float)"}, "made float64"),
        ({'return Product("colours", (2, 3)': 'return Product("voxels", (2, 3)'}, "yields voxels, and its component"),
        ({'return Product("colours", (2, 3)': 'return Product("colours", (2, 0)'}, "expected a shape of whole numbers"),
        ({'return Product("colours", (2, 3), "float32")': "return None"}, "Product"),
    ],
    ids=["shape", "nan", "dtype", "two kinds", "no size", "no product"],
)
def test_what_such_a_plugin_does_wrong_is_one_line_that_names_it(
    run: Callable[..., Any], changed: dict[str, str], message: str
) -> None:
    with pytest.raises(BrokenPluginError, match=message) as caught:
        run(changed)
    assert "colours" in str(caught.value).lower()


def test_features_that_fail_at_a_client_are_told_there_and_to_nobody_else(
    run: Callable[..., Any], tmp_path: Path
) -> None:
    with pytest.raises(TooFewUploadsError, match="BrokenPluginError at the client") as caught:
        run({"/ 255 for half": "/ secret_path for half"})
    assert "secret_path" not in str(caught.value)
    kept = (tmp_path / "run" / "clients" / "client-00" / "private" / "error.txt").read_text(encoding="utf-8")
    assert "generator 'colours' of fgl-colours: ImageFeatures.features() raised NameError" in kept
