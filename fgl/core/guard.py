"""Components of other distributions, wrapped so that whatever goes wrong in one is an error that names it.

`guarded` returns a stand-in for a component. It has the methods of the component's protocol, and of the `Supports…`
protocols that the component has too; everything else is passed on. A call that raises anything but an FGLError, or that
returns what the contract does not allow (`fgl.core.returned`), raises BrokenPluginError with the component, its
distribution, the method and the cause. What a method returns is guarded in turn where it is a protocol itself, as the
encoder of a generator is, and an iterator raises late as its method would have at once.

Which methods there are, and what they return, is read from the protocols and their annotations: a method that is added
to a contract is guarded without a change here.
"""

from __future__ import annotations

import errno
import inspect
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, is_dataclass
from functools import lru_cache
from importlib import import_module
from typing import Any

from fgl.contracts.component import PROTOCOLS
from fgl.core.returned import CHECKS
from fgl.core.returned.values import Call, Check, WrongValueError
from fgl.errors import BrokenPluginError, FGLError
from fgl.text import kind_and_line


@dataclass(frozen=True, slots=True)
class _Member:
    """A method or property of a protocol."""

    protocol: str
    name: str
    is_property: bool
    signature: inspect.Signature | None = None
    kind: type | None = None
    """The class of what is returned; None where that is not checked by its class."""
    nested: type | None = None
    """The protocol of what is returned, if it is one."""
    optional: bool = False
    """Whether None may be returned."""
    iterator: bool = False
    check: Check | None = None

    @property
    def shown(self) -> str:
        return f"{self.protocol}.{self.name}" + ("" if self.is_property else "()")


class Guard:
    """Base of all stand-ins. Each class of components gets one of its own, with the members that it has."""

    __slots__ = ("__weakref__", "_fgl_facts", "_fgl_title", "_fgl_value")

    def __init__(self, value: Any, title: str, facts: dict[str, Any]) -> None:
        object.__setattr__(self, "_fgl_value", value)
        object.__setattr__(self, "_fgl_title", title)
        object.__setattr__(self, "_fgl_facts", facts)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_fgl_"):  # before __init__, as copy and pickle ask
            raise AttributeError(name)
        return getattr(self._fgl_value, name)

    def __repr__(self) -> str:
        return repr(self._fgl_value)


def guarded(value: Any, family: str, title: str) -> Any:
    """A stand-in for a member of a family. title: what messages call it, see `Entry.title`. Raises BrokenPluginError
    where it lacks a method of the family."""
    return _wrapped(value, protocol_of(family), title, {}, "")


def protocol_of(family: str) -> type:
    module, _, name = PROTOCOLS[family].partition(":")
    protocol: type = getattr(import_module(module), name)
    return protocol


def broken(title: str, error: BaseException) -> BrokenPluginError:
    """The error of a plugin that raised this."""
    return BrokenPluginError(f"{title} raised {kind_and_line(error, 300)} (FGL_DEBUG=1 shows where)")


def passes(error: BaseException) -> bool:
    """Whether an error is not the plugin's: fgl's own, a lack of memory or of space, or an interrupt."""
    if isinstance(error, FGLError | MemoryError):
        return True
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    return not isinstance(error, Exception | SystemExit)


def _is_fgls(error: BaseException) -> bool:
    """Whether it was raised in the core's own code that the plugin had called back, such as an executor its work."""
    trace = error.__traceback__
    while trace is not None:
        name = str(trace.tb_frame.f_globals.get("__name__", ""))
        if name.startswith("fgl.core.") and name not in _MECHANISM:
            return True
        trace = trace.tb_next
    return False


_MECHANISM = (__name__, "fgl.core.registry", *(check.__module__ for check in CHECKS.values()))


