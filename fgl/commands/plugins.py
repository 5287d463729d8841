"""`fgl plugins …`: what is installed, and its options."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from fgl.commands._options import Json
from fgl.commands._output import say, say_json
from fgl.core.plugin_manager import PluginManager
from fgl.errors import ConfigError, Problem
from fgl.io import strict_json
from fgl.text import plain

if TYPE_CHECKING:
    from fgl.core.registry import Entry


_COMMANDS = "fgl_register_commands"


def plugins_list(
    family: Annotated[str | None, typer.Option(help="Only this family.")] = None, as_json: Json = False
) -> None:
    """Print every installed component, plugins that have hooks or commands, and what could not be loaded."""
    from fgl.contracts.component import FAMILIES

    if family is not None and family not in FAMILIES:
        raise ConfigError([Problem("--family", repr(family), f"expected {', '.join(FAMILIES)}")], "the command line")
    manager = PluginManager.load()
    entries = [entry for entry in manager.registry.all() if family in (None, entry.family)]
    plugins = [] if family is not None else _outsiders(manager)
    if as_json:
        listed = [
            {
                "family": e.family,
                "name": e.component.name,
                "summary": e.component.summary,
                "plugin": e.plugin,
                "distribution": e.distribution,
                "problem": e.unfit(),
            }
            for e in entries
        ]
        broken = [
            {"plugin": s.name, "distribution": s.distribution, "problem": s.problem}
            for s in manager.statuses
            if s.problem
        ]
        say_json({"components": listed, "plugins": plugins, "problems": broken})
        return
    width = max((len(entry.component.name) for entry in entries), default=0)
    previous = ""
    for entry in entries:
        if entry.family != previous:
            say(f"{entry.family}:")
            previous = entry.family
        origin = "" if entry.distribution == "fgl" else f" [{plain(entry.distribution)}]"
        clash = " (clashes)" if len(manager.registry.entries[entry.family, entry.component.name]) > 1 else ""
        unfit = f" (cannot be used: {entry.unfit()})" if entry.unfit() else ""
        say(f"  {entry.component.name:<{width}}  {plain(entry.component.summary)}{origin}{clash}{unfit}")
    if any(one["hooks"] for one in plugins):
        say("hooks and commands:")
    for one in plugins:
        if one["hooks"]:
            say(f"  {plain(one['plugin']):<{width}}  {_does(one)} [{plain(one['distribution'])}]")
    for status in manager.statuses:
        if status.problem:
            say(f"not loaded: {plain(status.name)} of {plain(status.distribution)}: {plain(status.problem)}")


def plugins_show(name: Annotated[str, typer.Argument(metavar="NAME")], as_json: Json = False) -> None:
    """Print a component's options: type, default, what it means; or what a plugin registers."""
    from fgl.errors import suggestion

    manager = PluginManager.load()
    entries = manager.registry.all()
    found = [entry for entry in entries if entry.component.name == name]
    plugins = [one for one in _outsiders(manager) if one["plugin"] == name]
    if not found and not plugins:
        names = sorted({entry.component.name for entry in entries} | {one["plugin"] for one in _outsiders(manager)})
        raise ConfigError(
            [Problem("NAME", repr(name), f"no such component{suggestion(name, names)}")], "the command line"
        )
    components = [_described(manager, entry) for entry in found]
    if as_json:
        say_json({"components": components, "plugins": plugins})
        return
    for one in components:
        _print_component(one)
    for one in plugins:
        say(f"{plain(one['plugin'])} (plugin of {plain(one['distribution'])} {plain(one['version'])}): {_does(one)}")
        for component in one["components"]:
            say(f"  {component['family']}: {component['name']}")


def _outsiders(manager: PluginManager) -> list[dict[str, Any]]:
    """The plugins in use that did not come with fgl: what each registers, and the hooks that it follows."""
    return [
        {
            "plugin": status.name,
            "distribution": status.distribution,
            "version": status.version,
            "components": [
                {"family": entry.family, "name": entry.component.name}
                for entry in manager.registry.all()
                if entry.plugin == status.name
            ],
            "hooks": manager.hooks_of(status.name),
        }
        for status in manager.statuses
        if status.outsider and not status.problem
    ]


def _does(plugin: dict[str, Any]) -> str:
    follows = [hook for hook in plugin["hooks"] if hook != _COMMANDS]
    parts = [f"commands: fgl {plain(plugin['plugin'])} …"] if _COMMANDS in plugin["hooks"] else []
    parts += [f"hooks: {', '.join(follows)}"] if follows else []
    return "; ".join(parts) or "components"


def _described(manager: PluginManager, entry: Entry) -> dict[str, Any]:
    component = entry.component
    found: dict[str, Any] = {
        "family": entry.family,
        "name": component.name,
        "summary": component.summary,
        "plugin": entry.plugin,
        "distribution": entry.distribution,
        "version": _version(manager, entry),
        "api_version": component.api_version,
        "problem": entry.unfit(),
        "needs": list(component.requires),
        "extras": list(component.extras),
        "continued": dict(component.continuation_defaults),
        "about": "",
        "options": [],
    }
    if found["problem"]:  # what its options would be here is not known
        return found
    cls = manager.registry.options_class(entry)
    found["about"] = cls.__doc__.strip().splitlines()[0] if cls.__doc__ and cls.model_fields else ""
    defaults = _effective(cls, dict(component.defaults))
    for option, info in cls.model_fields.items():
        required = info.is_required() and option not in defaults
        # a default may be of a type that JSON does not have
        default = None if required else _as_json(defaults.get(option))
        found["options"].append(
            {
                "name": option,
                "type": _type(info.annotation),
                "required": required,
                "default": default,
                "description": info.description or "",
            }
        )
    return found


def _as_json(value: Any) -> Any:
    try:
        return strict_json.loads(strict_json.dumps(strict_json.finite(value)))
    except TypeError:
        return str(value)


def _print_component(one: dict[str, Any]) -> None:
    origin = f"{plain(one['distribution'])} {plain(one['version'])}".strip()
    say(f"{one['name']} ({one['family']}, from {origin}): {plain(one['summary'])}")
    if one["problem"]:
        say(f"  cannot be used: it {one['problem']}")
    if one["about"]:
        say(f"  {plain(one['about'])}")
    for what, names in (("needs a dataset with", one["needs"]), ("needs the extra", one["extras"])):
        if names:
            say(f"  {what}: {plain(', '.join(names))}")
    for option in one["options"]:
        shown = "required" if option["required"] else strict_json.dumps(option["default"])
        say(f"  {one['family']}.{option['name']}: {option['type']} = {plain(shown)}")
        if option["description"]:
            say(f"      {plain(option['description'])}")
    if one["continued"]:
        others = plain(strict_json.dumps(one["continued"]))
        say(f"  in rounds after the one-shot model, unless rounds.local says otherwise: {others}")


def _version(manager: PluginManager, entry: Entry) -> str:
    return next((status.version for status in manager.statuses if status.name == entry.plugin), "")


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
        return " | ".join(strict_json.dumps(argument) for argument in arguments)
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
