"""The plugin door: the same for built-ins and outsiders, and one bad plugin stops nobody."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from fgl.contracts.component import API_CHANGES, API_VERSION, FAMILIES, PROTOCOLS
from fgl.contracts.events import StageContext
from fgl.contracts.generator import ArraySpec, UploadSchema
from fgl.core.config.resolve import resolve
from fgl.core.plugin_manager import PluginManager
from fgl.core.preflight import check_declaration
from fgl.core.registry import methods_of
from fgl.errors import (
    BrokenPluginError,
    ConfigError,
    MissingExtraError,
    PluginClashError,
    StoreError,
    UnknownPluginError,
)


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
MINE = "class Mine:\n    def aggregate(self, uploads, generator): pass\n"
AGGREGATOR = HEAD + '@hookimpl\ndef fgl_aggregators():\n    return [Component(name="{}", target="{}")]\n'


def test_every_family_has_a_built_in() -> None:
    registry = PluginManager.load().registry
    assert {entry.family for entry in registry.all()} == set(FAMILIES)


def test_every_built_in_can_be_imported_and_takes_its_defaults() -> None:
    registry = PluginManager.load().registry
    for entry in registry.all():
        cls = registry.options_class(registry.find(entry.family, entry.component.name))
        required = [name for name, info in cls.model_fields.items() if info.is_required()]
        # one needs an architecture, the other has to be told how much noise: neither has a default that would do
        if not required and entry.component.name not in ("transformers", "gaussian-noise"):
            assert registry.create(entry.family, entry.component.name, dict(entry.component.defaults)) is not None


def test_an_outsider_is_registered_like_a_built_in(plugin: object) -> None:
    point = plugin("fine_plugin", AGGREGATOR.format("mine", "fine_plugin:Mine") + MINE)  # type: ignore[operator]
    manager = PluginManager.load([point])
    assert "mine" in manager.registry.names("aggregator")
    assert type(manager.registry.create("aggregator", "mine", {})).__name__ == "Mine"


def test_a_component_of_classes_is_created_like_one_of_names(plugin: object) -> None:
    source = HEAD + (
        "from fgl import Options\nclass Chosen(Options):\n    size: int = 3\n"
        "class Mine:\n    def __init__(self, options): self.size = options.size\n"
        "    def aggregate(self, uploads): pass\n"
        "@hookimpl\ndef fgl_aggregators():\n    return [Component(name='mine', target=Mine, options=Chosen)]\n"
    )
    registry = PluginManager.load([plugin("of_classes", source)]).registry  # type: ignore[operator]
    assert registry.create("aggregator", "mine", {"size": 4}).size == 4
    config = resolve([{"aggregator": {"name": "mine", "size": 5}}], registry)
    assert config.aggregator.options == {"size": 5}
    with pytest.raises(ConfigError, match=r"aggregator.size: got 'x'; expected a whole number"):
        resolve([{"aggregator": {"name": "mine", "size": "x"}}], registry)


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
    manager = PluginManager.load([plugin("broken_plugin", source)])  # type: ignore[operator]
    status = next(status for status in manager.statuses if status.name == "broken-plugin")
    assert said in status.problem
    assert "union" in manager.registry.names("aggregator")


def test_a_target_that_cannot_be_imported_is_an_error_once_selected(plugin: object) -> None:
    manager = PluginManager.load([plugin("lazy_plugin", AGGREGATOR.format("lazy", "no_such_module:X"))])  # type: ignore[operator]
    with pytest.raises(BrokenPluginError, match="no_such_module"):
        manager.registry.create("aggregator", "lazy", {})


def test_a_name_taken_twice_is_an_error_only_when_selected_and_names_both(plugin: object) -> None:
    manager = PluginManager.load([plugin("clashing", AGGREGATOR.format("union", "clashing:X"))])  # type: ignore[operator]
    assert manager.registry.find("aggregator", "class-mean")
    with pytest.raises(PluginClashError, match=r"plugin aggregators\).*plugin clashing\)"):
        manager.registry.find("aggregator", "union")


def test_a_blocked_plugin_is_not_even_imported(plugin: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FGL_DISABLE_PLUGINS", "other, nosy-plugin")
    manager = PluginManager.load([plugin("nosy_plugin", "raise SystemExit('imported')")])  # type: ignore[operator]
    assert "nosy_plugin" not in sys.modules
    assert "blocked" in next(s.problem for s in manager.statuses if s.name == "nosy-plugin")


def test_a_missing_extra_says_what_to_install(plugin: object) -> None:
    source = HEAD + (
        '@hookimpl\ndef fgl_aggregators():\n    return [Component(name="x", target="m:X", extras=("fast",), '
        'modules=("no_such_library",))]\n'
    )
    manager = PluginManager.load([plugin("needy_plugin", source)])  # type: ignore[operator]
    with pytest.raises(MissingExtraError, match=r"no_such_library.*\[fast\]"):
        manager.registry.find("aggregator", "x")


def test_another_api_version_is_refused(plugin: object) -> None:
    source = (
        HEAD + '@hookimpl\ndef fgl_aggregators():\n    return [Component(name="x", target="m:X", api_version=99)]\n'
    )
    manager = PluginManager.load([plugin("future_plugin", source)])  # type: ignore[operator]
    with pytest.raises(BrokenPluginError, match=r"written for plugin API 99; this fgl has 4; install a version of fgl"):
        manager.registry.find("aggregator", "x")


@pytest.mark.parametrize("family", FAMILIES)
def test_a_plugin_of_the_version_before_is_told_what_has_changed_for_it(plugin: object, family: str) -> None:
    hook = FAMILIES[family]
    source = HEAD + f'@hookimpl\ndef {hook}():\n    return [Component(name="x", target="m:X", api_version=1)]\n'
    registry = PluginManager.load([plugin("old_plugin", source)]).registry  # type: ignore[operator]
    changed = [news[family] for news in API_CHANGES.values() if family in news]
    if not changed:  # a prompt strategy of version 1 still is what it has to be
        assert registry.find(family, "x").component.name == "x"
        return
    with pytest.raises(
        BrokenPluginError, match=f"is written for plugin API 1; since plugin API {API_VERSION}, "
    ) as caught:
        registry.find(family, "x")
    assert all(news in str(caught.value) for news in changed)
    if family == "executor":
        assert "fgl.fill_shard(job, index)" in str(caught.value)
    if family == "generator":
        assert all(word in str(caught.value) for word in ("ImageBatch", "notes()", "truncated()"))


def test_an_unknown_name_says_what_was_probably_meant_and_what_there_is() -> None:
    with pytest.raises(UnknownPluginError, match=r"'unoin': did you mean 'union'.*class-mean"):
        PluginManager.load().registry.find("aggregator", "unoin")


@pytest.mark.parametrize("error", ["ValueError('full')", "SystemExit(0)", "fgl.StoreError('full')"])
def test_a_hook_that_raises_is_a_warning_that_names_it(
    plugin: object, caplog: pytest.LogCaptureFixture, tmp_path: Path, error: str
) -> None:
    source = HEAD + f"import fgl\n@hookimpl\ndef fgl_stage_started(context):\n    raise {error}\n"
    manager = PluginManager.load([plugin("noisy_plugin", source)])  # type: ignore[operator]
    for _ in range(2):
        manager.notify("fgl_stage_started", context=StageContext(str(tmp_path), "x"))
    (said,) = [record.getMessage() for record in caplog.records]
    assert said.startswith("plugin 'noisy-plugin' raised in fgl_stage_started; the run goes on: ")
    assert error.partition("(")[0].removeprefix("fgl.") in said


def test_an_error_of_fgls_own_log_is_raised(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot write"):
        PluginManager.load().notify("fgl_stage_started", context=StageContext(str(tmp_path / "gone"), "x"))


def test_every_hook_is_documented_and_only_registers_what_has_a_family() -> None:
    import fgl.core.hookspecs as specs

    hooks = [name for name in vars(specs) if name.startswith("fgl_")]
    assert set(FAMILIES.values()) < set(hooks)
    assert all(getattr(specs, name).__doc__ for name in hooks)


PARTS = HEAD + "@hookimpl\ndef fgl_prompt_strategies():\n    return [Component({})]\n"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ("name=None, target='bad:S'", "component None: expected a name"),
        ("name='Bad Name/../x', target='bad:S'", "expected a name"),
        ("name='', target='bad:S'", "expected a name"),
        ("name='--x', target='bad:S'", "expected a name"),
        ("name='a\\x1b[31m', target='bad:S'", "expected a name"),
        ("name='a', target='bad'", "target is 'bad', expected 'module:attribute'"),
        ("name='a', target='bad:S', options=3", "options is 3"),
        ("name='a', target='bad:S', options=int", "expected 'module:attribute' or a subclass of fgl.Options"),
        ("name='a', target=3", "target is 3, expected 'module:attribute' or a class"),
        ("name='a', target='bad:S', summary=None", "summary is NoneType"),
        ("name='a', target='bad:S', api_version='2'", "api_version is '2'"),
        ("name='a', target='bad:S', api_version=None", "api_version is None"),
        ("name='a', target='bad:S', requires='domains'", "requires is 'domains', expected a tuple"),
        ("name='a', target='bad:S', defaults=[1]", "defaults is"),
    ],
)
def test_a_component_that_is_none_is_noted_and_every_list_goes_on(plugin: object, fields: str, said: str) -> None:
    manager = PluginManager.load([plugin("bad_parts", PARTS.format(fields))])  # type: ignore[operator]
    problem = next(status.problem for status in manager.statuses if status.name == "bad-parts")
    assert said in problem
    assert "\x1b" not in problem
    assert "class-name" in manager.registry.names("prompt_strategy")
    assert manager.registry.all()


def test_a_component_of_another_plugin_interface_says_so_before_it_is_selected(plugin: object) -> None:
    manager = PluginManager.load([plugin("later", PARTS.format("name='later', target='bad:S', api_version=99"))])  # type: ignore[operator]
    entry = next(entry for entry in manager.registry.all() if entry.component.name == "later")
    assert "written for plugin API 99" in entry.unfit()
    with pytest.raises(BrokenPluginError, match="written for plugin API 99"):
        manager.registry.find("prompt_strategy", "later")


def test_what_a_plugin_prints_while_it_is_imported_is_no_result(
    plugin: object, capsys: pytest.CaptureFixture[str]
) -> None:
    PluginManager.load([plugin("chatty", "print('hello from a plugin')\n")])  # type: ignore[operator]
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "hello from a plugin" in shown.err


def test_a_plugin_of_hooks_alone_is_known(plugin: object) -> None:
    source = HEAD + "@hookimpl\ndef fgl_stage_finished(context):\n    pass\n"
    manager = PluginManager.load([plugin("csv_log", source)])  # type: ignore[operator]
    assert manager.hooks_of("csv-log") == ["fgl_stage_finished"]


TYPED = (
    HEAD
    + """
