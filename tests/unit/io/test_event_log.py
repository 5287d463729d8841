"""metrics.jsonl: damage of any line is noticed, a client can be taken out of it, and a link is not followed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fgl.errors import StoreError
from fgl.io import event_log


@pytest.fixture
def log(tmp_path: Path) -> Path:
    for number in range(4):
        event_log.append(tmp_path, {"stage": "clients", "event": "accepted", "client": f"client-0{number}"})
    return tmp_path


def lines(root: Path) -> list[bytes]:
    return (root / event_log.NAME).read_bytes().splitlines(keepends=True)


def test_a_log_that_was_only_appended_to_is_sound(log: Path) -> None:
    before = event_log.mark(log)
    event_log.append(log, {"event": "finished"})
    assert event_log.damage(log, before) == ""
    assert [event["event"] for event in event_log.events(log)] == ["accepted"] * 4 + ["finished"]
    assert all(event["time"] > 0 for event in event_log.events(log))


def test_a_changed_removed_added_or_cut_line_is_noticed(log: Path) -> None:
    before, sound = event_log.mark(log), lines(log)
    damaged = {
        "a letter": [sound[0], sound[1].replace(b"client-01", b"client-07"), *sound[2:]],
        "the last line": [*sound[:3], sound[3].replace(b"client-03", b"client-07")],
        "a line less": [sound[0], *sound[2:]],
        "the first line less": sound[1:],
        "the last line less": sound[:3],
        "two exchanged": [sound[0], sound[2], sound[1], sound[3]],
        "one twice": [*sound, sound[3]],
        "cut": [*sound[:3], sound[3][:20]],
        "junk": [b"\0\1\2"],
        "empty": [],
    }
    for name, content in damaged.items():
        (log / event_log.NAME).write_bytes(b"".join(content))
        assert event_log.damage(log, before), name
    (log / event_log.NAME).unlink()
    assert event_log.damage(log, before)


def test_what_follows_a_damaged_line_can_be_read(log: Path) -> None:
    (log / event_log.NAME).write_bytes(b"".join(lines(log)[:2]) + b'{"time": 1, "ev')
    event_log.append(log, {"event": "finished"})
    assert [event["event"] for event in event_log.events(log)] == ["accepted", "accepted", "finished"]
    assert event_log.damage(log, None) == "line 3 cannot be read"


def test_lines_of_an_earlier_version_may_come_first(tmp_path: Path) -> None:
    (tmp_path / event_log.NAME).write_text('{"time": 1.0, "event": "started"}\n{"time": 2.0, "event": "finished"}\n')
    event_log.append(tmp_path, {"event": "reused"})
    assert event_log.damage(tmp_path, None) == ""


def test_of_a_client_that_is_taken_out_nothing_remains_in_the_log(log: Path) -> None:
    before = event_log.mark(log)
    event_log.append(log, {"event": "failed", "message": "client-01: no images; client-011: none"})
    (log / event_log.NAME).write_bytes(event_log.redacted(log, "client-01"))
    text = (log / event_log.NAME).read_text()
    assert "client-01" not in text.replace("client-011", "")
    assert [event["event"] for event in event_log.events(log)] == [
        "accepted",
        "redacted",
        "accepted",
        "accepted",
        "redacted",
    ]
    assert "client-00" in text
    assert event_log.damage(log, before) == ""


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine\n")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / event_log.NAME).symlink_to(victim)
    with pytest.raises(StoreError, match="cannot write"):
        event_log.append(tmp_path / "run", {"event": "started"})
    assert victim.read_text() == "mine\n"


def test_a_line_longer_than_what_is_read_at_once_is_chained_too(tmp_path: Path) -> None:
    for size in (10, 200_000, 10):
        event_log.append(tmp_path, {"event": "failed", "message": "x" * size})
    assert event_log.damage(tmp_path, None) == ""
    assert json.loads(lines(tmp_path)[2])["event"] == "failed"
