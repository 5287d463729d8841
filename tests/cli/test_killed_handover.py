"""What is signed, recorded and taken out, where the process is killed: the same command ends as if it had not been."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from fgl.contracts.progress import NullProgress
from fgl.core import orchestrator
from fgl.core.server import forget, ingest, log, removed
from fgl.core.session import Session
from fgl.core.store.run_dir import RunDir
from fgl.io import keys
from tests.helpers import commits
from tests.helpers.cli import CliResult

Typed = Callable[..., CliResult]
CLASSES = ["benign", "malignant"]
SHARED = {
    "dataset": {"class_names": CLASSES},
    "generator": {"name": "moments", "space": "pixels"},
    "prompt_strategy": "moments",
    "classifier": "analytic",
    "upload": {"clients": ["north", "south"], "run_id": "skin-1", "min_clients": 1, "codec": "fp32"},
    "baselines": "none",
}
KEYS = ("north", "south", "new", "officer")
INGEST = ("server", "ingest", "run", "north.safetensors", "south.safetensors")
CONFIG = ("--config", "shared.yaml", "--config", "server.yaml")


def write(name: str, settings: dict[str, Any]) -> None:
    Path(name).write_text(yaml.safe_dump(settings))


def public(name: str) -> str:
    return Path(f"{name}.pub").read_text().strip()


def serve(**changes: Any) -> None:
    listed = {name: public(name) for name in ("north", "south")}
    write("server.yaml", {"dataset": {"name": "imagefolder", "path": "slides"}, "server": {"keys": listed, **changes}})


@pytest.fixture
def site(fgl: Typed, tmp_path: Path) -> Typed:
    """`fgl` in a folder with uploads of two clients: north's is signed and approved, south's is unsigned."""
    for place, name in enumerate(CLASSES):
        folder = tmp_path / "slides" / name
        folder.mkdir(parents=True)
        for index in range(3):
            Image.fromarray(np.full((8, 8, 3), 99 * place + 9 * index, dtype=np.uint8)).save(folder / f"{index}.png")
    write("shared.yaml", SHARED)
    write("site.yaml", {"dataset": {"name": "imagefolder", "path": "slides"}})
    for name in KEYS:
        keys.write_pair(Path(name), *keys.client_pair())
    keys.write_pair(Path("server"), *keys.server_pair())
    serve(approvers={"north": public("officer")}, approved_only=True)
    typed(fgl, *prepare("north"), "--key", "north.key")
    typed(fgl, *APPROVE)
    typed(fgl, *prepare("south"))
    return fgl


def prepare(name: str) -> tuple[str, ...]:
    return ("client", "prepare", "shared.yaml", "site.yaml", "--client", name)


APPROVE = ("client", "approve", "north.safetensors", "shared.yaml", "site.yaml", "--key", "officer.key", "--no-attack")


def typed(fgl: Typed, *words: str, code: int = 0) -> CliResult:
    found = fgl(*words)
    assert found.code == code, found.out + found.err
    return found


def at_each_commit(act: Callable[[], object], state: Callable[[], Any], folder: str = ".", first: int = 1) -> int:
    """Kill an act at each of its commits and do it again: it ends in the state in which it does undisturbed.

    folder: all that it changes. first: the first commit that is tried. Returns how many commits it has."""
    start = Path.cwd().with_name(f"{Path.cwd().name}-start")
    shutil.rmtree(start, ignore_errors=True)
    shutil.copytree(folder, start)

    def begin() -> None:
        for path in Path(folder).iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        shutil.copytree(start, folder, dirs_exist_ok=True)

    commits.done(act)
    undisturbed, place = state(), first - 1
    while True:
        begin()
        place += 1
        if not commits.killed(act, place):
            return place - 1
        commits.done(act)
        assert state() == undisturbed, f"killed at commit {place}"


def files() -> dict[str, bytes]:
    """All that lies in the folder."""
    return {path.name: path.read_bytes() for path in Path.cwd().iterdir() if path.is_file()}


def recorded() -> dict[str, Any]:
    """What a run holds of its clients, and what its record says: each thing once, and no times. What is refused or
    taken out a second time may be said a second time."""
    run = RunDir(Path("run"))
    found = log.verify(run)
    assert not found.wrong, found.wrong
    beside = [{key: one[key] for key in one if key not in ("entry", "time", "entries")} for one in log.entries(run)]
    held = {path.name: path.read_bytes() for path in run.path("server").rglob("*") if path.parent.name == "uploads"}
    refused = (
        json.loads(run.path("server", "refused.json").read_text())
        if run.path("server", "refused.json").exists()
        else {}
    )
    return {
        "lines": list(dict.fromkeys(json.dumps(one) for one in beside if one["event"] != log.MENDED)),
        "held": held,
        "refused": sorted(refused.get("files", {})),
        "out": removed.removed_clients(run),
        "left": sorted(path.name for path in Path("run").rglob(".*.part")),
    }


def opened(fgl: Typed) -> Session:
    """The run that has begun, with the present server.yaml and without a file of north's."""
    typed(fgl, *INGEST[:3], "south.safetensors", *CONFIG, code=5)
    return orchestrator.reopen(Path("run"), NullProgress())


