"""The server's record of a run: whatever is cut, changed, moved, inserted or written anew is told from a sound one."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from fgl.core.server import log
from fgl.core.server.log import Head
from fgl.core.store.run_dir import RunDir
from fgl.errors import StoreError


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    folder = RunDir(tmp_path / "run")
    folder.root.mkdir()
    with folder.lock():
        for name in ("north", "south", "east", "west"):
            digest = hashlib.sha256(name.encode()).hexdigest()
            log.add(folder, log.ACCEPTED, "trial", client=name, sha256=digest, kind="upload", round=0)
    return folder


def lines(run: RunDir) -> list[bytes]:
    return log.path_of(run).read_bytes().splitlines(keepends=True)


def put(run: RunDir, changed: list[bytes]) -> None:
    log.path_of(run).write_bytes(b"".join(changed))


def test_a_record_names_the_run_and_is_sound(run: RunDir) -> None:
    found = log.verify(run)
    assert (found.run_id, found.head.entries, found.wrong) == ("trial", 5, ())
    assert found.events == {"started": 1, "accepted": 4}
    assert Head.of(str(found.head)) == found.head
    assert [one.get("client") for one in log.entries(run)] == [None, "north", "south", "east", "west"]
    assert b"north" not in log.path_of(run).read_bytes()


def test_every_changed_byte_is_noticed(run: RunDir) -> None:
    data = log.path_of(run).read_bytes()
    for place in range(len(data)):
        log.path_of(run).write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        assert log.verify(run).wrong, place


def test_lines_that_are_missing_moved_doubled_or_inserted_are_noticed(run: RunDir) -> None:
    whole = lines(run)
    for number in range(len(whole)):
        put(run, whole[:number] + whole[number + 1 :])
        assert log.verify(run).wrong, f"without line {number + 1}"
        put(run, whole[:number])
        assert log.verify(run).wrong, f"cut before line {number + 1}"
        put(run, [*whole[:number], whole[number], *whole[number:]])
        assert log.verify(run).wrong, f"line {number + 1} twice"
    put(run, [whole[0], whole[2], whole[1], *whole[3:]])
    assert "does not follow" in log.verify(run).wrong[0]
    put(run, [*whole[:-1], whole[-1][:-10]])
    assert any("cannot be read" in one for one in log.verify(run).wrong)


def rechained(run: RunDir, changed: list[dict[str, object]]) -> list[bytes]:
    """Lines with all digests and numbers as they should be: what someone makes who knows the format."""
    made: list[bytes] = []
    for number, event in enumerate(changed, start=1):
        after = hashlib.sha256(made[-1][:-1]).hexdigest() if made else "0" * 64
        made.append(json.dumps({**event, "entry": number, "after": after}).encode() + b"\n")
    return made


def test_a_chain_that_was_written_anew_is_told_by_a_head_that_is_kept_elsewhere(run: RunDir) -> None:
    kept = log.verify(run).head
    events = [json.loads(line) for line in lines(run)]
    events[2]["event"] = "refused"
    made = rechained(run, events)
    put(run, made)
    assert "the head beside it" in log.verify(run).wrong[0]
    # whoever can write to the folder writes that head anew too: then only one from elsewhere tells
    digest = hashlib.sha256(made[-1][:-1]).hexdigest()
    with run.lock():
        run.write_sealed(log.head_path(run), {"entries": 5, "sha256": digest})
    assert log.verify(run).wrong == ()
    assert "the head that you keep" in log.verify(run, kept).wrong[0]


def test_a_kept_head_holds_after_more_was_added(run: RunDir) -> None:
    kept = log.verify(run).head
    with run.lock():
        log.forget(run, "east", "trial")
    assert log.verify(run, kept).wrong == ()
    assert "lines are missing at the end" in log.verify(run, Head(9, kept.sha256)).wrong[0]


def test_what_was_cut_stays_noticed_after_more_was_added(run: RunDir) -> None:
    whole = lines(run)
    put(run, whole[:3])
    with run.lock():
        log.add(run, log.ACCEPTED, "trial", client="later", sha256="0" * 64)
    assert "lines were missing or changed before it was written" in log.verify(run).wrong[0]
    log.path_of(run).unlink()
    with run.lock():
        log.add(run, log.ACCEPTED, "trial", client="later", sha256="0" * 64)
    assert "lines were missing" in log.verify(run).wrong[0]


def test_a_line_that_a_killed_process_left_half_written_is_mended_and_said(run: RunDir) -> None:
    whole = log.path_of(run).read_bytes()
    log.path_of(run).write_bytes(whole + b'{"entry": 6, "ti')
    with run.lock():
        log.add(run, log.ACCEPTED, "trial", client="later", sha256="0" * 64)
    found = log.verify(run)
    assert found.wrong == ()
    assert found.events["mended"] == 1
    # killed between the line and its head
    run.write_sealed(log.head_path(run), {"entries": 5, "sha256": hashlib.sha256(whole.splitlines()[-1]).hexdigest()})
    assert log.verify(run).wrong == ()


def test_nothing_is_chained_to_damage_and_no_link_is_followed(run: RunDir, tmp_path: Path) -> None:
    data = log.path_of(run).read_bytes()
    log.path_of(run).write_bytes(data[:-30] + b"junk\n")
    with run.lock(), pytest.raises(StoreError, match=r"server/log\.jsonl is damaged"):
        log.add(run, log.ACCEPTED, "trial", client="x", sha256="")
    log.path_of(run).unlink()
    with pytest.raises(StoreError, match="is not there"):
        log.verify(run)
    (tmp_path / "else").write_bytes(data)
    log.path_of(run).symlink_to(tmp_path / "else")
    with pytest.raises(StoreError, match="symbolic link"):
        log.verify(run)
    with run.lock(), pytest.raises(StoreError):
        log.add(run, log.ACCEPTED, "trial", client="x", sha256="")
    assert (tmp_path / "else").read_bytes() == data


def test_of_a_client_that_was_forgotten_only_that_is_left_and_the_chain_holds(run: RunDir) -> None:
    kept, before = log.verify(run).head, lines(run)
    digest = hashlib.sha256(b"north").hexdigest().encode()
    with run.lock():
        log.add(run, log.REFUSED, "trial", client=None, reason="refused: north has already sent another")
        log.add(run, log.REFUSED, "trial", client=None, reason="refused: north-west is unknown")
        before_it = log.last_accepted(run, "north", "upload", 0)
        assert before_it is not None
        assert before_it["sha256"] == digest.decode()
        log.forget(run, "north", "trial")
    found = log.verify(run, kept)
    assert (found.wrong, found.events["forgotten"]) == ((), 1)
    assert lines(run)[:5] == before, "no line is changed"
    assert log.last_accepted(run, "north", "upload", 0) is None
    for path in run.root.rglob("*"):
        data = path.read_bytes() if path.is_file() else b""
        assert digest not in data
        named = [line for line in data.splitlines() if b"north" in line and b"north-west" not in line]
        assert len(named) == (path.name == "log.jsonl"), path
    told = [one for one in log.entries(run) if one.get("details") == "forgotten"]
    assert [one["entry"] for one in told] == [2, 6]


def test_changed_missing_and_added_details_are_noticed(run: RunDir) -> None:
    path = log.details_path(run)
    whole = path.read_bytes().splitlines(keepends=True)
    data = b"".join(whole)
    for place in range(0, len(data), 3):
        path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        assert log.verify(run).wrong, place
    for number in range(len(whole)):
        path.write_bytes(b"".join(whole[:number] + whole[number + 1 :]))
        assert f"the details of line {number + 2} were changed or removed" in log.verify(run).wrong[0]
    path.write_bytes(data + whole[0].replace(b"north", b"xorth"))
    assert "belong to no line" in log.verify(run).wrong[0]
    with run.lock():
        path.write_bytes(data)
        log.forget(run, "north", "trial")
        path.write_bytes(data)  # killed before they were removed
        assert "still there: fgl server forget again" in log.verify(run).wrong[0]
        log.forget(run, "north", "trial")
    assert log.verify(run).wrong == ()


@pytest.mark.parametrize("left", [b'{"client": "north"}', b'{"entry": "2", "client": "north"}', b'{"entry": 2, "clie'])
def test_a_client_is_taken_out_of_damaged_details_too(run: RunDir, left: bytes) -> None:
    path = log.details_path(run)
    path.write_bytes(left + b"\n" + path.read_bytes())
    with run.lock():
        log.forget(run, "north", "trial")
    assert b"north" not in path.read_bytes()
    assert log.verify(run).wrong == ()


def test_details_of_a_line_that_never_came_are_cut_off(run: RunDir) -> None:
    path = log.details_path(run)
    for left in (b'{"entry": 6, "salt": "aa", "client": "late"}\n', b'{"entry": 6, "sa'):
        path.write_bytes(path.read_bytes() + left)
        with run.lock():
            log.add(run, log.ACCEPTED, "trial", client="later", sha256="0" * 64)
        assert log.verify(run).wrong == ()


@pytest.mark.parametrize("text", ["", "5", "5:abc", f"x:{'0' * 64}", f"5:{'g' * 64}", f"-1:{'0' * 64}"])
def test_what_is_no_head_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        Head.of(text)
