"""A component by its name, as a plugin that builds on it gets it."""

from __future__ import annotations

import pytest

import fgl


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
