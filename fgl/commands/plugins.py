"""`fgl plugins …`: installed components and plugins, and their options."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from fgl.commands._options import Json
from fgl.commands._output import say, say_json
from fgl.core.plugin_manager import PluginManager
from fgl.errors import COMMAND_LINE, ConfigError, Problem
from fgl.io import strict_json
from fgl.text import plain

if TYPE_CHECKING:
    from fgl.core.registry import Entry


_COMMANDS = "fgl_register_commands"


def plugins_list(
    family: Annotated[str | None, typer.Option(help="Only this family.")] = None, as_json: Json = False
) -> None:
    """Print every installed component, plugins with hooks or commands, and plugins that could not be loaded."""
    from fgl.contracts.component import FAMILIES

    if family is not None and family not in FAMILIES:
        raise ConfigError([Problem("--family", repr(family), f"expected {', '.join(FAMILIES)}")], COMMAND_LINE)
    manager = PluginManager.load()
    entries = [entry for entry in manager.registry.all() if family in (None, entry.family)]
    plugins = [] if family is not None else _third_party(manager)
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
    if any(plugin["hooks"] for plugin in plugins):
        say("hooks and commands:")
    for plugin in plugins:
        if plugin["hooks"]:
            say(f"  {plain(plugin['plugin']):<{width}}  {_does(plugin)} [{plain(plugin['distribution'])}]")
    for status in manager.statuses:
        if status.problem:
            say(f"not loaded: {plain(status.name)} of {plain(status.distribution)}: {plain(status.problem)}")


def plugins_show(name: Annotated[str, typer.Argument(metavar="NAME")], as_json: Json = False) -> None:
    """Print a component's options with type, default and meaning; or what a plugin registers."""
    from fgl.errors import suggestion

    manager = PluginManager.load()
    entries = manager.registry.all()
    matching = [entry for entry in entries if entry.component.name == name]
    third_party = _third_party(manager)
    plugins = [plugin for plugin in third_party if plugin["plugin"] == name]
    if not matching and not plugins:
        names = sorted({entry.component.name for entry in entries} | {plugin["plugin"] for plugin in third_party})
        raise ConfigError([Problem("NAME", repr(name), f"no such component{suggestion(name, names)}")], COMMAND_LINE)
    components = [_described(manager, entry) for entry in matching]
    if as_json:
        say_json({"components": components, "plugins": plugins})
        return
    for component in components:
        _print_component(component)
    for plugin in plugins:
        origin = f"plugin of {plain(plugin['distribution'])} {plain(plugin['version'])}"
        say(f"{plain(plugin['plugin'])} ({origin}): {_does(plugin)}")
        for component in plugin["components"]:
            say(f"  {component['family']}: {component['name']}")


def _third_party(manager: PluginManager) -> list[dict[str, Any]]:
    """The loaded plugins of other distributions: the components of each, and the hooks that it implements."""
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
    hooks = [hook for hook in plugin["hooks"] if hook != _COMMANDS]
    parts = [f"commands: fgl {plain(plugin['plugin'])} …"] if _COMMANDS in plugin["hooks"] else []
    parts += [f"hooks: {', '.join(hooks)}"] if hooks else []
    return "; ".join(parts) or "components"


def _described(manager: PluginManager, entry: Entry) -> dict[str, Any]:
    component = entry.component
    described: dict[str, Any] = {
        "family": entry.family,
        "name": component.name,
        "summary": component.summary,
        "plugin": entry.plugin,
        "distribution": entry.distribution,
        "version": _version(manager, entry),
        "api_version": component.api_version,
        "problem": entry.unfit(),
        "needs": list(component.requires),
        "provides": list(component.provides),
        "accepts": list(component.accepts),
        "companions": dict(component.companions),
        "extras": list(component.extras),
        "continued": dict(component.continuation_defaults),
        "about": "",
        "options": [],
    }
    if described["problem"]:  # then its options are unknown
        return described
    cls = manager.registry.options_class(entry)
    described["about"] = cls.__doc__.strip().splitlines()[0] if cls.__doc__ and cls.model_fields else ""
    defaults = _effective(cls, dict(component.defaults))
    for option, info in cls.model_fields.items():
        required = info.is_required() and option not in defaults
        # a default may have a type that JSON lacks
        default = None if required else _as_json(defaults.get(option))
        described["options"].append(
            {
                "name": option,
                "type": _type(info.annotation),
                "required": required,
                "default": default,
                "description": info.description or "",
            }
        )
    return described


def _as_json(value: Any) -> Any:
    try:
        return strict_json.loads(strict_json.dumps(strict_json.finite(value)))
    except TypeError:
        return str(value)


def _print_component(component: dict[str, Any]) -> None:
    from fgl.contracts.component import LISTED, SELECTED_BY

    origin = f"{plain(component['distribution'])} {plain(component['version'])}".strip()
    say(f"{component['name']} ({component['family']}, from {origin}): {plain(component['summary'])}")
    if component["problem"]:
        say(f"  cannot be used: it {component['problem']}")
    if component["about"]:
        say(f"  {plain(component['about'])}")
    for what, names in (("needs a dataset with", component["needs"]), ("needs the extra", component["extras"])):
        if names:
            say(f"  {what}: {plain(', '.join(names))}")
    for what, names in (("accepts", component["accepts"]), ("provides", component["provides"])):
        if names:
            say(f"  {what}: {plain(', '.join(names))}")
    if component["companions"]:
        say(f"  unless chosen otherwise, goes with: {plain(strict_json.dumps(component['companions']))}")
    family = component["family"]
    key = SELECTED_BY.get(family, family)
    key = f"{key}.{component['name']}" if family in LISTED else key
    for option in component["options"]:
        shown = "required" if option["required"] else strict_json.dumps(option["default"])
        say(f"  {key}.{option['name']}: {option['type']} = {plain(shown)}")
        if option["description"]:
            say(f"      {plain(option['description'])}")
    if component["continued"]:
        others = plain(strict_json.dumps(component["continued"]))
        say(f"  in rounds after the one-shot model, unless rounds.local says otherwise: {others}")


def _version(manager: PluginManager, entry: Entry) -> str:
    return next((status.version for status in manager.statuses if status.name == entry.plugin), "")


def _type(annotation: Any) -> str:
    """A type as a person writes it, without the constraints and validators that pydantic keeps in it."""
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
    """Defaults as a run would see them: an options class may fill in some itself (a preset)."""
    try:
        return dict(cls(**defaults).model_dump(mode="json"))
    except ValueError:  # a required option has no default to show
        return {k: f.get_default(call_default_factory=True) for k, f in cls.model_fields.items() if not f.is_required()}
