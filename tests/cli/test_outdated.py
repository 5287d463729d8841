"""A folder that fgl 0.1 wrote is refused with what to do about it, whichever command opens it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from fgl.core.store import folder_kind
from fgl.core.store.ledger import NAME as LEDGER
from fgl.core.store.ledger import Ledger
from fgl.io import strict_json
from tests.helpers.cli import CliResult

Fgl = Callable[..., CliResult]


def ledger_of_01(folder: Path, kind: str) -> None:
    lines = [{"kind": kind}, ["+", "config.yaml"], ["+", "report.md"]]
    texts = [strict_json.ascii_dumps(line) for line in lines]
    marked = [f"{hashlib.sha256(text.encode()).hexdigest()[:12]} {text}\n" for text in texts]
    (folder / LEDGER).write_text("".join(marked))


def run_of_01(folder: Path, *, ledger: bool = True, remote: bool = False) -> Path:
    """As much of a run directory as 0.1 had after its first stage."""
    (folder / "server").mkdir(parents=True)
    (folder / "report.md").write_text("# Report\n")
    text = (folder_kind.REMOTE_LINE if remote else "") + "seed: 0\n"
    digest = hashlib.sha256(text.encode()).hexdigest()
    (folder / "config.yaml").write_text(f"{text}# sha256 of the lines above: {digest}\n")
    (folder / "stages").mkdir()
    record = {"version": 2, "stage": "partition", "inputs": {}, "outputs": {}, "seconds": 0.0, "value": {}}
    seal = hashlib.sha256(strict_json.canonical(record)).hexdigest()
    (folder / "stages" / "partition.json").write_text(strict_json.dumps({**record, "seal": seal}))
    if remote:
        (folder / "server" / "remote-clients.json").write_text("{}")
    if ledger:
        ledger_of_01(folder, "run")
    return folder


COMMANDS = [
    ("run", "--resume", "old"),
    ("run", "--out", "old"),
    ("stages", "old"),
    ("stages", "old", "--config", "old/config.yaml"),
    ("quality", "old"),
    ("audit", "old"),
    ("server", "run", "old"),
    ("server", "ingest", "old", "upload.safetensors"),
    ("server", "forget", "old", "--client", "client-00"),
]


@pytest.mark.parametrize("ledger", [True, False])
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_run_of_01_is_refused_and_stays_as_it_is(
    fgl: Fgl, tmp_path: Path, command: tuple[str, ...], ledger: bool
) -> None:
    old = run_of_01(tmp_path / "old", ledger=ledger, remote=command[0] == "server")
    (tmp_path / "upload.safetensors").write_bytes(b"x")
    before = {path: path.read_bytes() for path in old.rglob("*") if path.is_file()}
    result = fgl(*command)
    said = " ".join(result.err.split())
    assert result.code != 0
    assert "was written by fgl 0.1" in said
    assert "finish it with fgl 0.1 (pip install 'fgl<0.2'), or start a new run in another folder" in said
    assert "Traceback" not in said
    assert {path: path.read_bytes() for path in old.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("kind", "command"),
    [("compare", ("compare", "--methods", "fgl")), ("sweep", ("sweep", "--over", "seed=1,2"))],
)
def test_a_comparison_of_01_is_refused(fgl: Fgl, tmp_path: Path, kind: str, command: tuple[str, ...]) -> None:
    (tmp_path / "old").mkdir()
    ledger_of_01(tmp_path / "old", kind)
    result = fgl(*command, "--out", "old")
    assert result.code != 0
    assert "was written by fgl 0.1" in " ".join(result.err.split())


def test_what_a_client_keeps_is_the_same_in_both_versions(tmp_path: Path) -> None:
    ledger_of_01(tmp_path, "private")
    assert not folder_kind.is_outdated(tmp_path)


def test_a_run_of_01_can_be_replaced(fgl: Fgl, tmp_path: Path, images: Callable[..., Path], pipeline: Path) -> None:
    old = run_of_01(tmp_path / "old")
    (old / "mine.txt").write_text("mine")
    words = [
        "--dataset", str(images(6)), "--partition", "iid", "--clients", "2", "--generator", "stable-diffusion",
        "--set", f"generator.model={pipeline}", "--set", "generator.num_inference_steps=1",
        "--images-per-class", "2", "--set", "classifier.epochs=1", "--set", "classifier.image_size=16",
        "--baselines", "none", "--quiet",
    ]  # fmt: skip
    result = fgl("run", "--out", "old", "--replace", *words)
    assert result.code == 0, result.err
    assert Ledger(old).format == 2
    assert not folder_kind.is_outdated(old)
    assert (old / "mine.txt").read_text() == "mine"
    assert fgl("stages", "old").code == 0


def test_the_digest_of_a_run_of_01_can_be_asked_for(fgl: Fgl, tmp_path: Path) -> None:
    result = fgl("digest", str(run_of_01(tmp_path / "old")))
    assert "holds no synthetic set" in " ".join(result.err.split())
