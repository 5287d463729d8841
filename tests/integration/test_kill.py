"""A run that is killed, starved of disk, or misled by the clock ends as an undisturbed one, or says what is wrong."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

import fgl
from fgl.core.orchestrator import digest
from fgl.errors import StoreError
from tests.helpers.kill import Ended, Killer
from tests.helpers.settings import write_noise

SHARD, BATCH, EPOCHS = 4, 2, 3
CHAINS = 4
"""Runs among which the moments to be killed at are dealt out: each gets a few writes further between two kills."""


@pytest.fixture(scope="module")
def config(pipeline: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    root = write_noise(tmp_path_factory.mktemp("images"))
    return {
        "dataset": str(root),
        "partition": {"name": "iid", "clients": 2},
        "prompt_strategy": "attributes",
        "generator": {
            "name": "stable-diffusion",
            "model": str(pipeline),
            "num_inference_steps": 1,
            "dtype": "fp32",
            "guidance_scale": 2.0,
            "batch_size": BATCH,
        },
        "synthesis": {"images_per_class": 4, "shard_size": SHARD},
        "classifier": {
            "name": "small",
            "epochs": EPOCHS,
            "image_size": 16,
            "batch_size": 8,
        },
        "baselines": ["class-list"],
    }


@pytest.fixture(scope="module")
def killer(config: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Killer:
    return Killer(config, tmp_path_factory.mktemp("logs"))


@pytest.fixture(scope="module")
def undisturbed(killer: Killer, tmp_path_factory: pytest.TempPathFactory) -> tuple[Ended, Path]:
    out = tmp_path_factory.mktemp("runs") / "undisturbed"
    killer.run(out.with_name("first"))  # what is imported late is there then: the next one takes as long as any
    ended = killer.run(out)
    assert ended.code == 0, ended.result
    return ended, out


def same(killer: Killer, ended: Ended, out: Path, undisturbed: tuple[Ended, Path], kills: int) -> None:
    """The same images and figures, and no more work done than was lost with each kill."""
    whole, first = undisturbed
    assert ended.code == 0, ended.result
    for key in ("result", "history"):
        assert ended.result[key] == whole.result[key]
    assert ended.result["synthetic"]["digest"] == whole.result["synthetic"]["digest"] == digest(out)
    tops = [[baseline["name"], baseline["top1"], baseline["last"]] for baseline in ended.result["baselines"]]
    assert tops == [[baseline["name"], baseline["top1"], baseline["last"]] for baseline in whole.result["baselines"]]
    # a finished shard whose commit is under way, and the batch after it
    assert len(killer.log(out, "image")) <= len(killer.log(first, "image")) + kills * (SHARD + BATCH)
    assert len(killer.log(out, "epoch")) <= len(killer.log(first, "epoch")) + kills
    assert len(killer.log(out, "client")) <= len(killer.log(first, "client")) + kills
    assert not list(out.glob("server/*.previous"))
    assert not list(out.glob("checkpoints/*"))
    assert not hidden(out)


def killed_at_each(killer: Killer, first: Path, points: Sequence[int], out: Path) -> tuple[Ended, int]:
    """One run, killed at each of the writes (counted from 1) of the undisturbed run `first`, and how often; no kill
    costs more work than `same` allows for one, and each attempt puts away what the one before it left."""
    written, log, moments = killer.log(first, "write"), killer.log(first, ""), ("before", "half", "after")
    work = [line for line in log if not line.startswith("write")]
    assert len(work) == len(set(work))
    for point in (*points, 0):
        done = Counter(killer.log(out, ""))
        if point:
            line, moment = written[point - 1], moments[point % 3]
            ended = killer.run(out, kill_on=[line, written[:point].count(line)], moment=moment)
            assert ended.killed, f"the run was to die {moment} write {point}, {line}: {ended.result}"
            part = Path(line.removeprefix("write "))
            left = {path.relative_to(out) for path in hidden(out)}
            assert left == ({part.with_name(f".{part.name}.part")} if moment == "half" else set())
        else:
            ended = killer.run(out)
        for kind, lost in (("image", SHARD + BATCH), ("epoch", 1), ("client", 1)):
            now = Counter(killer.log(out, kind))
            assert sum(min(count - done[line], count - 1) for line, count in now.items()) <= lost, (point, kind)
    return ended, len(points)


def hidden(out: Path) -> list[Path]:
    return [path for path in out.rglob(".*") if path.name not in (".lock", ".fgl-files")]


@pytest.mark.slow
def test_killed_at_every_commit_point_a_run_ends_the_same(
    killer: Killer, undisturbed: tuple[Ended, Path], tmp_path: Path
) -> None:
    points = len(killer.log(undisturbed[1], "write"))
    assert points > 40
    for start in range(1, CHAINS + 1):
        out = tmp_path / f"run-{start}"
        ended, kills = killed_at_each(killer, undisturbed[1], range(start, points + 1, CHAINS), out)
        same(killer, ended, out, undisturbed, kills)
        shutil.rmtree(out)


@pytest.mark.slow
def test_killed_while_texts_are_kept_and_encoded_a_run_ends_the_same(
    config: dict[str, Any], tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    """At each write between the first upload and the plan: the texts, their manifest, what they are encoded to."""
    short = {**config, "upload": {"codec": "text"}, "baselines": "none"}
    killer = Killer(short, tmp_path_factory.mktemp("text-logs"))
    first = tmp_path / "first"
    undisturbed = killer.run(first), first
    assert undisturbed[0].code == 0, undisturbed[0].result
    written = killer.log(first, "write")
    begin, end = (
        written.index(f"write {name}") + 1
        for name in ("clients/client-00/private/prompts.jsonl", "server/plan.parquet")
    )
    assert sum(line.endswith("/client-00.safetensors") for line in written[begin - 1 : end - 1]) == 2
    for start in range(begin, begin + CHAINS):
        out = tmp_path / f"run-{start}"
        ended, kills = killed_at_each(killer, first, range(start, end + 1, CHAINS), out)
        same(killer, ended, out, undisturbed, kills)
        for path in (first / "server" / "encoded").iterdir():
            assert (out / "server" / "encoded" / path.name).read_bytes() == path.read_bytes()
        shutil.rmtree(out)
    for path in sorted((first / "server" / "encoded").iterdir()):
        out = tmp_path / "damaged"
        for kind in ("cut", "flip", "empty", "gone"):
            shutil.copytree(first, out)
            shutil.rmtree(out / "server" / "shards")
            damage(out / "server" / "encoded" / path.name, kind)
            again = killer.run(out)
            assert again.result["synthetic"]["digest"] == undisturbed[0].result["synthetic"]["digest"]
            assert (out / "server" / "encoded" / path.name).read_bytes() == path.read_bytes()
            shutil.rmtree(out)


def test_killed_again_and_again_a_run_still_comes_to_its_end(
    killer: Killer, undisturbed: tuple[Ended, Path], tmp_path: Path
) -> None:
    out, kills = tmp_path / "unlucky", 0
    # eight files, the report among them, are written by every attempt: each gets a few writes further
    while (ended := killer.run(out, kill_at=10, moment="after")).killed:
        kills += 1
        assert kills < 60
    assert kills > 3
    same(killer, ended, out, undisturbed, kills)


def test_killed_at_random_moments_a_run_ends_the_same(
    killer: Killer, undisturbed: tuple[Ended, Path], tmp_path: Path
) -> None:
    draw = random.Random(0)
    # within what a whole run takes, on this machine and at this hour: then some attempts get through
    longest = 1.5 * undisturbed[0].seconds
    for number in range(6):
        out, kills = tmp_path / f"random-{number}", 0
        while (ended := killer.run(out, after=draw.uniform(0.02, longest))).killed:
            kills += 1
        same(killer, ended, out, undisturbed, kills)


def test_a_clock_that_leaps_about_changes_nothing(
    killer: Killer, undisturbed: tuple[Ended, Path], tmp_path: Path
) -> None:
    out = tmp_path / "leaping"
    assert killer.run(out, kill_at=30, moment="after", jump=True).killed
    ended = killer.run(out, jump=True)
    same(killer, ended, out, undisturbed, kills=1)
    assert all(seconds >= 0 for seconds in ended.result["seconds"].values())


def test_a_file_that_cannot_grow_is_an_error_and_no_loss(
    killer: Killer, undisturbed: tuple[Ended, Path], tmp_path: Path
) -> None:
    out = tmp_path / "small"
    ended = killer.run(out, file_limit=60_000)  # uploads fit, the classifier's checkpoint does not
    assert ended.code == StoreError.exit_code, ended.result
    assert "File too large" in ended.result["error"]
    assert not list(out.rglob("*.part"))
    same(killer, killer.run(out), out, undisturbed, kills=1)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Mounts a file system of a size; called again, changes its options."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = False

    def mount(options: str) -> Path:
        nonlocal mounted
        how = (
            ["-o", f"remount,{options}", str(place)] if mounted else ["-t", "tmpfs", "-o", options, "none", str(place)]
        )
        done = subprocess.run(["mount", *how], capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
        mounted = True
        return place

    if shutil.which("mount") is None:
        pytest.skip("there is no mount command here")
    yield mount
    if mounted:
        subprocess.run(["umount", str(place)], check=True)


@pytest.mark.parametrize("kilobytes", [4, 40, 100, 400, 1000])
def test_a_full_disk_is_an_error_that_says_so_and_more_space_goes_on(
    killer: Killer, undisturbed: tuple[Ended, Path], small_disk: Callable[[str], Path], kilobytes: int
) -> None:
    out = small_disk(f"size={kilobytes}k") / f"full-{kilobytes}"
    ended = killer.run(out)
    assert ended.code == StoreError.exit_code, ended.result
    assert "No space left" in ended.result["error"]
    small_disk("size=200m")
    same(killer, killer.run(out), out, undisturbed, kills=1)


def test_a_read_only_folder_is_an_error_that_says_so(
    config: dict[str, Any], small_disk: Callable[[str], Path], undisturbed: tuple[Ended, Path]
) -> None:
    place = small_disk("size=50m")
    shutil.copytree(undisturbed[1], place / "run")
    small_disk("ro")
    with pytest.raises(StoreError, match="Read-only file system"):
        fgl.run(config, out=place / "run")
    with pytest.raises(StoreError, match="Read-only file system"):
        fgl.run(config, out=place / "new")


def damage(path: Path, kind: str) -> None:
    data = path.read_bytes()
    if kind == "cut":
        path.write_bytes(data[: len(data) // 2])
    elif kind == "flip":
        changed = bytearray(data)
        changed[len(data) // 2] ^= 1
        path.write_bytes(changed)
    elif kind == "empty":
        path.write_bytes(b"")
    else:
        path.unlink()


@pytest.fixture
def one_thread() -> Iterator[None]:
    """What the processes of `killer` compute with."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("kind", ["cut", "flip", "empty", "gone"])
