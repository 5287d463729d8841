"""The plugin door: the same for built-ins and outsiders, and one bad plugin stops nobody."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from fgl.core.errors import BrokenPluginError, MissingExtraError, PluginClashError, UnknownPluginError
from fgl.core.manager import Manager
from fgl.core.types import API_CHANGES, FAMILIES, StageContext


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> object:
    """Write a module and get an entry point to it."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def make(name: str, source: str) -> EntryPoint:
        (tmp_path / f"{name}.py").write_text(source)
        monkeypatch.delitem(sys.modules, name, raising=False)
        return EntryPoint(name.replace("_", "-"), name, "fgl")

    return make


HEAD = "from fgl import Component, hookimpl\n"
AGGREGATOR = HEAD + '@hookimpl\ndef fgl_aggregators():\n    return [Component(name="{}", target="{}")]\n'


def test_every_family_has_a_built_in() -> None:
    registry = Manager.load().registry
    assert {entry.family for entry in registry.all()} == set(FAMILIES)


def test_every_built_in_can_be_imported_and_takes_its_defaults() -> None:
    registry = Manager.load().registry
    for entry in registry.all():
        cls = registry.options_class(registry.find(entry.family, entry.component.name))
        required = [name for name, info in cls.model_fields.items() if info.is_required()]
        if not required and entry.component.name != "transformers":
            assert registry.create(entry.family, entry.component.name, dict(entry.component.defaults)) is not None


def test_an_outsider_is_registered_like_a_built_in(plugin: object) -> None:
    point = plugin("fine_plugin", AGGREGATOR.format("mine", "fine_plugin:Mine") + "class Mine: pass\n")  # type: ignore[operator]
    manager = Manager.load([point])
    assert "mine" in manager.registry.names("aggregator")
    assert type(manager.registry.create("aggregator", "mine", {})).__name__ == "Mine"


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("raise RuntimeError('boom')", "boom"),
        (HEAD + "@hookimpl\ndef fgl_agregators():\n    return []\n", "fgl_agregators"),
        (HEAD + "@hookimpl\ndef fgl_aggregators():\n    return ['union']\n", "expected fgl.Component"),
        (HEAD + "@hookimpl\ndef fgl_aggregators():\n    raise OSError('no disk')\n", "no disk"),
    ],
)
def test_a_broken_plugin_is_noted_and_the_others_go_on(plugin: object, source: str, said: str) -> None:
    manager = Manager.load([plugin("broken_plugin", source)])  # type: ignore[operator]
    status = next(status for status in manager.statuses if status.name == "broken-plugin")
    assert said in status.problem
    assert "union" in manager.registry.names("aggregator")


def test_a_target_that_cannot_be_imported_is_an_error_once_selected(plugin: object) -> None:
    manager = Manager.load([plugin("lazy_plugin", AGGREGATOR.format("lazy", "no_such_module:X"))])  # type: ignore[operator]
    with pytest.raises(BrokenPluginError, match="no_such_module"):
        manager.registry.create("aggregator", "lazy", {})


def test_a_name_taken_twice_is_an_error_only_when_selected_and_names_both(plugin: object) -> None:
    manager = Manager.load([plugin("clashing", AGGREGATOR.format("union", "clashing:X"))])  # type: ignore[operator]
    assert manager.registry.find("aggregator", "class-mean")
    with pytest.raises(PluginClashError, match=r"plugin aggregators\).*plugin clashing\)"):
        manager.registry.find("aggregator", "union")


def test_a_blocked_plugin_is_not_even_imported(plugin: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FGL_DISABLE_PLUGINS", "other, nosy-plugin")
    manager = Manager.load([plugin("nosy_plugin", "raise SystemExit('imported')")])  # type: ignore[operator]
    assert "nosy_plugin" not in sys.modules
    assert "blocked" in next(s.problem for s in manager.statuses if s.name == "nosy-plugin")


def test_a_missing_extra_says_what_to_install(plugin: object) -> None:
    source = HEAD + (
        '@hookimpl\ndef fgl_aggregators():\n    return [Component(name="x", target="m:X", extras=("fast",), '
        'modules=("no_such_library",))]\n'
    )
    manager = Manager.load([plugin("needy_plugin", source)])  # type: ignore[operator]
    with pytest.raises(MissingExtraError, match=r"no_such_library.*\[fast\]"):
        manager.registry.find("aggregator", "x")


def test_another_api_version_is_refused(plugin: object) -> None:
    source = (
        HEAD + '@hookimpl\ndef fgl_aggregators():\n    return [Component(name="x", target="m:X", api_version=99)]\n'
    )
    manager = Manager.load([plugin("future_plugin", source)])  # type: ignore[operator]
    with pytest.raises(BrokenPluginError, match=r"written for plugin API 99; this fgl has 2; install a version of fgl"):
        manager.registry.find("aggregator", "x")


@pytest.mark.parametrize("family", FAMILIES)
def test_a_plugin_of_the_version_before_is_told_what_has_changed_for_it(plugin: object, family: str) -> None:
    hook = FAMILIES[family]
    source = HEAD + f'@hookimpl\ndef {hook}():\n    return [Component(name="x", target="m:X", api_version=1)]\n'
    registry = Manager.load([plugin("old_plugin", source)]).registry  # type: ignore[operator]
    if family not in API_CHANGES[2]:  # a prompt strategy of version 1 still is what it has to be
        assert registry.find(family, "x").component.name == "x"
        return
    with pytest.raises(BrokenPluginError, match="is written for plugin API 1; since plugin API 2, ") as caught:
        registry.find(family, "x")
    assert API_CHANGES[2][family] in str(caught.value)
    if family == "generator":
        assert all(word in str(caught.value) for word in ("Painted", "notes()", "truncated()"))


def test_an_unknown_name_says_what_was_probably_meant_and_what_there_is() -> None:
    with pytest.raises(UnknownPluginError, match=r"'unoin': did you mean 'union'.*class-mean"):
        Manager.load().registry.find("aggregator", "unoin")


def test_a_lifecycle_hook_that_raises_is_named(plugin: object, tmp_path: Path) -> None:
    source = HEAD + "@hookimpl\ndef fgl_stage_started(context):\n    raise ValueError('full')\n"
    manager = Manager.load([plugin("noisy_plugin", source)])  # type: ignore[operator]
    with pytest.raises(BrokenPluginError, match=r"noisy-plugin.*fgl_stage_started.*full"):
        manager.stage_started(StageContext(str(tmp_path), "x"))


def test_every_hook_is_documented_and_only_registers_what_has_a_family() -> None:
    import fgl.core.hookspecs as specs

    hooks = [name for name in vars(specs) if name.startswith("fgl_")]
    assert set(FAMILIES.values()) < set(hooks)
    assert all(getattr(specs, name).__doc__ for name in hooks)
