"""The contract that every prompt strategy keeps, and what is special about this one."""

from __future__ import annotations

from importlib.metadata import entry_points

import fgl
import pytest
import typer
from fgl.testing.contracts import PromptStrategyContract
from pydantic import ValidationError
from typer.testing import CliRunner

import fgl_example_prompts
from fgl_example_prompts.options import SeasonsOptions
from fgl_example_prompts.seasons import Seasons


class TestSeasons(PromptStrategyContract):
    make = staticmethod(lambda: Seasons(SeasonsOptions()))

    def test_each_class_is_seen_in_every_season(self, context):
        options = SeasonsOptions(seasons=["spring", "winter"], template="{label}, {season}", negative_prompt=None)
        prompts = Seasons(options).prompts(context)
        assert [(p.text, p.weight, p.negative) for p in prompts[:2]] == [
            ("river, spring", 6.0, None),
            ("river, winter", 6.0, None),
        ]


def test_a_template_without_its_placeholders_is_refused():
    with pytest.raises(ValidationError, match=r"lacks \{season\}"):
        SeasonsOptions(template="{label}")


def test_fgl_finds_the_plugin():
    (entry,) = entry_points(group="fgl", name="example-prompts")
    assert entry.load() is fgl_example_prompts


def test_a_run_takes_it_by_name(tmp_path):
    config = {
        "prompt_strategy": {"name": "seasons", "seasons": ["spring", "winter"]},
        "synthesis": {"images_per_class": 2},
        "classifier": {"name": "small", "epochs": 1},
        "baselines": "none",
    }
    result = fgl.run(config, out=tmp_path / "run")
    assert result["synthetic"]["conditionings"] == 2 * len(result["result"]["per_class"])


def test_preview_prints_the_prompts():
    # fgl mounts the plugin's commands below the plugin's name in this way.
    root, own = typer.Typer(), typer.Typer()
    fgl_example_prompts.fgl_register_commands(own)
    root.add_typer(own, name="example-prompts")
    result = CliRunner().invoke(root, ["example-prompts", "preview", "river"])
    assert result.exit_code == 0
    assert result.output.splitlines()[0] == "river in spring, real world images, high resolution"
    assert len(result.output.splitlines()) == 4
