"""`fgl plugins …`: what is installed, and its options."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from fgl.cli.common import Json
from fgl.core.errors import ConfigError, Problem
from fgl.core.manager import Manager


def plugins_list(
    family: Annotated[str | None, typer.Option(help="Only this family.")] = None, as_json: Json = False
) -> None:
    """Print every installed component, and what could not be loaded."""
    from fgl.core.types import FAMILIES

    if family is not None and family not in FAMILIES:
        raise ConfigError([Problem("--family", repr(family), f"expected {', '.join(FAMILIES)}")], "the command line")
    manager = Manager.load()
    entries = [entry for entry in manager.registry.all() if family in (None, entry.family)]
    if as_json:
        listed = [
            {"family": e.family, "name": e.component.name, "summary": e.component.summary, "plugin": e.plugin,
             "distribution": e.distribution}
            for e in entries
        ]  # fmt: skip
        broken = [
            {"plugin": s.name, "distribution": s.distribution, "problem": s.problem}
            for s in manager.statuses
            if s.problem
        ]
        print(json.dumps({"components": listed, "problems": broken}))
        return
    width = max((len(entry.component.name) for entry in entries), default=0)
    previous = ""
    for entry in entries:
        if entry.family != previous:
            print(f"{entry.family}:")
            previous = entry.family
        origin = "" if entry.distribution == "fgl" else f" [{entry.distribution}]"
        clash = " (clashes)" if len(manager.registry.entries[entry.family, entry.component.name]) > 1 else ""
        print(f"  {entry.component.name:<{width}}  {entry.component.summary}{origin}{clash}")
    for status in manager.statuses:
        if status.problem:
            print(f"not loaded: {status.name} of {status.distribution}: {status.problem}")


def plugins_show(name: Annotated[str, typer.Argument(metavar="NAME")]) -> None:
    """Print a component's options: type, default, what it means."""
    from fgl.core.registry import suggestion

    registry = Manager.load().registry
    found = [entry for entry in registry.all() if entry.component.name == name]
    if not found:
        names = sorted({entry.component.name for entry in registry.all()})
        raise ConfigError(
            [Problem("NAME", repr(name), f"no such component{suggestion(name, names)}")], "the command line"
        )
    for entry in found:
        component = entry.component
        print(f"{name} ({entry.family}, from {entry.distribution}): {component.summary}")
        cls = registry.options_class(entry)
        if cls.__doc__ and cls.model_fields:
            print(f"  {cls.__doc__.strip().splitlines()[0]}")
        defaults = _effective(cls, dict(component.defaults))
        for option, info in cls.model_fields.items():
            shown = (
                "required"
                if info.is_required() and option not in defaults
                else json.dumps(defaults.get(option), ensure_ascii=False, default=str)
            )
            print(f"  {entry.family}.{option}: {_type(info.annotation)} = {shown}")
            if info.description:
                print(f"      {info.description}")
        if component.continued:
            others = json.dumps(dict(component.continued))
            print(f"  in rounds after the one-shot model, unless rounds.local says otherwise: {others}")


def _type(annotation: Any) -> str:
    """A type as a person writes it: without the constraints and validators that pydantic keeps in it."""
    from types import UnionType
    from typing import Annotated, Literal, Union, get_args, get_origin

    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type(arguments[0])
    if origin in (Union, UnionType):
        return " | ".join(_type(argument) for argument in arguments)
    if origin is Literal:
        return " | ".join(json.dumps(argument) for argument in arguments)
    if annotation is type(None):
        return "null"
    name = getattr(origin or annotation, "__name__", str(annotation))
    inner = [_type(argument) for argument in arguments if argument is not Ellipsis]
    return f"{name}[{', '.join(inner)}]" if inner else name


def _effective(cls: Any, defaults: dict[str, Any]) -> dict[str, Any]:
    """Defaults as a run would see them: an options class may fill some in by itself (a preset)."""
    try:
        return dict(cls(**defaults).model_dump(mode="json"))
    except ValueError:  # a required option has no default to show
        return {k: f.get_default(call_default_factory=True) for k, f in cls.model_fields.items() if not f.is_required()}
