"""What a plugin does wrong while it works is an error that names it, in every method of every family."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from typing import Any

import pytest

import fgl
from fgl.contracts.component import FAMILIES
from fgl.core import guard
from fgl.core.guard import _members, protocol_of
from fgl.errors import BrokenPluginError, DataError
from tests.helpers.members import created


class Given(list[str]):
    """An argument of any method: a context, or ids of clients."""

    class_names = ("a", "b")


GIVEN = Given(["client-0"])


def reach(protocol: type, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Each member that can be reached from one, as the names of the methods on the way."""
    for name, member in _members(protocol).items():
        yield (*path, name)
        if member.nested is not None:
            yield from reach(member.nested, (*path, name))


PATHS = [(family, path) for family in FAMILIES for path in reach(protocol_of(family))]


def sound(protocol: type, last: tuple[str, ...], error: BaseException) -> Any:
    """An object with all members of a protocol; that at the end of `last` raises, those on the way lead there."""
    attributes: dict[str, Any] = {}
    for name, member in _members(protocol).items():
        if name != last[0]:
            attributes[name] = property(lambda self: None) if member.is_property else lambda self, *_: None
        elif len(last) > 1:
            inner = sound(member.nested, last[1:], error)
            attributes[name] = lambda self, *_, inner=inner: inner
        elif member.is_property:
            attributes[name] = property(lambda self: (_ for _ in ()).throw(error))
        elif member.iterator:
            attributes[name] = lambda self, *_: (1 // 0 if error is None else _raise(error) for _ in range(1))
        else:
            attributes[name] = lambda self, *_: _raise(error)
    return type("Bad", (), attributes)()


def _raise(error: BaseException) -> Any:
    raise error


def walk(value: Any, path: tuple[str, ...], protocol: type) -> None:
    for name in path:
        member = _members(protocol)[name]
        if not member.is_property:
            count = len(member.signature.parameters) - 1
            value = getattr(value, name)(*[GIVEN] * count)
            if member.iterator:
                list(value)
        else:
            value = getattr(value, name)
        protocol = member.nested


@pytest.mark.parametrize(("family", "path"), PATHS, ids=lambda each: each if isinstance(each, str) else ".".join(each))
def test_a_member_that_raises_is_named_with_plugin_and_cause(family: str, path: tuple[str, ...]) -> None:
    protocol = protocol_of(family)
    made = created(family, lambda: sound(protocol, path, ZeroDivisionError("by zero")))
    with pytest.raises(BrokenPluginError) as caught:
        walk(made, path, protocol)
    message = str(caught.value)
    assert "'bad' of fgl-bad: " in message
    assert f".{path[-1]}" in message
    assert "raised ZeroDivisionError: by zero" in message
    assert caught.value.exit_code == 3
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("error", [ValueError("no disk"), SystemExit(0)], ids=["error", "exit"])
def test_a_constructor_that_raises_is_named(family: str, error: BaseException) -> None:
    with pytest.raises(BrokenPluginError, match=rf"'bad' of fgl-bad raised {type(error).__name__}: {error}"):
        created(family, lambda: _raise(error))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_component_without_its_methods_is_named_when_it_is_made(family: str) -> None:
    protocol = protocol_of(family)
    with pytest.raises(BrokenPluginError, match=f"has no .*, which fgl.{protocol.__name__} has"):
        created(family, object)
    with pytest.raises(BrokenPluginError, match=f"is None, which fgl.{protocol.__name__} is not"):
        created(family, lambda: None)


class Half:
    """An executor that is otherwise sound."""

    def device(self, asked: str) -> Any:
        return asked

    def environment(self) -> Any:
        return {}

    def run(self, job: Any, advance: Any) -> None:
        for shard in job:
            advance(shard)


@pytest.mark.parametrize(
    "error", [DataError("no file"), MemoryError(), OSError(errno.ENOSPC, "full"), KeyboardInterrupt()]
)
def test_errors_of_fgl_of_the_machine_and_of_the_user_pass(error: BaseException) -> None:
    class Bad(Half):
        def environment(self) -> Any:
            raise error

    with pytest.raises(type(error)) as caught:
        created("executor", Bad).environment()
    assert caught.value is error


def test_what_a_plugin_returns_lacks_a_method_or_is_nothing() -> None:
    class Encoder:
        def encode(self, prompts: Any) -> Any:
            return {}, {}

    for value, said in (
        (Encoder(), "has no truncated, which fgl.Encoder has"),
        (None, "is None, which fgl.Encoder is not"),
    ):
        members = {name: lambda self, *_: None for name in _members(protocol_of("generator"))}
        made = created("generator", type("Bad", (), {**members, "encoder": lambda self, device, value=value: value}))
        with pytest.raises(BrokenPluginError, match=rf"of fgl-bad: what Generator.encoder\(\) returned {said}"):
            made.encoder("cpu")


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        (None, "Executor.device() returned None; expected text"),
        (3, "Executor.device() returned int; expected text"),
        ("", "Executor.device() returned an empty text"),
    ],
)
def test_a_value_of_another_class_is_named(returned: object, said: str) -> None:
    class Bad(Half):
        def device(self, asked: str) -> Any:
            return returned

    with pytest.raises(BrokenPluginError) as caught:
        created("executor", Bad).device("auto")
    assert said in str(caught.value)


def test_numbers_of_numpy_are_numbers() -> None:
    import numpy as np

    class Fine(Half):
        def environment(self) -> Any:
            return {"threads": np.int64(4), "share": np.float32(0.5), "sizes": np.array([1, 2]), "no": np.nan}

    assert created("executor", Fine).environment() == {"threads": 4, "share": 0.5, "sizes": [1, 2], "no": None}


def test_what_is_not_json_is_named() -> None:
    class Bad(Half):
        def environment(self) -> Any:
            return {"threads": object()}

    with pytest.raises(BrokenPluginError, match=r"Executor.environment\(\) returned what is not JSON: a object"):
        created("executor", Bad).environment()


def test_a_component_keeps_its_class_its_other_attributes_and_its_abilities() -> None:
    class Strategy:
        size = 3

        def prompts(self, context: Any) -> Any:
            return []

        def check(self, info: Any) -> None:
            raise ZeroDivisionError("in check")

    made = created("prompt_strategy", Strategy)
    assert isinstance(made, Strategy)
    assert made.size == 3
    assert isinstance(made, fgl.SupportsCheck)
    assert not isinstance(made, fgl.SupportsTexts)
    with pytest.raises(BrokenPluginError, match=r"SupportsCheck.check\(\) raised ZeroDivisionError: in check"):
        made.check(None)


def test_work_that_an_executor_calls_back_is_not_its_fault() -> None:
    """The work is fgl's: an error of its own reaches the caller as it is."""
    from fgl.core.data import halves

    made = created("executor", Half)
    with pytest.raises(ValueError, match="unrecognized seed"):
        made.run(["x"], lambda shard: halves(shard, 0))


def test_an_iterator_that_is_closed_closes_the_plugins() -> None:
    ended: list[bool] = []

    class Bad:
        def call(self, client_ids: Any, task: Any, payload: Any, progress: Any) -> Any:
            try:
                for client_id in client_ids:
                    yield client_id, b""
            finally:
                ended.append(True)

    answers = created("federation", Bad).call(["a", "b"], "m:f", None, None)
    assert next(answers) == ("a", b"")
    answers.close()
    assert ended == [True]


def test_built_in_components_are_themselves() -> None:
    from fgl.core.plugin_manager import PluginManager

    made = PluginManager.load().registry.create("executor", "local", {})
    assert not isinstance(made, guard.Guard)
