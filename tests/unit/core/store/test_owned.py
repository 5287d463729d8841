"""What fgl writes into a folder it can remove again, and it removes nothing else, whatever stands beside it."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from fgl.core.store import folder_kind, lock
from fgl.core.store.ledger import NAME as LEDGER
from fgl.core.store.ledger import Ledger
from fgl.core.store.owned import OwnedFolder
from fgl.core.store.run_dir import RunDir
from fgl.errors import StoreError
from fgl.io import event_log, files


def there(folder: Path) -> list[str]:
    """Files below a folder, without fgl's own two."""
    found = (path for path in folder.rglob("*") if not path.is_dir() and path.name not in (LEDGER, ".lock"))
    return sorted(path.relative_to(folder).as_posix() for path in found)


@pytest.fixture
def open_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def test_files_of_others_in_the_same_folders_survive_all_that_fgl_removes(tmp_path: Path) -> None:
    run = RunDir(tmp_path / "run")
    for name in ("sheets/000-a.png", "server/shards/shard-00000.parquet", "clients/a/private/prompts.jsonl"):
        run.write(run.path(name), b"fgl's")
        (run.path(name).parent / "mine.txt").write_text("mine")
    run.path("sheets", ".mine.part").write_text("mine")
    run.path("checkpoints", "train").mkdir(parents=True)
    run.path("checkpoints", "train", "epoch1.pt").write_text("mine")
    with run.lock():
        run.checkpoints("train", "").drop()
        run.remove_below(run.path("sheets"))
        run.remove(run.path("server", "shards", "mine.txt"))
        run.remove_all()
    mine = [
        "checkpoints/train/epoch1.pt",
        "clients/a/private/mine.txt",
        "server/shards/mine.txt",
        "sheets/.mine.part",
        "sheets/mine.txt",
    ]
    assert there(run.root) == mine


def test_folders_that_are_empty_then_go_and_others_stay(tmp_path: Path) -> None:
    run = RunDir(tmp_path / "run")
    run.write(run.path("a", "b", "one"), b"")
    run.write(run.path("c", "two"), b"")
    run.path("c", "mine").mkdir()
    run.remove_below(run.path("a"))
    run.remove_below(run.path("c"))
    assert sorted(path.name for path in run.root.iterdir()) == [LEDGER, "c"]
    assert [path.name for path in run.path("c").iterdir()] == ["mine"]


