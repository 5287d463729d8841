"""What a person reads before the first run, and while it works."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.main import get_command

from fgl.cli import build
from fgl.commands._loading import TEXT
from fgl.commands._table import NAMES, PANELS
from fgl.core.plugin_manager import PluginManager
from tests.helpers.cli import CliResult

Fgl = Callable[..., CliResult]


def _plain(text: str) -> str:
    """Help without its frames, on one line."""
    return re.sub(r"[\s│╭╮╰╯─]+", " ", text)


def test_help_lists_commands_in_order_of_use_and_those_of_plugins_by_themselves(fgl: Fgl) -> None:
    said = _plain(fgl("--help").out)
    places = [said.index(f" {panel} ") for panel in (*PANELS, "Commands of installed plugins")]
    assert places == sorted(places)
    assert said.index(" datasets ") < said.index(" probe ") < said.index(" run ") < said.index(" compare ")
    if "example-prompts" in said:
        assert said.index("example-prompts") > said.index("Commands of installed plugins")


def test_help_says_what_to_start_with_and_where_the_pages_are(fgl: Fgl) -> None:
    said = _plain(fgl("--help").out)
    assert "Start with: fgl run" in said
    assert "fgl datasets check --dataset DIR" in said
    assert "docs/README.md" in said


def _commands(command: object, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    inner = getattr(command, "commands", None)
    if inner is None:
        yield words
        return
    for name, one in inner.items():
        yield from _commands(one, (*words, name))


COMMANDS = list(_commands(get_command(build(PluginManager.load()))))


@pytest.mark.parametrize(
    "words",
    [words for words in COMMANDS if words[0] in NAMES],
    ids=" ".join,
)
def test_no_help_shows_a_type_behind_a_flag_or_a_blank_that_was_not_filled(fgl: Fgl, words: tuple[str, ...]) -> None:
    said = fgl(*words, "--help").out
    assert "<bool>" not in said
    assert "{installed}" not in said


def test_options_name_what_is_installed(fgl: Fgl) -> None:
    said = _plain(fgl("run", "--help").out)
    registry = PluginManager.load().registry
    families = ("prompt_strategy", "partition", "generator", "classifier", "aggregator")
    for family in (*families, "algorithm", "federation", "executor"):
        names = registry.names(family)
        assert names
        assert f"--{family.replace('_', '-')} " in said, family
        assert all(name in said for name in names), family


@pytest.mark.parametrize(("family", "name"), [("algorithm", "fedprox"), ("federation", "local"), ("executor", "local")])
def test_a_flag_selects_the_component_of_its_family(fgl: Fgl, family: str, name: str) -> None:
    said = fgl("config", "show", "--json", f"--{family}", name)
    assert json.loads(said.out)["config"][family]["name"] == name
    wrong = fgl("config", "show", f"--{family}", f"{name}x")
    assert wrong.code == 2
    assert f"{family}: got '{name}x'; unknown {family} '{name}x': did you mean {name!r}?" in wrong.err


def test_a_flag_selects_and_set_gives_options_in_any_order(fgl: Fgl) -> None:
    said = fgl("config", "show", "--json", "--set", "algorithm.mu=0.5", "--algorithm", "fedprox")
    assert json.loads(said.out)["config"]["algorithm"]["mu"] == 0.5


def test_compare_and_sweep_take_the_algorithm_of_rounds_and_probe_which_has_none_does_not(fgl: Fgl) -> None:
    for words in ("run", "compare", "sweep"):
        assert "--algorithm " in _plain(fgl(words, "--help").out)
    said = _plain(fgl("probe", "--help").out)
    assert "--algorithm " not in said
    assert "--federation " in said


def test_baselines_are_a_flag_with_their_names_in_its_help(fgl: Fgl) -> None:
    said = _plain(fgl("run", "--help").out)
    assert "--baselines" in said
    for name in ("class-list", "fedavg", "local", "public", "centralized", "prompts:STRATEGY"):
        assert name in said


@pytest.mark.parametrize(
    ("given", "baselines"),
    [
        ("all", "all"),
        ("none", []),
        ("centralized,fedavg", ["centralized", "fedavg"]),
        ("[centralized, local]", ["centralized", "local"]),
    ],
)
def test_baselines_are_taken_as_a_list_with_commas(fgl: Fgl, given: str, baselines: object) -> None:
    said = fgl("config", "show", "--json", "--baselines", given)
    assert json.loads(said.out)["config"]["baselines"] == baselines


def test_a_wrong_control_is_an_error_that_names_all(fgl: Fgl) -> None:
    said = fgl("run", "--baselines", "centralized,fedavgg", "--dry-run")
    assert said.code == 2
    assert "did you mean 'fedavg'" in said.err


@pytest.mark.parametrize("words", [["stages", "nothing"], ["run", "--dry-run", "--baselines", "none"]], ids=" ".join)
def test_a_line_comes_before_the_seconds_that_libraries_take(words: list[str], tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-m", "fgl", *words], capture_output=True, text=True, cwd=tmp_path)
    assert TEXT in done.stderr.splitlines()[:2]  # the number of threads is said before, for it has to be set before
    assert TEXT not in done.stdout


def test_quiet_says_nothing_of_loading(tmp_path: Path) -> None:
    words = ["run", "--dry-run", "--quiet", "--baselines", "none"]
    done = subprocess.run([sys.executable, "-m", "fgl", *words], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0
    assert done.stderr == ""


SMALL = (
    "--images-per-class",
    "2",
    "--set",
    "classifier.epochs=1",
    "--set",
    "generator.num_inference_steps=1",
    "--set",
    "dataset.max_per_class=4",
    "--set",
    "partition.name=iid",
    "--clients",
    "2",
)


def test_every_part_of_a_run_has_a_heading_so_that_a_second_synthesis_is_no_restart(fgl: Fgl) -> None:
    said = fgl("run", "--baselines", "prompts:attributes,class-list,fedavg,local,centralized", "--out", "run", *SMALL)
    assert said.code == 0, said.err
    headings = [line for line in said.err.splitlines() if line.startswith("part ")]
    assert [line.partition(": ")[2].partition(":")[0] for line in headings] == [
        "one-shot run with class-name prompts",
        "baseline prompts",
        "baseline class-list",
        "baseline fedavg",
        "baseline centralized",
    ]
    assert headings[0].startswith("part 1 of 5: ")
    assert headings[1].startswith("part 2 of 5: baseline prompts:attributes: a second run, with attributes prompts")


def test_the_old_flag_for_baselines_is_still_taken_with_a_warning(fgl: Fgl, caplog: pytest.LogCaptureFixture) -> None:
    said = fgl("config", "show", "--json", "--controls", "pooled,fedavg")
    assert json.loads(said.out)["config"]["baselines"] == ["centralized", "fedavg"]
    assert "--controls is called --baselines now" in caplog.text
    assert "--controls" not in fgl("run", "--help").out
    both = fgl("config", "show", "--controls", "none", "--baselines", "none")
    assert both.code == 2
    assert "--controls, --baselines" in both.err
