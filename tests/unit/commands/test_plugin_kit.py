"""What `fgl plugins new` writes passes its own tests, and `doctor` tells sound plugins from others."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fgl.commands.plugin_kit import CONTRACTS, distribution
from fgl.contracts.component import FAMILIES
from fgl.core import plugin_manager
from fgl.testing import contracts
from tests.helpers.cli import CliResult, run_cli
from tests.helpers.installed import install


@pytest.fixture
def fgl(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., CliResult]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(plugin_manager.DIRECTORY, raising=False)
    return run_cli(monkeypatch, capsys)


def test_every_family_has_a_beginning_and_its_contract() -> None:
    assert set(CONTRACTS) == set(FAMILIES)
    assert {family: cls.__name__ for family, cls in contracts.CONTRACTS.items()} == CONTRACTS


SLOW = (
    "last_bit", "written_to", "another_seed", "global_random", "notes", "latents", "gradients", "loss", "weights",
    "resumed", "hook", "starts_from", "learns", "history", "passes_the_check", "loaded",
)  # fmt: skip
"""Tests of the built-in ones that these two begin as, which the built-in ones pass in tests/contract."""


def test_a_new_plugin_of_every_family_passes_its_tests_as_it_is_written(tmp_path: Path) -> None:
    """Written, put where pip would put them, linted, and tested, all in one process."""
    sources = []
    for family in FAMILIES:
        name = f"new-{family.replace('_', '-')}"
        folder = tmp_path / f"fgl-{name}"
        for path, text in distribution(name, family).items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text, encoding="utf-8")
        project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
        ((plugin, module),) = project["entry-points"]["fgl"].items()
        info = folder / "src" / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: 0.1.0\n")
        (info / "entry_points.txt").write_text(f"[fgl]\n{plugin} = {module}\n")
        sources.append(str(folder / "src"))
        assert "Mine" not in "".join(path.read_text() for path in folder.rglob("*.py"))
        assert "<" not in re.sub(r"<[^<>]*\d[^<>]*>|[<>]=? ?\d|<0\.3", "", (folder / "pyproject.toml").read_text())
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*sources, *sys.path]), "OMP_NUM_THREADS": "1"}
    tests = [str(path) for path in sorted(tmp_path.glob("*/tests/test_*.py"))]
    assert len(tests) == len(FAMILIES)
    options = ["-q", "-p", "no:cacheprovider", "-p", "no:xdist", f"--rootdir={tmp_path}", "--import-mode=importlib"]
    options += ["-k", f"not ((TestNewGenerator or TestNewClassifier) and ({' or '.join(SLOW)}))"]
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *tests],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stdout[-4000:] + ended.stderr[-2000:]
    for check in (["check"], ["format", "--check"]):
        linted = subprocess.run(
            [sys.executable, "-m", "ruff", *check, "--no-cache", str(tmp_path)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert linted.returncode == 0, linted.stdout + linted.stderr
    doctor = subprocess.run(
        [sys.executable, "-c", "from fgl.cli import main; main()", "plugins", "doctor", "--json"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    found = {plugin["plugin"]: plugin for plugin in json.loads(doctor.stdout)["plugins"]}
    for family in FAMILIES:
        name = f"new-{family.replace('_', '-')}"
        assert found[name]["problems"] == []
        assert found[name]["components"] == [[family, name]]


def test_new_writes_a_folder_and_says_what_comes_next(fgl: Callable[..., CliResult], tmp_path: Path) -> None:
    ended = fgl("plugins", "new", "my-prompts", "--family", "prompt_strategy")
    assert ended.code == 0, ended.err
    written = {
        path.relative_to(tmp_path / "fgl-my-prompts").as_posix() for path in tmp_path.rglob("*") if path.is_file()
    }
    assert written == set(distribution("my-prompts", "prompt_strategy"))
    assert "pip install -e fgl-my-prompts[dev]" in ended.out
    again = fgl("plugins", "new", "fgl-my-prompts", "--family", "prompt_strategy")
    assert again.code == 7
    assert "fgl-my-prompts exists" in again.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("my-prompts", "--family", "prompts"), "--family: got 'prompts'; unknown family"),
        (("My Prompts", "--family", "dataset"), "NAME: got 'My Prompts'; expected lower-case letters"),
        (("../x", "--family", "datasets"), "did you mean 'dataset'"),
        (("../x", "--family", "datasets"), "NAME: got '../x'"),
    ],
)
def test_a_name_or_family_that_cannot_be_is_said_at_once(
    fgl: Callable[..., CliResult], tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    ended = fgl("plugins", "new", *words)
    assert ended.code == 2
    assert said in ended.err
    assert list(tmp_path.iterdir()) == []


SOURCES = {
    "sound": "from fgl import Component, Options, hookimpl\nclass Mine:\n    def prompts(self, context): return []\n"
    "@hookimpl\ndef fgl_prompt_strategies(): return [Component('sound', Mine)]\n",
    "hooked": "from fgl import hookimpl\n@hookimpl\ndef fgl_run_started(context): pass\n",
    "empty": "x = 1\n",
    "raises": "raise RuntimeError('no licence file')\n",
    "later": "from fgl import Component, hookimpl\n@hookimpl\n"
    "def fgl_prompt_strategies(): return [Component('later', 'later:X', api_version=99)]\n",
    "clashes": "from fgl import Component, hookimpl\n@hookimpl\n"
    "def fgl_aggregators(): return [Component('union', 'clashes:X')]\n",
    "lacks": "from fgl import Component, hookimpl\nclass Mine:\n    def prompt(self, context): return []\n"
    "@hookimpl\ndef fgl_prompt_strategies(): return [Component('lacks', Mine)]\n",
    "gone": "from fgl import Component, hookimpl\n@hookimpl\n"
    "def fgl_prompt_strategies(): return [Component('gone', 'no_such_module:X')]\n",
}


def test_doctor_says_of_each_plugin_what_is_wrong(
    fgl: Callable[..., CliResult], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, source in SOURCES.items():
        install(monkeypatch, tmp_path / name, f"fgl_doc_{name}", source, name)
    ended = fgl("plugins", "doctor", "--json")
    assert ended.code == 3
    found = {plugin["plugin"]: plugin for plugin in json.loads(ended.out)["plugins"]}
    said = {name: "; ".join(found[name]["problems"]) for name in SOURCES}
    assert said["sound"] == said["hooked"] == ""
    assert found["hooked"]["hooks"] == ["fgl_run_started"]
    assert found["sound"]["from"] == str(tmp_path / "sound" / "fgl_doc_sound.py")
    assert "registers no component and implements no hook" in said["empty"]
    assert "not loaded: RuntimeError: no licence file" in said["raises"]
    assert "written for plugin API 99" in said["later"]
    assert "aggregator 'union' is registered by fgl (plugin aggregators) and fgl-clashes" in said["clashes"]
    assert "'lacks' of fgl-lacks has no prompts, which fgl.PromptStrategy has" in said["lacks"]
    assert "cannot import 'no_such_module:X'" in said["gone"]
    shown = fgl("plugins", "doctor")
    assert shown.code == 3
    assert "BAD raises (fgl-raises 0.1.0, " in shown.out
    assert "ok  sound (fgl-sound 0.1.0, " in shown.out
    assert "error: 6 problems with installed plugins" in shown.err


SINGLE = """
from fgl import Component, Options, Prompt, hookimpl
class LoudOptions(Options):
    mark: str = "!"
