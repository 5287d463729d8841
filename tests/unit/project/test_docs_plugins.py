"""docs/plugins.md quotes real code and leaves no hook out; docs/prompts.md quotes real prompts."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from fgl.contracts.component import FAMILIES, Component
from fgl.core import hookspecs
from fgl.plugins.prompts.options import (
    AttributesOptions,
    BudgetOptions,
    CaptionOptions,
    ClassNameOptions,
    DiversifiedOptions,
    DomainOptions,
    PromptsFileOptions,
)

ROOT = Path(__file__).parents[3]
PLUGINS = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")
PROMPTS = (ROOT / "docs" / "prompts.md").read_text(encoding="utf-8")
QUOTED = re.findall(r"<!-- file: (\S+) -->\n```\w*\n(.*?)\n```", PLUGINS, flags=re.DOTALL)
HOOKS = sorted(name for name, value in vars(hookspecs).items() if hasattr(value, f"{hookspecs.PROJECT}_spec"))


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
        assert row.endswith(f"| `{key}` |")


def test_every_field_of_a_component_is_documented():
    section = PLUGINS.split("## `Component`")[1].split("\n## ")[0]
    assert re.findall(r"^\| `(\w+)` \|", section, flags=re.MULTILINE) == [field.name for field in fields(Component)]


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