def _wrapped(value: Any, protocol: type, title: str, facts: dict[str, Any], what: str) -> Any:
    if isinstance(value, Guard):
        return value
    members = _members(protocol)
    missing = [name for name, member in members.items() if not _has(value, member)]
    if missing:
        got = "is None, which" if value is None else f"has no {', '.join(missing)}, which"
        verb = "is not" if value is None else "has"
        raise BrokenPluginError(f"{title}{what} {got} fgl.{protocol.__name__} {verb}")
    kind: Any = type(value)
    return _class_of(kind, protocol, _abilities(value, protocol))(value, title, facts)


def _has(value: Any, member: _Member) -> bool:
    try:
        there = getattr(value, member.name)
    except AttributeError:
        return False
    except Exception:  # a property that raises is there
        return True
    return member.is_property or callable(there)


@lru_cache(maxsize=256)
def _class_of(kind: type, protocol: type, abilities: tuple[type, ...]) -> type[Guard]:
    members: dict[str, Any] = {}
    for each in (protocol, *abilities):
        for name, member in _members(each).items():
            members[name] = property(_getter(member)) if member.is_property else _method(member)
    # isinstance() of a component's own class, and whatever names its class in a log, see that class
    members["__class__"] = property(lambda self: type(self._fgl_value))
    members["__slots__"] = ()
    made = type(kind.__name__, (Guard,), members)
    made.__module__, made.__qualname__ = kind.__module__, kind.__qualname__
    return made


def _abilities(value: Any, protocol: type) -> tuple[type, ...]:
    """The `Supports…` protocols beside this one that the value has."""
    named = vars(sys.modules[protocol.__module__])
    return tuple(
        each
        for name, each in sorted(named.items())
        if name.startswith("Supports")
        and _is_protocol(each)
        and all(_has(value, member) for member in _members(each).values())
    )


def _is_protocol(value: Any) -> bool:
    return isinstance(value, type) and bool(getattr(value, "_is_protocol", False))


_SPECIAL = ("__len__", "__getitem__", "__iter__", "__call__")


@lru_cache(maxsize=64)
def _members(protocol: type) -> dict[str, _Member]:
    """What a protocol asks for, without attributes that are only annotated: they cannot raise."""
    members = {}
    for name, value in vars(protocol).items():
        if name.startswith("_") and name not in _SPECIAL:
            continue
        if isinstance(value, property) and value.fget is not None:
            annotation, is_property, signature = value.fget.__annotations__.get("return", ""), True, None
        elif inspect.isfunction(value):
            annotation, is_property = value.__annotations__.get("return", ""), False
            signature = inspect.signature(value)
        else:
            continue
        # "Encoder", "ImageSet | None", "Iterator[ImageBatch]"; other unions are not checked by their class
        parsed = re.fullmatch(r"([A-Za-z_]\w*)(\[.*\])?( \| None)?", str(annotation))
        head = parsed[1] if parsed is not None else ""
        kind = _NAMES.get(head) or _contract(head)
        members[name] = _Member(
            protocol=protocol.__name__,
            name=name,
            is_property=is_property,
            signature=signature,
            kind=None if _is_protocol(kind) else kind,
            nested=kind if _is_protocol(kind) else None,
            optional=parsed is not None and parsed[3] is not None,
            iterator=head in ("Iterator", "Iterable"),
            check=CHECKS.get(f"{protocol.__name__}.{name}"),
        )
    return members


_NAMES: dict[str, type] = {"str": str, "bool": bool, "int": int, "Mapping": Mapping}


def _contract(name: str) -> type | None:
    """A protocol or dataclass of the contracts, by its name."""
    for path in dict.fromkeys(target.partition(":")[0] for target in PROTOCOLS.values()):
        value = getattr(import_module(path), name, None)
        if _is_protocol(value) or (isinstance(value, type) and is_dataclass(value)):
            return value
    if name == "Preparation":
        from fgl.contracts.preparation import Preparation

        return Preparation
    return None


def _getter(member: _Member) -> Callable[[Any], Any]:
    def read(self: Any) -> Any:
        return _called(self, member, lambda: getattr(self._fgl_value, member.name), {})

    return read