class Loud:
    def __init__(self, options): self.mark = options.mark
    def prompts(self, context): raise KeyError("loud")
@hookimpl
def fgl_prompt_strategies(): return [Component("loud", Loud, LoudOptions, summary="each class, loud")]
"""


def test_a_single_file_is_a_plugin_where_a_folder_is_named(fgl: Any, tmp_path: Path, monkeypatch: Any) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "loud_prompts.py").write_text(SINGLE)
    (folder / "_helper.py").write_text("raise RuntimeError('no plugin')")
    (folder / "broken_one.py").write_text("raise RuntimeError('half written')")
    Path("loud_prompts.py").write_text(SINGLE)  # the working directory is no such folder
    assert "loud" not in fgl("plugins", "list").out
    monkeypatch.setenv(plugin_manager.DIRECTORY, str(folder))
    listed = fgl("plugins", "list").out
    assert re.search(r"loud +each class, loud \[.*loud_prompts.py\]", listed)
    assert "not loaded: broken-one" in listed
    assert "half written" in listed
    assert "loud" in fgl("run", "--help").out
    manager = plugin_manager.PluginManager.load()
    with pytest.raises(Exception, match=r"'loud' of .*loud_prompts.py: PromptStrategy.prompts\(\) raised KeyError"):
        manager.registry.create("prompt_strategy", "loud", {}).prompts(None)
    status = next(status for status in manager.statuses if status.name == "loud-prompts")
    assert re.fullmatch("sha256:[0-9a-f]{12}", status.version)


def test_the_folder_may_be_named_before_the_command(fgl: Any, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv(plugin_manager.DIRECTORY, "")  # set by the option, for child processes: restored afterwards
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "louder_prompts.py").write_text(SINGLE.replace('"loud"', '"louder"'))
    for words in (("--plugins-dir", "mine", "plugins", "list"), ("--plugins-dir=mine", "plugins", "list")):
        assert "louder" in fgl(*words).out
    assert "expected a folder with plugins" in fgl("--plugins-dir", "none-here", "plugins", "list").err
    assert fgl("--plugins-dir").code == 2


def test_install_shows_its_command_and_asks(fgl: Callable[..., CliResult]) -> None:
    ended = fgl("plugins", "install", "fgl-that-nobody-wrote")
    assert ended.code == 2
    assert "-m pip install fgl-that-nobody-wrote" in ended.err
    assert "--yes" in ended.err
    assert fgl("plugins", "install", "--yes", "./no-such-folder-of-a-plugin").code == 3
