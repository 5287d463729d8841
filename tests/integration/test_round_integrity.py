"""Rounds with a hostile client among honest ones, and with kept files that were lost, damaged or put back."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

import fgl
from fgl.contracts.events import StageContext
from fgl.core.client import training
from fgl.core.wire import updates
from fgl.errors import DivergedError
from tests.conftest import changed
from tests.helpers.settings import small

ROUNDS = {"count": 2, "local_epochs": 1, "start": "one-shot"}
Settings = Callable[..., dict[str, Any]]


@pytest.fixture
def settings(images: Callable[..., Path], pipeline: Path) -> Settings:
    folder = images(per_class=12)

    def make(**changes: Any) -> dict[str, Any]:
        base = small(folder, pipeline, partition={"clients": 4}, rounds=ROUNDS, algorithm="fedavg")
        return changed(base, changes)

    return make


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Callable[[dict[str, Any]], tuple[Any, Path]]:
    """The result and the folder of a run without client-00, made once: what is given is the same but for its folder."""
    made: list[tuple[Any, Path]] = []

    def run(given: dict[str, Any]) -> tuple[Any, Path]:
        if not made:
            out = tmp_path_factory.mktemp("honest") / "run"
            made.append((fgl.run(given, out=out), out))
        return made[0]

    return run


def final(out: Path) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in load_file(out / "rounds" / "own" / "model.safetensors").items()}


Reply = Callable[[updates.Header, dict[str, np.ndarray]], bytes]


@pytest.fixture
def hostile(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Reply], None]:
    """Has a client answer each round with bytes of its own making, from (header, the model that it was sent)."""
    honest = training.train

    def answer(client_id: str, reply: Reply) -> None:
        def train(asked: Any, message: memoryview) -> bytes:
            if asked["client_id"] != client_id:
                return honest(asked, message)
            model, _, _ = updates.received(message)
            return reply(updates.Header("", client_id, asked["round"], samples=6, loss=0.5), model)

        monkeypatch.setattr(training, "train", train)

    return answer


def filled(value: float) -> Reply:
    def reply(header: updates.Header, model: dict[str, np.ndarray]) -> bytes:
        huge = {n: np.full_like(a, value) if a.dtype == np.float32 else a for n, a in model.items()}
        return updates.encode(header, huge, {})

    return reply


HOSTILE: dict[str, tuple[Reply, str]] = {
    "diverged": (lambda header, _: updates.encode(header, {}, {}, updates.DIVERGED), "rule diverged"),
    "1e12 everywhere": (filled(1e12), "rule norm"),
    "infinite": (filled(np.inf), "rule value"),
    "times -50": (
        lambda header, model: updates.encode(
            header, {n: -50 * a if a.dtype == np.float32 else a for n, a in model.items()}, {}
        ),
        "rule norm",
    ),
    "loss": (lambda header, model: updates.encode(replace(header, loss=1.7e308), model, {}), "rule value"),
    "negative loss": (lambda header, model: updates.encode(replace(header, loss=-1.0), model, {}), "rule value"),
    "samples": (lambda header, model: updates.encode(replace(header, samples=10**9), model, {}), "rule weight"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_client_is_the_only_one_that_is_left_out(
    settings: Settings,
    tmp_path: Path,
    hostile: Callable[[str, Reply], None],
    honest: Callable[[dict[str, Any]], tuple[Any, Path]],
    kind: str,
) -> None:
    reply, rule = HOSTILE[kind]
    hostile("client-00", reply)
    result = fgl.run(settings(), out=tmp_path / "run")
    for entry in result["rounds"]["rounds"]:
        assert entry["clients"] == ["client-01", "client-02", "client-03"]
        assert entry["failed"].keys() == {"client-00"}
        assert entry["failed"]["client-00"].startswith(rule)
    without, folder = honest(settings(rounds={"drop": {1: ["client-00"], 2: ["client-00"]}}))
    assert final(tmp_path / "run") == final(folder)
    assert result["result"] == without["result"]


def test_training_that_diverges_at_all_clients_ends_the_run(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def train(asked: Any, message: memoryview) -> bytes:
        return updates.encode(updates.Header("", asked["client_id"], asked["round"]), {}, {}, updates.DIVERGED)

    monkeypatch.setattr(training, "train", train)
    with pytest.raises(DivergedError, match="round 1: training diverged at client-00, client-01, client-02, client-03"):
        fgl.run(settings(), out=tmp_path / "run")


# --- what a client keeps --------------------------------------------------------------------------------------------

SCAFFOLD = {"algorithm": {"name": "scaffold"}, "partition": {"name": "iid", "clients": 3}}


@pytest.fixture
def whole(settings: Settings, tmp_path: Path) -> dict[str, bytes]:
    """The model after four rounds at once."""
    fgl.run(settings(**SCAFFOLD, rounds={"count": 4}), out=tmp_path / "whole")
    return final(tmp_path / "whole")


def kept_files(out: Path) -> list[Path]:
    return sorted(out.glob("clients/*/private/rounds/own/*.safetensors"))


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_rounds_never_resume_from_anything_but_what_the_clients_kept(
    settings: Settings, tmp_path: Path, whole: dict[str, bytes], caplog: pytest.LogCaptureFixture
) -> None:
    two, four = settings(**SCAFFOLD), settings(**SCAFFOLD, rounds={"count": 4})
    first = tmp_path / "first"
    fgl.run(two, out=first)
    assert [path.name for path in kept_files(first)] == ["1.safetensors", "2.safetensors"] * 3

    def one_flipped(out: Path) -> None:
        flip(out / "clients" / "client-01" / "private" / "rounds" / "own" / "2.safetensors")

    def all_gone(out: Path) -> None:
        shutil.rmtree(out / "clients")

    def an_old_one_put_back(out: Path) -> None:
        folder = out / "clients" / "client-02" / "private" / "rounds" / "own"
        (folder / "2.safetensors").unlink()

    for name, damage in {"flip": one_flipped, "gone": all_gone, "old": an_old_one_put_back}.items():
        out = tmp_path / name
        shutil.copytree(first, out)
        damage(out)
        caplog.clear()
        fgl.run(four, out=out)
        assert "no longer has what it kept in an earlier round" in caplog.text, name
        assert "trained anew, from the first round" in caplog.text, name
        assert final(out) == whole, name

    # the server's part from a backup, older than what the clients have
    out = tmp_path / "backup"
    shutil.copytree(first, out)
    fgl.run(four, out=out)
    shutil.rmtree(out / "rounds")
    shutil.copytree(first / "rounds", out / "rounds")
    (out / "stages" / "rounds.json").unlink()
    caplog.clear()
    fgl.run(four, out=out)
    assert "client-00 no longer has what it kept" in caplog.text
    assert final(out) == whole


def test_what_clients_keep_may_go_while_rounds_are_at_work(
    settings: Settings, tmp_path: Path, whole: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    from fgl.core.events import Events

    told = Events.round_finished
    removed: list[int] = []

    def remove(self: Events, context: StageContext, entry: Any) -> None:
        told(self, context, entry)
        if entry["round"] == 2 and not removed:
            removed.append(2)
            shutil.rmtree(tmp_path / "run" / "clients")

    monkeypatch.setattr(Events, "round_finished", remove)
    result = fgl.run(settings(**SCAFFOLD, rounds={"count": 4}), out=tmp_path / "run")
    assert removed == [2]
    assert final(tmp_path / "run") == whole
    assert [entry["round"] for entry in result["rounds"]["rounds"]] == [1, 2, 3, 4]
    assert not any(entry["failed"] for entry in result["rounds"]["rounds"])


def test_a_client_that_says_again_and_again_that_it_lost_something_is_one_that_failed(
    settings: Settings, tmp_path: Path, hostile: Callable[[str, Reply], None], caplog: pytest.LogCaptureFixture
) -> None:
    hostile("client-00", lambda header, _: updates.encode(header, {}, {}, updates.LOST))
    result = fgl.run(settings(), out=tmp_path / "run")
    assert caplog.text.count("trained anew, from the first round") == 1
    for entry in result["rounds"]["rounds"]:
        assert entry["failed"] == {"client-00": "rule kept: it no longer has what it kept in an earlier round"}
        assert entry["clients"] == ["client-01", "client-02", "client-03"]
    json.dumps(result, allow_nan=False)
