"""`fgl plugins new`, `doctor` and `install`: for those who write plugins, and those who use them."""

from __future__ import annotations

import keyword
import re
import shlex
import subprocess
import sys
from importlib.resources import files as resources
from pathlib import Path
from typing import Annotated, Any

import typer

from fgl.commands._options import Json, home
from fgl.commands._output import note, say, say_json
from fgl.core.plugin_manager import PluginManager
from fgl.errors import COMMAND_LINE, ConfigError, PluginError, Problem, StoreError, suggestion
from fgl.io import files
from fgl.text import plain

CONTRACTS = {
    "method": "MethodContract",
    "dataset": "DatasetContract",
    "partition": "PartitionerContract",
    "prompt_strategy": "PromptStrategyContract",
    "upload_filter": "UploadFilterContract",
    "codec": "CodecContract",
    "aggregator": "AggregatorContract",
    "generator": "GeneratorContract",
    "classifier": "ClassifierContract",
    "features": "FeatureSpaceContract",
    "algorithm": "AlgorithmContract",
    "aggregation_rule": "AggregationRuleContract",
    "federation": "FederationContract",
    "executor": "ExecutorContract",
    "tracker": "TrackerContract",
}
"""Family → the class of its contract tests in fgl.testing.contracts, which is not imported here: it needs pytest."""
_MADE = {
    "classifier": "MineOptions(epochs=2, image_size=16)",
    "generator": "MineOptions(steps=1)",
    "dataset": "MineOptions(per_class=4)",
}
"""Options that keep the tests of a family quick, where the defaults do not."""
_FIELDS = {"upload_filter": '            provides=("arrays",),\n'}
_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*\Z")


def plugins_new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the component, such as my-prompts.")],
    family: Annotated[str, typer.Option("--family", metavar="FAMILY", help="What it is: fgl plugins list has them.")],
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", callback=home, help="Where to write it. Default: fgl-NAME, here.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write a plugin to start from: a distribution with a small component, its tests, README and CI, which pass."""
    short = name.removeprefix("fgl-")
    problems = []
    if family not in CONTRACTS:
        expected = f"unknown family{suggestion(family, CONTRACTS)} (known: {', '.join(CONTRACTS)})"
        problems.append(Problem("--family", repr(family), expected))
    if not _NAME.match(short) or len(short) > 40 or keyword.iskeyword(short):
        expected = "expected lower-case letters and digits, words joined by hyphens, at most 40 of them"
        problems.append(Problem("NAME", repr(name), expected))
    if problems:
        raise ConfigError(problems, COMMAND_LINE)
    folder = out if out is not None else Path(f"fgl-{short}")
    if folder.exists():
        raise StoreError(f"{folder} exists; choose another folder with --out, or remove it")
    written = distribution(short, family)
    for path, text in written.items():
        files.make_folders(folder, (folder / path).parent)
        files.write(folder / path, text.encode())
    if as_json:
        say_json({"folder": str(folder), "family": family, "name": short, "files": sorted(written)})
        return
    say(f"{folder}: a plugin with the {family.replace('_', ' ')} {short}. Next:")
    for command in (
        f"pip install -e {shlex.quote(str(folder))}[dev]",
        f"pytest {shlex.quote(str(folder))}",
        f"fgl plugins show {short}",
    ):
        say(f"  {command}")


def distribution(name: str, family: str) -> dict[str, str]:
    """Path of each file of a new distribution → its text. name: of the component, without "fgl-"."""
    from fgl.contracts.component import API_VERSION, FAMILIES, LISTED, SELECTED_BY

    module = f"fgl_{name.replace('-', '_')}"
    camel = "".join(part.capitalize() for part in name.split("-"))
    code = (resources("fgl.commands") / "_templates" / f"{family}.py").read_text(encoding="utf-8")
    has_options = "class MineOptions" in code
    key = SELECTED_BY.get(family, family)
    words = {
        "NAME": name,
        "MODULE": module,
        "CAMEL": camel,
        "FAMILY": family,
        "KEY": key,
        "HOOK": FAMILIES[family],
        "WHAT": family.replace("_", " "),
        "CONTRACT": CONTRACTS[family],
        "API": str(API_VERSION),
        "OPTIONS": f'            options="{module}.component:{camel}Options",\n' if has_options else "",
        "FIELDS": _FIELDS.get(family, ""),
        "MAKE": f"lambda: {camel}({_MADE.get(family, 'MineOptions()')})" if has_options else camel,
        "IMPORTS": f"{camel}, {camel}Options" if has_options else camel,
        "SELECT": f"{{{key}: [{name}]}}" if family in LISTED else f"{{{key}: {name}}}",
    }

    def filled(text: str) -> str:
        for word, value in words.items():
            text = text.replace(f"<{word}>", value)
        return _renamed(text, name, camel)

    described = _DESCRIBED if has_options else ""
    return {
        "pyproject.toml": filled(_PYPROJECT),
        "README.md": filled(_README),
        ".github/workflows/test.yml": filled(_WORKFLOW),
        f"src/{module}/__init__.py": filled(_REGISTER),
        f"src/{module}/component.py": _renamed(code, name, camel),
        f"src/{module}/py.typed": "",
        f"tests/test_{module}.py": filled(_TESTS + described),
    }


def _renamed(text: str, name: str, camel: str) -> str:
    return re.sub(r"\bMine(?=\b|Options\b)", camel, text).replace('"mine"', f'"{name}"')


_PYPROJECT = """\
[build-system]
requires = ["hatchling>=1.25"]
build-backend = "hatchling.build"

