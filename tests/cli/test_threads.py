"""--threads: what it sets, what is chosen without it, and that a run keeps to what it began with."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fgl.commands._threads import choose, idle, usable_cores

CORES = usable_cores()

SCRIPT = """
import sys
from fgl.commands._threads import Threads
import typer
app = typer.Typer()
@app.command()
def show(out: str = None, quiet: bool = False, threads: Threads = None):
    assert "torch" not in sys.modules
    import torch
    print(torch.get_num_threads())
app()
"""


def shown(*arguments: str, **environment: str) -> tuple[str, str]:
    inherited = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *arguments], env={**inherited, **environment}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip(), done.stderr.strip()


def test_the_number_that_is_given_is_what_torch_computes_with() -> None:
    assert shown("--threads", "1") == ("1", "1 thread (--threads)")
    assert shown("--threads", str(CORES), OMP_NUM_THREADS="1")[0] == str(CORES)
    assert shown("--quiet", "--threads", "1") == ("1", "")


def test_more_threads_than_cores_are_not_taken() -> None:
    count, said = shown("--threads", str(CORES + 1))
    assert count == str(CORES)
    assert f"there are {CORES} cores" in said


def test_the_environment_is_kept_to() -> None:
    assert shown(OMP_NUM_THREADS="1") == ("1", "1 thread (OMP_NUM_THREADS)")


def test_a_run_goes_on_with_what_it_began_with(tmp_path: Path) -> None:
    (tmp_path / "environment.json").write_text(json.dumps({"threads": CORES}))
    count, said = shown("--out", str(tmp_path))
    assert count == str(CORES)
    assert "(as the run was started)" in said
    assert shown("--out", str(tmp_path), "--threads", "1")[0] == "1"


def test_a_comparison_goes_on_with_what_its_first_seed_began_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    (tmp_path / "seed-0").mkdir()
    (tmp_path / "seed-0" / "environment.json").write_text(json.dumps({"threads": 1}))
    assert choose(None, tmp_path) == (1, "as the run was started")


@pytest.mark.parametrize("content", ["", "[]", '{"threads": "2"}', '{"threads": true}', '{"threads": 99999}', "{"])
def test_a_damaged_account_of_a_run_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    (tmp_path / "environment.json").write_text(content)
    count, why = choose(None, tmp_path)
    assert count >= 1
    assert "load" in why


@pytest.mark.parametrize(
    ("cores", "load", "machine", "threads"),
    [
        (2, 0.0, 2, 2),
        (2, 0.4, 2, 2),
        (2, 1.2, 2, 1),
        (2, 13.0, 2, 1),
        (16, 4.0, 16, 12),
        (2, 32.0, 64, 1),
        (4, 8.0, 64, 4),
        (1, 0.0, 1, 1),
    ],
)
def test_one_thread_for_each_idle_core_and_one_at_least(cores: int, load: float, machine: int, threads: int) -> None:
    assert idle(cores, load, machine) == threads
