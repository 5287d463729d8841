"""Finds plugins and calls their hooks. One manager a call: no global state."""

from __future__ import annotations

import hashlib
import logging
import os
import sys
from collections.abc import Iterable
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pluggy

from fgl.contracts.component import FAMILIES, problem_of
from fgl.core import hookspecs
from fgl.core.registry import Entry, Registry
from fgl.errors import BrokenPluginError, ConfigError, Problem
from fgl.text import kind_and_line

if TYPE_CHECKING:
    from fgl.contracts.options import Options


log = logging.getLogger(__name__)
GROUP = "fgl"
DISABLE = "FGL_DISABLE_PLUGINS"
DIRECTORY = "FGL_PLUGINS_DIR"
"""Environment variable: folders with plugins of a single file, which no distribution has."""

# Strings, so that the core depends on no plugin. They are loaded and registered exactly as outsiders are.
BUILTINS = tuple(
    EntryPoint(name, f"fgl.plugins.{name}", GROUP)
    for name in (
        "aggregation_rules",
        "aggregators",
        "algorithms",
        "classifiers",
        "codecs",
        "datasets",
        "executors",
        "features",
        "federations",
        "generators",
        "methods",
        "partitioners",
        "prompts",
        "trackers",
        "upload_filters",
    )
)


@dataclass(frozen=True, slots=True)
class PluginStatus:
    """One plugin as found. problem: why it is not in use, empty where it is."""

    name: str
    distribution: str
    version: str
    problem: str = ""
    outsider: bool = True
    package: str = ""
    origin: str = ""
    """Where it is imported from: a path, "" where that is unknown."""