[project]
name = "fgl-<NAME>"
version = "0.1.0"
description = "A plugin for fgl: the <WHAT> <NAME>"
readme = "README.md"
requires-python = ">=3.11"
dependencies = ["fgl>=0.2,<0.3"]

[project.optional-dependencies]
dev = ["pytest>=8.3", "ruff>=0.9"]

[project.entry-points.fgl]
<NAME> = "<MODULE>"

[tool.hatch.build.targets.wheel]
packages = ["src/<MODULE>"]

[tool.pytest.ini_options]
testpaths = ["tests"]

[tool.ruff]
line-length = 120
target-version = "py311"

[tool.ruff.lint]
select = ["E", "F", "W", "I", "B", "UP", "SIM", "RUF", "PT"]
"""
_README = """\
# fgl-<NAME>

The <WHAT> `<NAME>`, a plugin for fgl.

```
$ pip install -e .[dev]
$ pytest
$ fgl plugins show <NAME>
$ fgl plugins doctor
```

A configuration selects it by its name: `<SELECT>`.

* `src/<MODULE>/__init__.py` registers it. Every `fgl` command imports it, so it imports nothing heavy.
* `src/<MODULE>/component.py` does the work, and has the options with their descriptions.
* `tests/` runs the contract of its family on it.
"""
_WORKFLOW = """\
name: test
on: [push, pull_request]
jobs:
  test:
    runs-on: ubuntu-latest
    strategy:
      matrix:
        python: ["3.11", "3.13"]
    steps:
      - uses: actions/checkout@v4
      - uses: actions/setup-python@v5
        with:
          python-version: ${{ matrix.python }}
      - run: pip install -e .[dev]
      - run: ruff check . && ruff format --check .
      - run: pytest
      - run: fgl plugins doctor
"""
_REGISTER = '''\
"""What fgl imports to learn that this plugin exists: keep it light."""

from __future__ import annotations

from fgl import Component, hookimpl


@hookimpl
def <HOOK>() -> list[Component]:
    return [
        Component(
            name="<NAME>",
            target="<MODULE>.component:<CAMEL>",
<OPTIONS>            summary="Say in one line what it does.",
<FIELDS>            api_version=<API>,
        )
    ]
'''
_TESTS = '''\
"""The contract of its family, and what fgl makes of the plugin."""

from __future__ import annotations

from importlib.metadata import entry_points

import fgl
from fgl.testing.contracts import <CONTRACT>

import <MODULE>
from <MODULE>.component import <IMPORTS>


class Test<CAMEL>(<CONTRACT>):
    make = staticmethod(<MAKE>)


def test_fgl_finds_the_plugin():
    (entry,) = entry_points(group="fgl", name="<NAME>")
    assert entry.load() is <MODULE>


def test_its_name_selects_it():
    assert isinstance(fgl.create("<FAMILY>", "<NAME>"), <CAMEL>)
'''
_DESCRIBED = """