def ingesting(session: Session, *names: str) -> Callable[[], None]:
    def act() -> None:
        with session.run.lock():
            ingest.ingest(session, ["north", "south"], map(Path, names))

    return act


def test_a_file_that_was_being_signed_or_approved_is_the_same_when_it_is_signed_again(site: Typed) -> None:
    assert at_each_commit(commits.command(*APPROVE), files) == 1
    Path("north.safetensors.sig").unlink()
    # two of what stays at the site, the file and its signature
    assert at_each_commit(commits.command(*prepare("north"), "--key", "north.key"), files, first=3) == 4


def test_what_came_is_recorded_wherever_the_process_was_killed(site: Typed) -> None:
    begins = commits.command(*INGEST, *CONFIG, code=5)
    commits.done(begins)
    undisturbed = recorded()
    for place in (1, 3):
        shutil.rmtree("run")
        assert commits.killed(begins, place)
        commits.done(begins)
        assert recorded() == undisturbed
    shutil.rmtree("run")
    # upload and its manifest, two lines of the record and its head, of a file that is taken and of one that is refused
    session = opened(site)
    assert at_each_commit(ingesting(session, "north.safetensors", "server.yaml"), recorded, "run") == 13


def test_a_key_that_is_revoked_and_the_one_in_its_place_are_in_the_record(site: Typed) -> None:
    typed(site, *INGEST, *CONFIG, code=5)
    serve(keys={"north": [public("north"), public("new")], "south": public("south")}, revoked=[public("north")])
    revoking = (*INGEST[:3], "south.safetensors", *CONFIG)
    assert commits.killed(commits.command(*revoking), 1)
    session = opened(site)
    assert public("north") in session.config.server.revoked
    typed(site, *prepare("north"), "--key", "new.key")
    assert at_each_commit(ingesting(session, "north.safetensors"), recorded, "run") == 7
    commits.done(ingesting(session, "north.safetensors"))
    accepted = [one["key"] for one in log.entries(RunDir(Path("run"))) if one["event"] == log.ACCEPTED]
    assert accepted == [public("north"), public("new")], "each once"


def test_a_client_that_is_taken_out_is_out_wherever_the_process_was_killed(site: Typed) -> None:
    typed(site, *INGEST, *CONFIG, code=5)
    session = opened(site)

    def forgetting() -> None:
        with session.run.lock():
            forget.forget(session, ["north", "south"], "north")

    assert at_each_commit(forgetting, recorded, "run") == 10
    commits.done(forgetting)
    assert recorded()["out"] == ["north"]
    assert b"north" not in log.details_path(session.run).read_bytes()