def test_what_a_killed_process_left_half_written_goes_with_the_next_lock(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    run.write(run.path("server", "x"), b"whole")
    inner = run.nested("baselines", "prompts-b")
    inner.write(inner.path("server", "y"), b"whole")
    for path in (run.path("server", "x"), inner.path("server", "y")):
        files.part_of(path).write_bytes(b"hal")
    run.path("server", ".mine.part").write_bytes(b"mine")
    with run.lock():
        assert there(tmp_path) == ["baselines/prompts-b/server/y", "server/.mine.part", "server/x"]


def test_a_scratch_folder_of_a_killed_process_goes_with_the_next_lock(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    with run.scratch() as folder:
        (folder / "weights").write_bytes(b"x")
    assert there(tmp_path) == []
    run.ledger.note([".scratch-0123456789abcdef/*"])
    (tmp_path / ".scratch-0123456789abcdef").mkdir()
    (tmp_path / ".scratch-0123456789abcdef" / "weights").write_bytes(b"x")
    (tmp_path / ".scratch-mine").mkdir()
    (tmp_path / ".scratch-mine" / "weights").write_bytes(b"x")
    with run.lock():
        assert there(tmp_path) == [".scratch-mine/weights"]


def test_a_folder_that_is_written_anew_loses_what_fgl_had_in_it_alone(tmp_path: Path) -> None:
    run, folder = RunDir(tmp_path), tmp_path / "classifier"

    def first(part: Path) -> None:
        for name in ("config.json", "vocab.txt"):
            (part / name).write_text("1")

    def second(part: Path) -> None:
        (part / "config.json").write_text("2")

    assert [path.name for path in run.write_folder(folder, first)] == ["config.json", "vocab.txt"]
    (folder / "model.py").write_text("mine")
    run.write_folder(folder, second)
    assert there(folder) == ["config.json", "model.py"]
    assert (folder / "config.json").read_text() == "2"


@pytest.mark.parametrize("killed", [False, True])
def test_what_a_plugin_keeps_in_a_private_folder_is_removed_with_it(tmp_path: Path, killed: bool) -> None:
    run = RunDir(tmp_path)
    private = run.claim("clients", "a", "private")
    kept = OwnedFolder(private, "private", private=True)
    kept.write(private / "prompts.jsonl", b"")
    (private / "mine.txt").write_text("mine")
    with kept.host():
        (private / "captions.jsonl").write_text("x")
        left = (private / LEDGER).read_bytes()
    if killed:
        (private / LEDGER).write_bytes(left)
    run.remove_below(run.path("clients", "a"))
    assert there(tmp_path) == ["clients/a/private/mine.txt"]


def test_a_ledger_is_read_as_it_grows_and_its_damaged_lines_are_left_out(tmp_path: Path) -> None:
    one, other = Ledger(tmp_path), Ledger(tmp_path)
    one.begin("run")
    one.note(["a", "b"])
    assert other.names() == ["a", "b"]
    other.gone(["a"])
    assert (one.names(), one.kind) == (["b"], "run")
    path = tmp_path / LEDGER
    path.write_bytes(path.read_bytes().replace(b'"b"', b'"c"') + b'torn ["+", "d')
    assert Ledger(tmp_path).names() == []
    one = Ledger(tmp_path)
    one.note(["e"])
    assert Ledger(tmp_path).names() == ["e"]


@pytest.mark.parametrize("name", ["../mine", "/etc/mine", "a/../../mine", ""])
def test_a_ledger_from_elsewhere_names_nothing_outside_of_its_folder(tmp_path: Path, name: str) -> None:
    run, mine = RunDir(tmp_path / "run"), tmp_path / "mine"
    mine.write_text("mine")
    run.write(run.path("x"), b"")
    run.ledger.note([name])
    run.remove_all()
    assert mine.read_text() == "mine"
    assert there(run.root) == []


@pytest.mark.parametrize("name", ["./*", "docs/*", "*/*"])
def test_a_ledger_from_elsewhere_calls_no_folder_of_the_users_its_own(tmp_path: Path, name: str) -> None:
    run = RunDir(tmp_path)
    run.write(run.path("x"), b"")
    run.ledger.note([name])
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "mine").write_text("mine")
    with run.lock():
        run.remove_all()
    assert there(tmp_path) == ["docs/mine"]


def test_without_a_ledger_the_records_say_what_is_fgls(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    for name in ("a", "b"):
        run.write(run.path("server", name), b"x")
    run.record("plan", {}, [run.path("server", "a")], 0.0, None)
    inner = run.nested("baselines", "prompts-x")
    inner.write(inner.path("y"), b"x")
    private = run.claim("clients", "a", "private")
    for name in ("prompts.jsonl", "summary.json"):
        OwnedFolder(private, "private", private=True).write(private / name, b"x")
    (private / "mine").write_text("mine")
    for folder in (tmp_path, private):
        (folder / LEDGER).unlink()
    again = RunDir(tmp_path)
    with again.lock():
        again.remove_named(again.path("server", "encoded", "a.json"))
        again.remove_all()
    assert there(tmp_path) == ["clients/a/private/mine", "server/b"]


@pytest.mark.parametrize("name", [".lock", LEDGER, "metrics.jsonl", "classifier", "server", "clients", "config.yaml"])
def test_a_link_in_a_run_directory_is_an_error_that_names_it(tmp_path: Path, name: str) -> None:
    run, victim = RunDir(tmp_path / "run"), tmp_path / "victim"
    run.root.mkdir()
    victim.write_text("mine")
    run.path(name).symlink_to(victim)
    with pytest.raises(StoreError, match=rf"{name}.* is a symbolic link"), run.lock():
        pass
    assert victim.read_text() == "mine"


def test_nothing_is_written_or_removed_through_a_link_below(tmp_path: Path) -> None:
    run, mine = RunDir(tmp_path / "run"), tmp_path / "mine"
    mine.mkdir()
    run.write(run.path("server", "shards", "one"), b"fgl's")
    run.remove(run.path("server", "shards", "one"))
    run.ledger.note(["server/shards/one"])
    run.path("server").mkdir()
    run.path("server", "shards").symlink_to(mine)
    (mine / "one").write_text("mine")
    for work in (
        lambda: run.write(run.path("server", "shards", "two"), b""),
        lambda: run.remove(run.path("server", "shards", "one")),
        lambda: run.remove_below(run.path("server")),
        run.remove_all,
    ):
        with pytest.raises(StoreError, match="shards is a symbolic link"):
            work()
    assert there(mine) == ["one"]
    (tmp_path / "alias").symlink_to(run.root)
    RunDir(tmp_path / "alias").write(tmp_path / "alias" / "x", b"the folder itself may be reached by a link")


@pytest.mark.usefixtures("open_umask")
def test_private_files_are_for_their_owner_alone_whatever_the_umask(tmp_path: Path) -> None:
    run = RunDir(tmp_path / "run")
    run.write(run.path("audit", "private", "pairs", "x"), b"")
    run.write(run.path("audit", "audit.json"), b"")
    (tmp_path / "k.private").mkdir()
    kept = OwnedFolder(tmp_path / "k.private", "private", private=True)
    kept.write(kept.path("rounds", "own", "1"), b"")
    folders = (run.path("audit", "private"), kept.root)
    for path in (*folders, *(path for folder in folders for path in folder.rglob("*"))):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
    assert stat.S_IMODE(run.path("audit").stat().st_mode) == 0o777


@pytest.mark.parametrize("replaced", [False, True])
def test_a_process_whose_lock_was_removed_writes_nothing_more(tmp_path: Path, replaced: bool) -> None:
    run = RunDir(tmp_path)
    holding = run.lock()
    holding.__enter__()
    run.write(run.path("a"), b"x")
    run.path(".lock").unlink()
    if replaced:
        run.path(".lock").write_text("")
    for work in (
        lambda: run.write(run.path("b"), b"x"),
        lambda: run.nested("baselines", "x").write(run.path("baselines", "x", "b"), b"x"),
        lambda: run.remove(run.path("a")),
        lambda: holding.__exit__(None, None, None),
    ):
        with pytest.raises(StoreError, match=r"removed or replaced.*another one may have begun"):
            work()
    assert there(tmp_path) == ["a"]
    with run.lock():
        run.write(run.path("b"), b"x")


def test_who_waits_for_a_lock_gets_it_when_its_holder_ends(tmp_path: Path) -> None:
    source = (
        "import sys; from pathlib import Path; from fgl.core.store.run_dir import RunDir\n"
        "with RunDir(Path(sys.argv[1])).lock():\n    print('held', flush=True); sys.stdin.read()"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", source, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert other.stdin is not None
    assert other.stdout is not None
    assert other.stdout.readline() == "held\n"
    with pytest.raises(StoreError, match=f"in use by process {other.pid}"), RunDir(tmp_path).lock():
        pass
    ending = threading.Timer(0.3, other.stdin.close)
    ending.start()
    with RunDir(tmp_path).lock(wait=60):
        lock.check(tmp_path)
    ending.join()
    assert other.wait(60) == 0
    other.stdout.close()


def test_a_pipe_is_no_file_and_nobody_waits_for_its_other_end(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, what in ((tmp_path / "pipe", "pipe"), (tmp_path, "directory"), (Path("/dev/null"), "device")):
        with pytest.raises(OSError, match=what):
            files.open_regular(path)
    with pytest.raises(OSError, match="pipe"):
        files.open_append(tmp_path / "pipe")


def test_pipes_under_the_names_of_a_runs_files_are_as_if_these_were_damaged(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    for name in ("stages/train.json", "metrics.jsonl", "config.yaml", "checkpoints/train/fit.safetensors"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        os.mkfifo(tmp_path / name)
    assert run.recorded("train") is None
    assert event_log.events(tmp_path) == []
    assert run.checkpoints("train", "").load() is None
    assert (folder_kind.kind_of(tmp_path), folder_kind.is_remote(tmp_path)) == ("", False)
