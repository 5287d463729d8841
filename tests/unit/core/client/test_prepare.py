"""A client's upload, from strategies that come as plugins."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load

from fgl.contracts.progress import NullProgress
from fgl.core.client import prepare, site
from fgl.core.config.resolve import resolve
from fgl.core.plugin_manager import PluginManager
from fgl.core.preflight import open_session
from fgl.core.store.run_dir import RunDir
from fgl.core.wire import requests
from fgl.errors import BrokenPluginError, ConfigError
from tests.helpers.installed import install
from tests.helpers.settings import small, write_noise

PLUGIN = """
from dataclasses import replace
import numpy as np
from fgl import Component, Prepared, Prompt, hookimpl


def named(context):
    labels, counts = np.unique(context.images.labels, return_counts=True)
    return [Prompt(label, context.class_names[label], weight=count) for label, count in zip(labels, counts)]


class Plain:
    def prompts(self, context):
        return named(context)


class Own:
    def prompts(self, context):
        encoded = context.encode(named(context))
        assert context.generator_name == "stable-diffusion"
        if context.declaration is not None:  # with the codec text
            assert {spec.name for spec in context.declaration.arrays} >= set(encoded)
        return Prepared(named(context), encoded, encoded.indices)


class Means(Own):
    def prompts(self, context):
        captions = [Prompt(label, f"{context.class_names[label]} {i}") for i, label in enumerate(context.images.labels)]
        encoded = context.encode(captions)["prompt_embeds"]
        rows = [encoded[context.images.labels == prompt.class_id].mean(axis=0) for prompt in named(context)]
        return Prepared(named(context), {"prompt_embeds": np.stack(rows)})


class Forgetful:
    def prompts(self, context):
        return named(context)[1:]


class Private:
    def prompts(self, context):
        return [replace(prompt, weight=5) for prompt in named(context)[1:]]


class Short(Own):
    def prompts(self, context):
        answer = super().prompts(context)
        return Prepared(answer.prompts, {"prompt_embeds": answer.arrays["prompt_embeds"][1:]})


class Curious:
    def prompts(self, context):
        context.generator().describe()
        return named(context)


@hookimpl
def fgl_prompt_strategies():
    return [
        Component("plain", Plain),
        Component("own", Own, provides=("arrays",)),
        Component("means", Means, provides=("arrays",)),
        Component("quiet", Own),
        Component("forgetful", Forgetful),
        Component("private", Private, provides=("private_counts",)),
        Component("short", Short, provides=("arrays",)),
        Component("curious", Curious),
        Component("allowed", Curious, client_needs=("generator",)),
    ]
"""


@pytest.fixture
def client(tmp_path: Path, pipeline: Path, monkeypatch: pytest.MonkeyPatch):
    """The draft of client-00 with a strategy of the plugin."""
    install(monkeypatch, tmp_path / "plugin", "fgl_mine", PLUGIN, "mine")
    (tmp_path / "images").mkdir()
    data = write_noise(tmp_path / "images", per_class=4)
    site.release()

    def draft(strategy: str, **changes: Any) -> prepare.Draft:
        settings = small(data, pipeline, prompt_strategy=strategy, **changes)
        config = resolve([settings], PluginManager.load().registry)
        request = requests.prepare_request(config, "client-00", 0, tmp_path / "private", "cpu", "")
        return prepare.draft(json.loads(request))

    yield draft
    site.release()


def test_arrays_of_a_strategy_are_sent_as_if_the_encoder_had_made_them(client):
    assert client("own").data == client("plain").data


def test_a_mean_row_of_each_class_is_sent_in_place_of_its_captions(client):
    draft = client("means")
    assert load(draft.data)["prompt_embeds"].shape[0] == len(draft.prompts) == 3
    assert sum(prompt.weight for prompt in draft.prompts) == sum(draft.held)


@pytest.mark.parametrize(
    ("strategy", "said"),
    [
        ("forgetful", "prompt strategy 'forgetful' of fgl-mine returned no prompt for class 'river'"),
        ("short", "prompt strategy 'short' of fgl-mine: array prompt_embeds has 2 rows, expected 3"),
        ("curious", "asks for the generator, which its component does not state"),
    ],
)
def test_a_strategy_that_breaks_a_promise_is_named_with_what_it_did(client, strategy, said):
    with pytest.raises(BrokenPluginError) as caught:
        client(strategy)
    assert said in str(caught.value)


def test_counts_that_are_private_on_purpose_are_not_compared_with_the_samples(client):
    assert load(client("private").data)["weight"].tolist() == [5.0, 5.0]


def test_a_strategy_that_states_it_gets_the_generator(client):
    assert client("allowed").data == client("plain").data


def test_arrays_are_not_sent_as_texts_whether_or_not_the_component_says_that_it_has_any(client, tmp_path, pipeline):
    for strategy in ("own", "quiet"):
        with pytest.raises(ConfigError, match=r"upload\.codec: got 'text'; expected fp16, fp32, int8: prompt strategy"):
            client(strategy, upload={"codec": "text"})


def test_a_run_with_texts_ends_before_it_begins_where_the_strategy_has_arrays_of_its_own(client, tmp_path, pipeline):
    manager = PluginManager.load()
    settings = small(tmp_path / "images", pipeline, prompt_strategy="own", upload={"codec": "text"})
    with pytest.raises(ConfigError, match="'own' of fgl-mine sends arrays of its own"):
        open_session(resolve([settings], manager.registry), manager, RunDir(tmp_path / "run"), NullProgress())
