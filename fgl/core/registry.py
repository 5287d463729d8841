"""Components by family and name, imported only when asked for."""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from fgl.contracts.component import API_CHANGES, API_VERSION, PROTOCOLS, Component, name_of
from fgl.errors import BrokenPluginError, MissingExtraError, PluginClashError, UnknownPluginError, suggestion

if TYPE_CHECKING:
    from fgl.contracts.options import Options


_Origin = tuple[str, str, dict[str, Any]]
"""Family, name and options of a component."""
_CROSSING = ("generator", "codec")
"""Families whose components other processes make again, see `fgl.core.synthesis.order`."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A component and where it came from. plugin: name of the entry point; distribution: of the package."""

    family: str
    component: Component
    plugin: str
    distribution: str
    builtin: bool = False
    """Whether it is one of fgl's own: those are not guarded (`fgl.core.guard`)."""

    @property
    def title(self) -> str:
        """What messages call it."""
        kind = {"partition": "partitioner", "features": "feature space"}.get(self.family, self.family)
        return f"{kind.replace('_', ' ')} {self.component.name!r} of {self.distribution}"

    def unfit(self) -> str:
        """Why a component of another plugin API cannot be used here, and what to do; "" where it can be."""
        version = self.component.api_version
        if version <= API_VERSION and not changed(self.family, version):
            return ""
        news = changed(self.family, version) or f"this fgl has {API_VERSION}"
        return f"is written for plugin API {version}; {news}; install a version of {self.distribution} that fits"


@dataclass(slots=True)
class Registry:
    """What is installed. Two components of one name are kept side by side: an error only once that name is selected."""

    entries: dict[tuple[str, str], list[Entry]] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)
    """Plugins that are installed and not in use, each with the reason: what is asked for may be theirs."""
    _origins: dict[int, tuple[Callable[[], Any], _Origin]] = field(default_factory=dict)

    def add(self, entry: Entry) -> None:
        self.entries.setdefault((entry.family, entry.component.name), []).append(entry)

    def names(self, family: str) -> list[str]:
        return sorted(name for group, name in self.entries if group == family)

    def all(self) -> list[Entry]:
        return [entry for key in sorted(self.entries) for entry in self.entries[key]]

    def find(self, family: str, name: str) -> Entry:
        """The one component of that name. Raises UnknownPluginError, PluginClashError, BrokenPluginError (wrong API
        version) or MissingExtraError."""
        found = self.entries.get((family, name), [])
        what = family.replace("_", " ")
        if not found:
            names = self.names(family)
            raise UnknownPluginError(
                f"unknown {what} {name!r}{suggestion(name, names)} (installed: {', '.join(names)})"
                + "".join(f"; not loaded: {reason}" for reason in self.failed)
            )
        if len(found) > 1:
            both = " and ".join(f"{entry.distribution} (plugin {entry.plugin})" for entry in found)
            raise PluginClashError(
                f"{what} {name!r} is registered by {both}; uninstall one, or block it with FGL_DISABLE_PLUGINS"
            )
        entry = found[0]
        component = entry.component
        if unfit := entry.unfit():
            raise BrokenPluginError(f"{what} {name!r} of {entry.distribution} {unfit}")
        missing = [module for module in component.modules if find_spec(module) is None]
        if missing:
            extras = ",".join(component.extras)
            hint = f"pip install '{entry.distribution}[{extras}]'" if extras else f"pip install {' '.join(missing)}"
            raise MissingExtraError(f"{what} {name!r} needs {', '.join(missing)}, not installed: {hint}")
        return entry

    def options_class(self, entry: Entry) -> type[Options]:
        """The class of its options; one without fields where it declares none."""
        from fgl.contracts.options import Options

        if entry.component.options is None:
            return Options
        loaded = load(entry.component.options, entry)
        if not (isinstance(loaded, type) and issubclass(loaded, Options)):
            raise BrokenPluginError(
                f"{name_of(entry.component.options)} of {entry.distribution} is not a subclass of fgl.Options"
            )
        return loaded

    def create(self, family: str, name: str, options: dict[str, Any]) -> Any:
        """Import the component's class and call it with its options, already checked. Raises BrokenPluginError where
        the class of a plugin raises something of its own, or lacks a method of its family, and later where a method
        does, or returns what the contract does not allow (see `fgl.core.guard`)."""
        from fgl.core import guard

        entry = self.find(family, name)
        kept = self.options_class(entry).of(options)
        target = load(entry.component.target, entry)
        try:
            made = target(kept) if entry.component.options is not None else target()
        except BaseException as error:
            if entry.builtin or guard.passes(error):
                raise
            raise guard.broken(entry.title, error) from error
        component = made if entry.builtin else guard.guarded(made, family, entry.title)
        if family in _CROSSING:
            self._remember(component, (family, name, options))
        return component

    def origin(self, component: Any) -> _Origin | None:
        """Family, name and options of a generator or codec that this registry has made; None of anything else."""
        there, origin = self._origins.get(id(component), (None, None))
        return origin if there is not None and there() is component else None

    def _remember(self, component: Any, origin: _Origin) -> None:
        try:
            self._origins[id(component)] = weakref.ref(component), origin
        except TypeError:  # a class with slots, of which none is large
            self._origins[id(component)] = (lambda: component), origin

    def check(self, entry: Entry) -> None:
        """Import a component and look it over without making it. Raises PluginError: it clashes, is written for another
        plugin API, lacks an extra, cannot be imported, or its class lacks a method of its family."""
        self.find(entry.family, entry.component.name)
        self.options_class(entry)
        target = load(entry.component.target, entry)
        lacking = [method for method in methods_of(entry.family) if not hasattr(target, method)]
        if isinstance(target, type) and lacking and not hasattr(target, "__getattr__"):
            protocol = PROTOCOLS[entry.family].partition(":")[2]
            raise BrokenPluginError(f"{entry.title} has no {', '.join(lacking)}, which fgl.{protocol} has")


def methods_of(family: str) -> list[str]:
    """Names of the methods that a member of the family has."""
    module, _, name = PROTOCOLS[family].partition(":")
    protocol = getattr(import_module(module), name)
    return [method for method, value in vars(protocol).items() if not method.startswith("_") and callable(value)]


def changed(family: str, version: int) -> str:
    """What the author of a plugin of this family, written for this version of the interface, has to change; "" where
    that is nothing."""
    news = [
        families[family] for number, families in sorted(API_CHANGES.items()) if number > version if family in families
    ]
    return f"since plugin API {API_VERSION}, {'; '.join(news)} (docs/plugins.md, Versions)" if news else ""


def load(target: Any, entry: Entry) -> Any:
    """A class as it is; "module:attribute" imported. Raises BrokenPluginError that names the distribution."""
    if not isinstance(target, str):
        return target
    module, _, attribute = target.partition(":")
    try:
        with redirect_stdout(sys.stderr):  # what is printed while it is imported is no part of a result
            return getattr(import_module(module), attribute)
    except (Exception, SystemExit) as error:
        raise BrokenPluginError(
            f"{entry.family.replace('_', ' ')} {entry.component.name!r} of {entry.distribution}: cannot import "
            f"{target!r}: {type(error).__name__}: {error}"
        ) from error