from datetime import date
from pathlib import Path
from fgl import Options
class Chosen(Options):
    folder: Path = Path("/tmp")
    names: set[str] = {"a"}
    pair: tuple[int, int] = (1, 2)
    since: date | None = None
class Strategy:
    def __init__(self, options): self.options = options
    def prompts(self, context): return []
@hookimpl
def fgl_prompt_strategies():
    return [Component(name="typed", target="typed_options:Strategy", options="typed_options:Chosen")]
"""
)


def test_options_of_any_type_come_back_from_the_configuration_as_they_were(plugin: object, tmp_path: Path) -> None:
    registry = PluginManager.load([plugin("typed_options", TYPED)]).registry  # type: ignore[operator]
    given = {"name": "typed", "folder": "/var", "names": ["b", "c"], "pair": [3, 4], "since": "2030-01-31"}
    for selected in ({"name": "typed"}, given):
        config = resolve([{"prompt_strategy": selected}], registry)
        made = registry.create("prompt_strategy", "typed", config.prompt_strategy.options).options
        assert made.model_dump(mode="json") == config.prompt_strategy.options
    assert (made.folder, made.names, made.pair) == (Path("/var"), {"b", "c"}, (3, 4))
    with pytest.raises(ConfigError, match=r"prompt_strategy.folder: got 3; expected text"):
        resolve([{"prompt_strategy": {"name": "typed", "folder": 3}}], registry)


@pytest.mark.parametrize(
    ("dtypes", "codec", "error", "said"),
    [
        (("int32",), "fp16", BrokenPluginError, "declares x as int32; expected float16 or float32"),
        (("float32",), "fp16", ConfigError, "upload.codec: got 'fp16'; expected fp32 or int8 or text"),
        (("float32",), "fp32", None, ""),
        (("float16", "float32"), "int8", None, ""),
    ],
)
def test_arrays_that_no_upload_can_hold_are_refused_before_anything_runs(
    dtypes: tuple[str, ...], codec: str, error: type[Exception] | None, said: str
) -> None:
    manager = PluginManager.load()
    config = resolve([{"upload": {"codec": codec}}], manager.registry)
    declaration = UploadSchema((ArraySpec("x", (4,), dtypes),), "encoder")
    if error is None:
        check_declaration(config, manager, declaration)
    else:
        with pytest.raises(error, match=said):
            check_declaration(config, manager, declaration)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("    pass\n", "aggregator 'mine' of fgl has no aggregate, which fgl.Aggregator has"),
        (
            "    def __init__(self): raise ValueError('no disk')\n",
            "'mine' of fgl raised ValueError: no disk",
        ),
        ("    def __init__(self): raise SystemExit(0)\n", "raised SystemExit: 0"),
    ],
)
def test_a_class_that_cannot_be_what_it_says_is_named_when_it_is_made(plugin: object, body: str, said: str) -> None:
    source = AGGREGATOR.format("mine", "unfit_plugin:Mine") + "class Mine:\n" + body
    registry = PluginManager.load([plugin("unfit_plugin", source)]).registry  # type: ignore[operator]
    with pytest.raises(BrokenPluginError, match=said):
        registry.create("aggregator", "mine", {})


def test_every_protocol_says_what_its_members_have() -> None:
    assert set(PROTOCOLS) == set(FAMILIES)
    assert all(methods_of(family) for family in FAMILIES)
    assert methods_of("prompt_strategy") == ["prompts"]


def test_an_error_on_the_way_is_that_of_the_plugin_whose_code_it_came_from(plugin: object) -> None:
    manager = PluginManager.load([plugin("sudden", "from fgl import Prompt\ndef work(): return Prompt()\n")])  # type: ignore[operator]
    with pytest.raises(TypeError) as theirs:
        sys.modules["sudden"].work()
    assert "plugin 'sudden' of fgl raised TypeError" in str(manager.blamed(theirs.value))
    with pytest.raises(ValueError, match="invalid literal") as ours:
        int("x")
    assert manager.blamed(ours.value) is None