def test_every_option_is_described():
    assert all(field.description for field in <CAMEL>Options.model_fields.values())
"""


# --- doctor -----------------------------------------------------------------------------------------------------------


def plugins_doctor(as_json: Json = False) -> None:
    """Look each installed plugin over: where it comes from, whether it loads, fits this fgl, and clashes with another.

    Ends with exit code 3 if anything is wrong.
    """
    manager = PluginManager.load()
    found = examined(manager)
    wrong = sum(len(plugin["problems"]) for plugin in found)
    if as_json:
        say_json({"plugins": found, "problems": wrong})
    else:
        for plugin in found:
            mark = "ok " if not plugin["problems"] else "BAD"
            version = f" {plain(plugin['version'])}" if plugin["version"] else ""
            say(f"{mark} {plain(plugin['plugin'])} ({plain(plugin['distribution'])}{version}, {plain(plugin['from'])})")
            parts = [f"{family} {name}" for family, name in plugin["components"]]
            parts += [f"hook {hook}" for hook in plugin["hooks"]]
            say(f"      {plain(', '.join(parts) or 'registers nothing')}")
            for problem in plugin["problems"]:
                say(f"      {plain(problem)}")
        if not found:
            say("no plugins but fgl's own")
    if wrong:
        raise PluginError(f"{wrong} problem{'s' if wrong > 1 else ''} with installed plugins: see above")


def examined(manager: PluginManager) -> list[dict[str, Any]]:
    """Each plugin that is not fgl's own, with everything that is wrong with it. Imports its components."""
    plugins = []
    for status in manager.statuses:
        if not status.outsider:
            continue
        entries = [entry for entry in manager.registry.all() if entry.plugin == status.name and not entry.builtin]
        problems = [f"not loaded: {status.problem}"] if status.problem else []
        for entry in [] if status.problem else entries:
            try:
                manager.registry.check(entry)
            except PluginError as error:
                problems.append(str(error))
        hooks = [] if status.problem else manager.hooks_of(status.name)
        if not status.problem and not entries and not hooks:
            problems.append("registers no component and implements no hook: are its functions marked with hookimpl?")
        plugins.append(
            {
                "plugin": status.name,
                "distribution": status.distribution,
                "version": status.version,
                "from": status.origin,
                "components": [(entry.family, entry.component.name) for entry in entries],
                "hooks": hooks,
                "problems": problems,
            }
        )
    return plugins


# --- install ----------------------------------------------------------------------------------------------------------


def plugins_install(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A distribution, a folder or a wheel, as pip takes it.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Install a plugin with pip, into the environment that this fgl runs in. It runs the plugin's code: trust it."""
    if name.startswith("-"):
        raise ConfigError([Problem("NAME", repr(name), "expected a distribution, a folder or a wheel")], COMMAND_LINE)
    command = [sys.executable, "-m", "pip", "install", name]
    note(shlex.join(command))
    if not yes:
        if not sys.stdin.isatty():
            expected = "expected --yes: nobody can be asked here"
            raise ConfigError([Problem("--yes", "nothing", expected)], COMMAND_LINE)
        if not typer.confirm(f"Install {plain(name)}?", err=True):
            raise typer.Abort
    before = {status.distribution for status in PluginManager.load().statuses}
    ended = subprocess.run(command, check=False, stdout=2)  # stdout has the result alone
    if ended.returncode:
        raise PluginError(f"pip ended with code {ended.returncode}; see above")
    # another process: this one has looked at what is installed already
    shown = (
        "from fgl.core.plugin_manager import PluginManager as P; print(*{s.distribution for s in P.load().statuses})"
    )
    listed = subprocess.run([sys.executable, "-c", shown], check=False, capture_output=True, text=True).stdout.split()
    new = sorted(set(listed) - before)
    if as_json:
        say_json({"installed": new})
        return
    say(f"installed: {', '.join(new)}; fgl plugins doctor looks it over" if new else "installed; no new plugin of fgl")
