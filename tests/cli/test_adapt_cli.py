"""`fgl adapt`: what a person types and what comes back."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.helpers.cli import CliResult


@pytest.fixture
def flags(images: Callable[..., Path], pipeline: Path) -> list[str]:
    generator = [f"generator.model={pipeline}", "generator.num_inference_steps=1", "generator.dtype=fp32"]
    settings = [*generator, "adaptation.batch_size=8", "adaptation.held_out=0.3", "adaptation.samples=1"]
    given = ["--dataset", str(images(per_class=14)), "--generator", "stable-diffusion"]
    return [*given, *(word for one in settings for word in ("--set", one))]


def test_the_command_that_it_suggests_uses_what_it_has_made(
    fgl: Callable[..., CliResult], flags: list[str], tmp_path: Path
) -> None:
    said = fgl("adapt", *flags, "--lora", "2", "--steps", "2", "--out", "adapted")
    assert said.code == 0, said.err
    assert "held-out loss:" in said.out
    (line,) = (line for line in said.out.splitlines() if line.startswith("run it: "))
    command = shlex.split(line.removeprefix("run it: "))
    assert command[:2] == ["fgl", "run"]
    assert "generator.lora=adapted" in command
    dry = fgl("run", *command[2:], "--dry-run", "--clients", "2", "--partition", "iid")
    assert dry.code == 0, dry.err


def test_json_has_everything_and_nothing_else_is_printed(fgl: Callable[..., CliResult], flags: list[str]) -> None:
    said = fgl("adapt", *flags, "--full", "--steps", "1", "--json")
    result = json.loads(said.out)
    assert (result["option"], result["path"], result["steps"]) == ("model", "runs/adapted", 1)
    assert result["settings"]["kind"] == "full"


def test_flags_override_a_file(fgl: Callable[..., CliResult], flags: list[str], tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("adaptation: {kind: full, steps: 50}\n")
    said = fgl("adapt", "mine.yaml", *flags, "--lora", "3", "--steps", "1", "--json")
    result = json.loads(said.out)
    assert (result["settings"]["kind"], result["settings"]["rank"], result["steps"]) == ("lora", 3, 1)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--lora", "4", "--full"], "--lora, --full: got all of them; expected one kind of adaptation"),
        (["--set", "adaptation.kind=lora8"], "adaptation.kind: got 'lora8'"),
        (["--set", "adaptation.rang=8"], "did you mean 'rank'"),
        (["--minutes", "0"], "adaptation.minutes: got 0"),
    ],
)
def test_wrong_words_are_named(
    fgl: Callable[..., CliResult], flags: list[str], arguments: list[str], expected: str
) -> None:
    said = fgl("adapt", *flags, *arguments)
    assert said.code == 2
    assert expected in said.err
    assert "Traceback" not in said.err
