"""A run with learned prompts, from Python and from the command line: what it sends, what stays, what an audit says."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import fgl
from fgl.errors import ConfigError
from fgl.plugins.prompts.learned_state import FILE
from tests.helpers.settings import small

LEARNED = {"name": "learned", "steps": 2, "batch_size": 4, "evaluations": 1, "rows_per_class": 2}


@pytest.fixture
def settings(images: Callable[..., Path], pipeline: Path) -> dict[str, Any]:
    folder = images(per_class=16)
    return small(
        folder,
        pipeline,
        prompt_strategy=LEARNED,
        classifier={"dtype": "fp32"},
        features={"name": "pixels", "size": 2},
        audit={"shadows": 4, "rounds": 1, "closest": 3, "candidates": 600},
    )


def test_a_run_of_learned_rows_is_audited_and_its_rows_are_no_texts(settings: dict[str, Any], tmp_path: Path) -> None:
    out = tmp_path / "run"
    first = fgl.run(settings, out=out).to_dict()
    rows = sum(first["upload"]["prompts"].values())
    assert rows >= 6
    for client in ("client-00", "client-01"):
        private = out / "clients" / client / "private"
        assert (private / FILE).is_file()
        notes = json.loads((private / "summary.json").read_text())["notes"]
        assert notes["learning_steps"] == 2
    assert not list((out / "server").rglob(FILE)), "the state of learning is the client's"

    # what has the same inputs is used again, to the same set
    again = fgl.resume(out).to_dict()
    assert again["synthetic"]["digest"] == first["synthetic"]["digest"]

    found = fgl.audit(out).to_dict()
    assert found["left_out"] == {}
    assert found["membership"]["methods"]["fgl"]["distinct"] == 4, "rows that are learned depend on the members"
    assert found["memorization"]["identical"] == 0
    assert found["uploads"]["all"]["recovered"] is None
    assert found["uploads"]["own_arrays"] == ["prompt strategy 'learned' of fgl"]
    assert "are not encodings of texts" in (out / "report.md").read_text()


def test_texts_cannot_be_sent_in_place_of_learned_rows(settings: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="learned"):
        fgl.run({**settings, "upload": {"codec": "text"}}, out=tmp_path / "run")
