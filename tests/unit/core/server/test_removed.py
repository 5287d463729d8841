"""A client that was taken out stays out, whichever of the two lists was lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from fgl.contracts.prompts import Prompt
from fgl.core.client import private_folder
from fgl.core.server import removed
from fgl.core.store.run_dir import RunDir
from fgl.errors import StoreError


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("damage", [Path.unlink, flip, lambda path: path.write_bytes(b"")])
@pytest.mark.parametrize("place", ["server/forgotten.json", "forgotten.json"])
def test_either_list_is_made_again_from_the_other(tmp_path: Path, place: str, damage) -> None:
    run = RunDir(tmp_path)
    for name in ("b", "a"):
        removed.add(run, name)
    whole = (tmp_path / place).read_bytes()
    assert removed.restore(run) == []
    damage(tmp_path / place)
    assert list(removed.removal_times(run)) == ["a", "b"]
    assert removed.restore(run) == [place]
    assert (tmp_path / place).read_bytes() == whole


def test_a_list_that_is_older_than_the_other_takes_nobody_back(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    removed.add(run, "a")
    older = (tmp_path / "server" / "forgotten.json").read_bytes()
    removed.add(run, "b")
    (tmp_path / "server" / "forgotten.json").write_bytes(older)
    assert list(removed.removal_times(run)) == ["a", "b"]
    assert removed.restore(run) == ["server/forgotten.json"]


def test_lists_that_are_both_damaged_are_an_error(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    assert removed.removal_times(run) == {}
    removed.add(run, "a")
    assert removed.removal_times(run)["a"].endswith("Z")
    for place in ("server/forgotten.json", "forgotten.json"):
        flip(tmp_path / place)
    with pytest.raises(StoreError, match=r"forgotten\.json.*forgotten\.json is damaged"):
        removed.removal_times(run)


@pytest.mark.parametrize("name", [private_folder.PROMPTS, private_folder.SUMMARY])
@pytest.mark.parametrize("damage", [Path.unlink, flip, lambda path: path.write_bytes(b"")])
def test_a_client_notices_that_its_own_record_is_damaged(tmp_path: Path, name: str, damage) -> None:
    private_folder.keep(tmp_path, [Prompt(0, "a road"), Prompt(1, "ein Fluß")], {"prompts": 2})
    assert private_folder.damaged(tmp_path) == []
    assert private_folder.texts(tmp_path) == ["a road", "ein Fluß"]
    damage(tmp_path / name)
    assert private_folder.damaged(tmp_path) == [name]
    with pytest.raises(StoreError, match="is damaged or lost: fgl run --resume"):
        private_folder.texts(tmp_path)


def test_a_private_folder_that_is_elsewhere_is_not_damaged(tmp_path: Path) -> None:
    assert private_folder.damaged(tmp_path / "nowhere") == []
    assert private_folder.texts(tmp_path / "nowhere") is None