def test_any_damaged_file_is_repaired_or_an_error(
    config: dict[str, Any], undisturbed: tuple[Ended, Path], tmp_path: Path, kind: str
) -> None:
    """All files of a run that a later one reads, one after the other."""
    whole, first = undisturbed
    ignored = (".lock", "metrics.jsonl", "report.md", "report.json", "environment.json")
    names = sorted(
        str(path.relative_to(first))
        for path in first.rglob("*")
        if path.is_file() and path.name not in ignored and path.parent.name not in ("sheets", "private")
    )
    assert len(names) > 20
    for number, name in enumerate(names):
        out = tmp_path / str(number)  # a path of its own: what this process remembers of another is no help
        shutil.copytree(first, out)
        damage(out / name, kind)
        result = fgl.run(config, out=out)
        for key in ("result", "history"):
            assert result[key] == whole.result[key], name
        assert result["synthetic"]["digest"] == whole.result["synthetic"]["digest"] == digest(out), name
        shutil.rmtree(out)


def test_resume_takes_the_runs_own_configuration_and_no_other(
    undisturbed: tuple[Ended, Path], tmp_path: Path, config: dict[str, Any]
) -> None:
    from fgl.core.orchestrator import resume

    whole, first = undisturbed
    out = tmp_path / "run"
    shutil.copytree(first, out)
    shutil.rmtree(out / "train")
    result = resume(out).to_dict()
    assert result["synthetic"]["digest"] == whole.result["synthetic"]["digest"]
    assert "train" not in result["reused_stages"]
    text = (out / "config.yaml").read_text()
    (out / "config.yaml").write_text(text.replace("epochs: 3", "epochs: 4"))
    with pytest.raises(StoreError, match="not what fgl wrote"):
        resume(out)
    with pytest.raises(StoreError, match="is not a run directory"):
        resume(tmp_path / "nowhere")


def test_a_lock_of_a_dead_process_holds_nobody_up(config: dict[str, Any], tmp_path: Path) -> None:
    out = tmp_path / "run"
    out.mkdir()
    (out / ".lock").write_text(json.dumps({"pid": 2**22 - 1, "host": os.uname().nodename, "since": "long ago"}))
    assert fgl.run({**config, "baselines": "none"}, out=out)["synthetic"]["images"] == 12
