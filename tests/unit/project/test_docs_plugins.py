"""docs/plugins.md quotes real code and leaves no hook out; docs/prompts.md quotes real prompts."""

from __future__ import annotations

import re
import tomllib
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

import fgl
from fgl.contracts.component import FAMILIES, SELECTED_BY, Component
from fgl.contracts.options import SET_BY_NAME
from fgl.core import hookspecs
from fgl.core.plugin_manager import PluginManager
from fgl.plugins.prompts.options import (
    AttributesOptions,
    BudgetOptions,
    CaptionOptions,
    ClassNameOptions,
    DiversifiedOptions,
    DomainOptions,
    PromptsFileOptions,
)
from fgl.testing.contracts import DrawnImages, client_context
from tests.helpers.installed import install

ROOT = Path(__file__).parents[3]
PLUGINS = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")
PROMPTS = (ROOT / "docs" / "prompts.md").read_text(encoding="utf-8")
QUOTED = re.findall(r"<!-- file: (\S+) -->\n```\w*\n(.*?)\n```", PLUGINS, flags=re.DOTALL)
HOOKS = sorted(name for name, value in vars(hookspecs).items() if hasattr(value, f"{hookspecs.PROJECT}_spec"))


def first_plugin(part):
    """What the page has of its first plugin: its module, or its distribution."""
    return re.search(rf"<!-- first plugin: {part} -->\n```\w+\n(.*?)```", PLUGINS, flags=re.DOTALL)[1]


@pytest.fixture
def mood(tmp_path, monkeypatch):
    """The first plugin of the page, installed as pip would: a module, and the metadata of its distribution."""
    project = tomllib.loads(first_plugin("distribution"))["project"]
    ((name, module),) = project["entry-points"]["fgl"].items()
    assert project["name"] == f"fgl-{name}"
    install(monkeypatch, tmp_path / "site", module, first_plugin("module"), name, project["version"])
    return PluginManager.load()


def test_the_first_plugin_is_one_short_file(mood):
    assert len([line for line in first_plugin("module").splitlines() if line.strip()]) <= 12
    entry = mood.registry.find("prompt_strategy", "mood")
    assert (entry.plugin, entry.distribution) == ("mood", "fgl-mood")
    assert mood.registry.create("prompt_strategy", "mood", {"mood": "at noon"}).mood == "at noon"


def test_the_first_plugin_keeps_the_contract_of_its_family(mood):
    labels = np.array([0] * 3 + [2] * 2)
    prompts = mood.registry.create("prompt_strategy", "mood", {}).prompts(client_context(DrawnImages(labels, None)))
    assert [prompt.text for prompt in prompts] == ["river at sunset"] * 3 + ["forest at sunset"] * 2
    assert sum(prompt.weight for prompt in prompts) == 5


def test_the_first_plugin_runs_when_it_is_selected(mood, tmp_path):
    config = {
        "prompt_strategy": {"name": "mood", "mood": "in the fog"},
        "dataset": {"name": "bundled", "max_per_class": 8},
        "partition": {"name": "iid", "clients": 2},
        "synthesis": {"images_per_class": 1},
        "classifier": {"name": "small", "epochs": 1},
        "controls": "none",
    }
    result = fgl.run(config, out=tmp_path / "run")
    assert result["synthetic"]["conditionings"] == len(result["result"]["per_class"])


def test_a_page_for_authors_imports_from_the_top_alone():
    lines = re.findall(r"^from fgl import (.+)$", PLUGINS, flags=re.MULTILINE)
    named = {name.strip() for line in lines for name in line.split(",")}
    assert named
    assert named <= set(fgl.__all__)


@pytest.mark.parametrize(("path", "code"), QUOTED, ids=[path for path, _ in QUOTED])
def test_quoted_code_is_the_file(path, code):
    assert code == (ROOT / path).read_text(encoding="utf-8").rstrip()


def test_the_whole_example_is_quoted():
    folder = ROOT / "plugins-contrib" / "fgl-example-prompts"
    code = {str(path.relative_to(ROOT)) for path in folder.rglob("*.py")}
    assert code | {str((folder / "pyproject.toml").relative_to(ROOT))} == {path for path, _ in QUOTED}
    assert PLUGINS.count("<!-- file:") == len(QUOTED)


def test_every_hook_is_documented_and_none_that_does_not_exist():
    assert set(HOOKS) >= set(FAMILIES.values())
    assert sorted(set(re.findall(r"^\| `(fgl_\w+)\(", PLUGINS, flags=re.MULTILINE))) == HOOKS


def test_every_registering_hook_says_which_key_selects():
    for key, hook in FAMILIES.items():
        row = next(line for line in PLUGINS.splitlines() if line.startswith(f"| `{hook}()`"))
        assert row.endswith(f"| `{SELECTED_BY.get(key, key)}` |")


def test_every_field_of_a_component_is_documented():
    section = PLUGINS.split("## `Component`")[1].split("\n## ")[0]
    assert re.findall(r"^\| `(\w+)` \|", section, flags=re.MULTILINE) == [field.name for field in fields(Component)]


def test_every_option_that_is_set_by_name_is_documented_and_a_built_in_has_it():
    section = PLUGINS.split("### Options that fgl sets by name")[1].split("\n#")[0]
    rows = re.findall(r"^\| `(\w+)` \| `(\w+)` \| (.+) \|$", section, flags=re.MULTILINE)
    assert rows == [(family, name, text) for family, names in SET_BY_NAME.items() for name, text in names.items()]
    registry = PluginManager.load().registry
    for family, names in SET_BY_NAME.items():
        entries = [registry.find(family, name) for name in registry.names(family)]
        known = {option for entry in entries for option in registry.options_class(entry).model_fields}
        assert set(names) <= known


def test_every_ability_beyond_a_protocol_is_documented():
    section = PLUGINS.split("### What a component may do beyond its protocol")[1].split("\n## ")[0]
    documented = re.findall(r"^\| `(\w+)` \|", section, flags=re.MULTILINE)
    assert sorted(documented) == [name for name in fgl.__all__ if name.startswith("Supports")]


@pytest.mark.parametrize(
    "options",
    [
        ClassNameOptions,
        DomainOptions,
        AttributesOptions,
        BudgetOptions,
        CaptionOptions,
        PromptsFileOptions,
        DiversifiedOptions,
    ],
)
def test_every_option_and_preset_of_the_prompt_strategies_is_documented(options):
    for name, field in options.model_fields.items():
        assert re.search(rf"^\| (`\w+`, )*`{name}`(, `\w+`)* \|", PROMPTS, flags=re.MULTILINE), name
        values = field.default if isinstance(field.default, (list, dict)) else [field.default]
        for text in values.values() if isinstance(values, dict) else values:
            if isinstance(text, str) and text:
                assert f"`{text}`" in PROMPTS, f"{name}: {text}"


def test_the_page_says_how_a_strategy_looks_at_an_image():
    from typing import Protocol

    from fgl.contracts.dataset import ImageSet
    from fgl.contracts.prompts import ClientContext

    names = {name for name in vars(ImageSet) if not name.startswith("_")} - set(vars(Protocol))
    assert names == {"labels", "domains", "image", "name"}
    for name in ("image(i)", "labels", "domains", "name(i)"):
        assert f"`context.images.{name}`" in PLUGINS
    for name in re.findall(r"`context\.(\w+)", PLUGINS):
        assert name in {field.name for field in fields(ClientContext)} | {"reused"}, name