@dataclass(slots=True)
class PluginManager:
    """Typed façade over pluggy: what is installed, and the lifecycle hooks."""

    pm: pluggy.PluginManager
    registry: Registry = field(default_factory=Registry)
    statuses: list[PluginStatus] = field(default_factory=list)
    warned: set[tuple[str, str]] = field(default_factory=set)
    """(plugin, hook) of those whose errors have been shown."""

    @classmethod
    def load(cls, extra: Iterable[EntryPoint] = ()) -> PluginManager:
        """Load the built-ins, then every installed distribution's entry points. A plugin that cannot be loaded is
        noted in `statuses` and stops nothing."""
        pm = pluggy.PluginManager(hookspecs.PROJECT)
        pm.add_hookspecs(hookspecs)
        manager = cls(pm)
        blocked = {name.strip() for name in os.environ.get(DISABLE, "").split(",") if name.strip()}
        outsiders = sorted(entry_points(group=GROUP), key=lambda point: (point.name, point.value))
        for point in (*BUILTINS, *outsiders, *extra):
            manager._load(point, blocked)
        for path in _single_files(os.environ.get(DIRECTORY, "")):
            manager._load_file(path, blocked)
        return manager

    def _load_file(self, path: Path, blocked: set[str]) -> None:
        """A plugin of a single file: its name is the file's, with hyphens."""
        module = f"fgl_plugins_dir.{path.stem}"
        if module not in sys.modules:
            spec = spec_from_file_location(module, path)
            assert spec is not None
            assert spec.loader is not None
            sys.modules.setdefault("fgl_plugins_dir", ModuleType("fgl_plugins_dir"))
            sys.modules[module] = made = module_from_spec(spec)
            try:
                with redirect_stdout(sys.stderr):
                    spec.loader.exec_module(made)
            except BaseException as error:
                del sys.modules[module]
                if not isinstance(error, Exception | SystemExit):
                    raise
                self._note(path.stem.replace("_", "-"), str(path.parent), f"{type(error).__name__}: {error}", path)
                return
        self._load(EntryPoint(path.stem.replace("_", "-"), module, GROUP), blocked, path)

    def _note(self, name: str, distribution: str, problem: str, path: Path) -> None:
        self.registry.failed.append(f"{name} of {distribution} ({problem})")
        self.statuses.append(PluginStatus(name, distribution, "", problem, origin=str(path)))

    def _load(self, point: EntryPoint, blocked: set[str], path: Path | None = None) -> None:
        """path: of a plugin of a single file, which has no distribution."""
        distribution = "fgl" if path is None else str(path)
        if point.dist is not None:
            distribution = point.dist.name
        version = point.dist.version if point.dist is not None else ""
        if path is not None:  # a result names what it was computed with
            version = f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()[:12]}"
        outsider = point not in BUILTINS
        problem = ""
        # Blocked before import: a plugin whose import misbehaves can be kept out.
        if outsider and blocked & {point.name, distribution}:
            problem = f"blocked by {DISABLE}"
        elif self.pm.has_plugin(point.name):
            problem = f"a plugin called {point.name!r} is already loaded"
        else:
            try:
                with redirect_stdout(sys.stderr):  # what a plugin prints while it is imported is no part of a result
                    module = import_module(point.value)
                    self.pm.register(module, name=point.name)
                    self.pm.check_pending()
                    self._collect(point.name, distribution, not outsider)
            except (Exception, SystemExit) as error:
                if self.pm.has_plugin(point.name):
                    self.pm.unregister(name=point.name)
                if not outsider:
                    raise
                problem = f"{type(error).__name__}: {error}"
        if problem:
            self.registry.failed.append(f"{point.name} of {distribution} ({problem})")
        package = point.module.partition(".")[0] if path is None else point.module
        origin = str(getattr(sys.modules.get(point.module), "__file__", None) or "") if path is None else str(path)
        self.statuses.append(PluginStatus(point.name, distribution, version, problem, outsider, package, origin))

    def _collect(self, plugin: str, distribution: str, builtin: bool) -> None:
        found: list[Entry] = []
        for family, hook in FAMILIES.items():
            for implementation in getattr(self.pm.hook, hook).get_hookimpls():
                if implementation.plugin_name != plugin:
                    continue
                for component in implementation.function() or ():
                    if problem := problem_of(component, hook):
                        raise TypeError(problem)
                    found.append(Entry(family, component, plugin, distribution, builtin))
        for entry in found:
            self.registry.add(entry)

    def create(self, family: str, selected: Any) -> Any:
        """Build the component that a configuration selects (`Selected`)."""
        return self.registry.create(family, selected.name, dict(selected.options))

    def options(self, family: str, selected: Any) -> Options:
        """The options of the component that a configuration selects, without importing the component itself."""
        entry = self.registry.find(family, selected.name)
        return self.registry.options_class(entry).of(selected.options)

    def hooks_of(self, plugin: str) -> list[str]:
        """Names of the hooks that a plugin in use implements, beside those that register components."""
        module = self.pm.get_plugin(plugin)
        callers = self.pm.get_hookcallers(module) if module is not None else None
        return sorted({caller.name for caller in callers or ()} - set(FAMILIES.values()))

    def blamed(self, error: BaseException) -> BrokenPluginError | None:
        """An error that fgl does not expect as the error of the plugin that raised it; None where that was no
        outsider's. The innermost code of a plugin on the way to the error is taken for its cause."""
        owners = {status.package: status for status in self.statuses if status.outsider and not status.problem}
        trace, cause = error.__traceback__, None
        while trace is not None:
            name = str(trace.tb_frame.f_globals.get("__name__", ""))
            cause = owners.get(name, owners.get(name.partition(".")[0], cause))
            trace = trace.tb_next
        if cause is None:
            return None
        return BrokenPluginError(
            f"plugin {cause.name!r} of {cause.distribution} raised {type(error).__name__}: {error} "
            "(FGL_DEBUG=1 shows where)"
        )

    def commands(self) -> list[tuple[str, Any]]:
        """(plugin name, function that adds commands to an app) of each plugin that has any."""
        hook = self.pm.hook.fgl_register_commands
        return [(implementation.plugin_name, implementation.function) for implementation in hook.get_hookimpls()]

    def notify(self, hook: str, **arguments: Any) -> None:
        """Call each implementation of a hook. What a plugin raises is a warning, once for each of its hooks: what only
        looks on cannot end a run. Errors of fgl's own plugins are raised."""
        builtin = {status.name for status in self.statuses if not status.outsider}
        for implementation in getattr(self.pm.hook, hook).get_hookimpls():
            name = implementation.plugin_name
            try:
                implementation.function(*(arguments[argument] for argument in implementation.argnames))
            except (Exception, SystemExit) as error:
                if name in builtin:
                    raise
                if (name, hook) not in self.warned:
                    self.warned.add((name, hook))
                    log.warning("plugin %r raised in %s; the run goes on: %s", name, hook, kind_and_line(error, 300))


def _single_files(folders: str) -> list[Path]:
    """The plugins in folders, whose names the system's separator of paths divides; in order of their names."""
    found = []
    for folder in filter(None, folders.split(os.pathsep)):
        place = Path(folder).expanduser().absolute()
        if not place.is_dir():
            raise ConfigError([Problem(DIRECTORY, repr(folder), "expected a folder with plugins")], "the environment")
        found += sorted(path for path in place.glob("*.py") if path.stem.isidentifier() and path.stem[0] != "_")
    return found