def _method(member: _Member) -> Callable[..., Any]:
    def method(self: Any, *arguments: Any, **named: Any) -> Any:
        function = getattr(self._fgl_value, member.name)
        given = _arguments(member, arguments, named) if member.check is not None else {}
        return _called(self, member, lambda: function(*arguments, **named), given)

    method.__name__ = member.name
    return method


def _arguments(member: _Member, arguments: tuple[Any, ...], named: dict[str, Any]) -> Mapping[str, Any]:
    assert member.signature is not None
    try:
        return member.signature.bind(None, *arguments, **named).arguments
    except TypeError:  # a component may take more than its protocol asks for
        return named


def _called(guard: Any, member: _Member, work: Callable[[], Any], arguments: Mapping[str, Any]) -> Any:
    title: str = guard._fgl_title
    where = f"{title}: {member.shown}"

    def attempt() -> Any:
        try:
            return work()
        except BaseException as error:
            if passes(error) or _is_fgls(error):
                raise
            raise broken(where, error) from error

    result = attempt()
    call = Call(guard._fgl_value, arguments, guard._fgl_facts, attempt)
    if member.iterator and (hasattr(result, "__next__") or member.check is not None or not _is_iterable(result)):
        return _iterated(where, member, result, call)
    if result is None and member.optional:
        return None
    if member.kind is not None and not isinstance(result, member.kind):
        result = _converted(where, member, result)
    result = _checked(where, member, result, call)
    if member.nested is not None:
        return _wrapped(result, member.nested, title, dict(guard._fgl_facts), f": what {member.shown} returned")
    return result


def _is_iterable(value: Any) -> bool:
    return hasattr(type(value), "__iter__") or hasattr(type(value), "__getitem__")


def _converted(where: str, member: _Member, result: Any) -> Any:
    """numpy's numbers as Python's. Raises BrokenPluginError for anything else of a wrong class."""
    assert member.kind is not None
    item = getattr(result, "item", None)
    if getattr(result, "shape", None) == () and callable(item) and isinstance(item(), member.kind):
        return item()
    name = member.kind.__name__
    expected = {"str": "text", "int": "a whole number", "bool": "True or False", "Mapping": "a mapping"}
    got = type(result).__name__ if result is not None else "None"
    raise BrokenPluginError(f"{where} returned {got}; expected {expected.get(name, f'fgl.{name}')}")


def _checked(where: str, member: _Member, result: Any, call: Call) -> Any:
    if member.check is None:
        return result
    try:
        return member.check(result, call)
    except WrongValueError as error:
        raise BrokenPluginError(f"{where} {error}") from error
    except BaseException as error:  # what it returned may be an object that raises when it is looked at
        if passes(error):
            raise
        raise BrokenPluginError(f"{where} returned what cannot be used: {kind_and_line(error, 300)}") from error


def _iterated(where: str, member: _Member, result: Any, call: Call) -> Iterator[Any]:
    """The items of an iterator, with its errors."""
    try:
        iterator = iter(result)
    except TypeError:
        raise BrokenPluginError(f"{where} returned {type(result).__name__}; expected an iterator") from None
    items = _Raising(where, iterator)
    if member.check is None:
        return iter(items)
    return _Raising(where, iter(member.check(items, call)))


@dataclass(slots=True)
class _Raising:
    """An iterator whose errors name the plugin; closing it closes the plugin's."""

    where: str
    items: Iterator[Any]
    _ended: bool = field(default=False)

    def __iter__(self) -> _Raising:
        return self

    def __next__(self) -> Any:
        try:
            return next(self.items)
        except StopIteration:
            raise
        except WrongValueError as error:
            raise BrokenPluginError(f"{self.where} {error}") from error
        except BaseException as error:
            if passes(error) or _is_fgls(error):
                raise
            raise broken(self.where, error) from error

    def close(self) -> None:
        close = getattr(self.items, "close", None)
        if close is not None:
            close()
