"""What the Hub's door judges without asking anybody."""

from __future__ import annotations

import errno
from email.utils import formatdate
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fgl import hub
from fgl.errors import ModelError
from fgl.hub import messages
from fgl.hub.cache import File, Listing, Repository, check_path, is_blob_name
from fgl.hub.messages import is_full, is_unreachable, retry_after
from fgl.hub.sources import sources
from fgl.text import kind_and_line
from tests.helpers.hub import git_blob

COMMIT = "0123456789" * 4


class _AnswerError(Exception):
    def __init__(self, status: int, **headers: str) -> None:
        super().__init__(status)
        self.response = SimpleNamespace(status_code=status, headers=headers)


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 bytes"), (999, "999 bytes"), (51_300, "51.3 kB"), (3_438_000_000, "3.4 GB")]
)
def test_sizes_are_read_in_powers_of_ten(count: int, text: str) -> None:
    assert messages.size(count) == text


def test_the_pause_is_read_in_each_form_that_servers_have() -> None:
    assert retry_after(_AnswerError(429, **{"Retry-After": "7"})) == 7
    date = retry_after(_AnswerError(503, **{"Retry-After": formatdate(4_000_000_000, usegmt=True)}))
    assert date is not None
    assert date > 10**6
    assert retry_after(_AnswerError(503, **{"Retry-After": formatdate(0, usegmt=True)})) == 0
    assert retry_after(_AnswerError(503, **{"Retry-After": "soon"})) is None
    assert retry_after(_AnswerError(429, ratelimit='"api";r=0;t=55')) == 55
    assert retry_after(_AnswerError(429, ratelimit='"api";r=9;t=55')) is None
    assert retry_after(ValueError()) is None


def test_reasons_are_found_in_what_an_error_was_raised_from() -> None:
    outer: Exception = RuntimeError("hidden")
    outer.__cause__ = OSError(errno.ENOSPC, "No space left on device")
    assert is_full(outer)
    assert not is_full(OSError(errno.EACCES, "denied"))
    outer.__cause__ = _AnswerError(503)
    assert is_unreachable(outer)
    assert is_unreachable(TimeoutError())
    assert not is_unreachable(_AnswerError(404))
    assert not is_unreachable(OSError(errno.EACCES, "denied"))


def test_what_a_server_says_does_not_reach_the_terminal_as_it_is() -> None:
    assert kind_and_line(ValueError("busy\x1b[2J, sorry")) == "ValueError: busy\\x1b[2J, sorry"


def test_an_address_is_quoted_without_its_signature() -> None:
    error = ValueError("403 for url 'https://cdn.example/a/b?Signature=abc&Key=d', sorry\nmore")
    assert kind_and_line(error) == "ValueError: 403 for url 'https://cdn.example/a/b', sorry"


@pytest.mark.parametrize(
    "path",
    [
        "../x", "/x", "a/../../x", "a\\b", "", "a//b", "a/", "./a", "a/./b", "a\nb", "\x1b[2Ja", "a\x7f", "a\x9bb",
        "a\u202eb", "a\u2028b", "a\ud800", "a" * 256, "木" * 86, "/".join(["abcd"] * 300),
    ],
)  # fmt: skip
def test_a_path_that_no_file_system_or_terminal_should_be_given_is_refused_and_shown_escaped(path: str) -> None:
    with pytest.raises(ModelError, match="no repository can hold") as caught:
        check_path(path, "who/model")
    said = str(caught.value)
    assert said.isascii() or "…" in said
    assert said.isprintable()
    assert len(said) < 700


@pytest.mark.parametrize(
    "path", ["a", "a b/c.json", "森林/x.safetensors", "a" * 255, ".gitattributes", "a…b/👩\u200d🔬.png"]
)
def test_other_paths_are_taken(path: str) -> None:
    assert check_path(path, "who/model") == path


def test_a_record_with_a_path_that_would_leave_the_snapshot_is_no_record(tmp_path: Path) -> None:
    repository = Repository("who/model", tmp_path)
    for path, found in (("x", True), ("../x", False)):
        repository.save(Listing("who/model", COMMIT, (File(path, 1),)))
        assert (repository.listing(COMMIT) is not None) is found


@pytest.mark.parametrize(
    ("name", "is_one"),
    [("0" * 64, True), ("a-b:1", True), ("", False), ("..", False), ("a/b", False), ("a\n", False), ("x" * 201, False)],
)
def test_a_servers_name_for_a_content_must_be_that_of_a_file(name: str, is_one: bool) -> None:
    assert is_blob_name(name) is is_one


def test_patterns_choose_files_small_ones_first_and_may_exclude() -> None:
    names = {"unet/big.safetensors": 9, "unet/big.bin": 8, "config.json": 1, "vae/config.json": 2}
    listing = Listing("who/model", COMMIT, tuple(File(name, size) for name, size in names.items()))
    assert [file.path for file in listing.select(["*", "!*.bin"])] == [
        "config.json",
        "vae/config.json",
        "unet/big.safetensors",
    ]
    assert [file.path for file in listing.select(["unet/*"])] == ["unet/big.bin", "unet/big.safetensors"]


def test_content_is_compared_by_either_digest(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"content")
    seen: list[int] = []
    assert File("x", 7, blob_id=git_blob(b"content")).matches(tmp_path / "x", seen.append)
    assert not File("x", 7, blob_id=git_blob(b"other")).matches(tmp_path / "x", seen.append)
    assert not File("x", 7, sha256="0" * 64).matches(tmp_path / "x", seen.append)
    assert seen == [7, 7, 7]


def test_a_file_that_changed_since_it_was_compared_counts_as_not_compared(tmp_path: Path) -> None:
    repository, file = Repository("who/model", tmp_path), File("a/x", 7)
    path = repository.snapshot(COMMIT) / "a/x"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"content")
    assert (repository.present(COMMIT, file), repository.checked(COMMIT, file)) == (True, False)
    repository.mark(COMMIT, [file])
    assert repository.checked(COMMIT, file)
    path.write_bytes(b"changed")
    assert not repository.checked(COMMIT, file)
    repository.mark(COMMIT, [], [file])
    assert repository.pulled(COMMIT) == set()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"files": [{"size": 1}], "id": "x"}', '{"files": 3, "id": "x"}'])
def test_a_damaged_record_is_no_record(tmp_path: Path, text: str) -> None:
    repository = Repository("who/model", tmp_path)
    (tmp_path / ".fgl").mkdir()
    (tmp_path / ".fgl" / f"{COMMIT}.json").write_text(text)
    assert repository.listing(COMMIT) is None


def test_mirrors_are_asked_at_their_own_commit_or_the_models() -> None:
    def asked(*arguments: Any) -> list[tuple[str, str | None]]:
        return [(one.model, one.revision) for one in sources(*arguments)]

    assert asked("a/b", None, ["c/d@v1"]) == [("a/b", None), ("c/d", "v1")]
    assert asked("a/b", "v1", ["c/d"]) == [("a/b", "v1"), ("c/d", "v1")]
    assert asked("a/b", COMMIT, ["c/d"]) == [("a/b", COMMIT), ("c/d", COMMIT)], "a pin never falls to a branch"


def test_a_folder_of_the_cache_tells_what_it_holds(tmp_path: Path) -> None:
    folder = tmp_path / "models--who--model" / "snapshots" / COMMIT
    assert (hub.repository_of(folder), hub.commit_of(folder)) == ("who/model", COMMIT)
    assert (hub.repository_of(tmp_path), hub.commit_of(tmp_path)) == (None, None)
