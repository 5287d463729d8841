"""What clients load, by the configuration."""

from __future__ import annotations

from pathlib import Path

import pytest

from fgl.commands._models import Given, file_patterns, uses
from fgl.core.config.resolve import resolve
from fgl.core.footprint import needs_generator, of_client
from fgl.core.plugin_manager import PluginManager
from tests.helpers.installed import install

PLUGIN = """
from fgl import Component, hookimpl


class Learns:
    def prompts(self, context):
        return []


@hookimpl
def fgl_prompt_strategies():
    return [Component("learns", Learns, provides=("arrays",), client_needs=("generator",))]
"""


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PluginManager:
    install(monkeypatch, tmp_path / "plugin", "fgl_learns", PLUGIN, "learns")
    return PluginManager.load()


def test_clients_load_the_text_encoder_unless_the_strategy_needs_more_or_texts_are_sent(manager):
    tiny = manager.registry.create("generator", "tiny", {"model": "embedded:tiny"})
    loaded = {}
    for name, layer in {
        "numbers": {},
        "texts": {"upload": {"codec": "text"}},
        "learns": {"prompt_strategy": "learns"},
    }.items():
        config = resolve([layer], manager.registry)
        assert needs_generator(config, manager.registry) == (name == "learns")
        loaded[name] = of_client(config, tiny, manager.registry)
    assert loaded["texts"].parts == ()
    assert loaded["numbers"].parts == ("text_encoder",)
    assert loaded["learns"].parts == ("text_encoder", "unet", "vae")
    assert 0 < loaded["numbers"].size_bytes < loaded["learns"].size_bytes


def test_encoder_only_is_all_of_the_model_for_a_strategy_that_needs_the_generator(manager):
    (use,) = uses(Given("sd21"))
    (whole,) = uses(Given("sd21", settings=("prompt_strategy.name=learns",)))
    assert set(file_patterns(use, encoder_only=True)) < set(use.files)
    assert file_patterns(whole, encoder_only=True) == use.files
