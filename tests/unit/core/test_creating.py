"""A component by its name, as a plugin that builds on it gets it."""

from __future__ import annotations

from pathlib import Path

import pytest

import fgl
from tests.helpers.installed import install


def test_a_component_has_its_own_defaults_and_the_options_that_are_given():
    assert fgl.create("generator", "tiny").options.model == "embedded:tiny"
    assert fgl.create("aggregator", "class-mean", per_domain=True).options.per_domain is True
    assert fgl.create("prompt_strategy", "class-name").prompts is not None


def test_whatever_is_wrong_is_said_at_once():
    with pytest.raises(fgl.ConfigError) as caught:
        fgl.create("upload_filter", "clip", max_nrom=3, arrays=[])
    said = str(caught.value)
    assert "max_norm: got nothing; this option is required" in said
    assert "did you mean 'max_norm'" in said
    with pytest.raises(fgl.ConfigError, match="unknown family: did you mean 'aggregator'"):
        fgl.create("agregator", "union")
    with pytest.raises(fgl.ConfigError, match="did you mean 'union'"):
        fgl.create("aggregator", "unoin")


PLUGIN = """
from fgl import Component, Options, hookimpl

class SizedOptions(Options):
    size: int = 3

class Sized:
    def __init__(self, options): self.size = options.size
    def prompts(self, context): raise KeyError("colour")

@hookimpl
def fgl_prompt_strategies():
    return [
        Component("sized", Sized, SizedOptions),
        Component("large", Sized, SizedOptions, defaults={"size": 30}),
    ]
"""


def test_a_component_of_a_plugin_is_built_alike_and_named_where_it_fails(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    install(monkeypatch, tmp_path / "plugin", "fgl_sized", PLUGIN, "sized")
    assert fgl.create("prompt_strategy", "sized").size == 3
    assert fgl.create("prompt_strategy", "large").size == 30
    assert fgl.create("prompt_strategy", "large", size=4).size == 4
    with pytest.raises(fgl.BrokenPluginError, match=r"strategy 'sized' of fgl-sized: .* raised KeyError: 'colour'"):
        fgl.create("prompt_strategy", "sized").prompts(None)


def test_the_options_of_a_component_tell_its_models_without_importing_it():
    (use,) = fgl.options_of("prompt_strategy", "caption-small").models()
    assert use.model == "Salesforce/blip-image-captioning-base"
    with pytest.raises(fgl.ConfigError, match="did you mean 'batch_size'"):
        fgl.options_of("prompt_strategy", "caption", batchsize=3)


def test_options_that_raise_something_else_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    check = "    @field_validator('size')\n    @classmethod\n    def _fits(cls, size): return {3: 3}[size]\n"
    source = PLUGIN.replace("    size: int = 3\n", f"    size: int = 3\n{check}").replace(
        "from fgl import", "from pydantic import field_validator\nfrom fgl import", 1
    )
    install(monkeypatch, tmp_path / "plugin", "fgl_resized", source, "resized")
    assert fgl.create("prompt_strategy", "sized").size == 3
    said = r"options of prompt_strategy \(fgl_resized:SizedOptions\) raised KeyError: 4; a validator raises ValueError"
    with pytest.raises(fgl.BrokenPluginError, match=said):
        fgl.create("prompt_strategy", "sized", size=4)
