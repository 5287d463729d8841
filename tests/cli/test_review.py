"""A file is looked through before it leaves, judged by the site's rules, approved, and taken by a server that asks for
that."""

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

from fgl.core.client.spending import PrivacyLedger, Protected, Spending
from fgl.io import keys
from fgl.privacy.cost import Cost
from tests.helpers.cli import CliResult

Typed = Callable[..., CliResult]
CLASSES = ["benign", "malignant"]
SHARED = {
    "dataset": {"class_names": CLASSES},
    "generator": {"name": "tiny", "num_inference_steps": 1},
    "upload": {"clients": ["north"], "run_id": "skin-1"},
    "audit": {"candidates": 100},
    "baselines": "none",
}
PREPARE = ("client", "prepare", "shared.yaml", "north.yaml", "--client", "north")
REVIEW = ("client", "review", "north.safetensors", "shared.yaml", "north.yaml")
APPROVE = ("client", "approve", "north.safetensors", "shared.yaml", "north.yaml", "--key", "officer.key")


def site(**egress: Any) -> None:
    rules = {"egress": egress, "ledger": str(Path("ledger").absolute())}
    data = {"name": "imagefolder", "path": "scans"}
    Path("north.yaml").write_text(yaml.safe_dump({"dataset": data, "site": rules}))


def serve(**changes: Any) -> None:
    server = {"keys": {"north": Path("north.pub").read_text().strip()}, **changes}
    data = {"name": "imagefolder", "path": "scans"}
    Path("server.yaml").write_text(yaml.safe_dump({"dataset": data, "server": server}))


@pytest.fixture
def north(fgl: Typed, tmp_path: Path) -> Typed:
    """`fgl` at a site that has signed an upload of 4 and 2 images."""
    for name, count in zip(CLASSES, (4, 2), strict=True):
        folder = tmp_path / "scans" / name
        folder.mkdir(parents=True)
        for index in range(count):
            Image.fromarray(np.full((8, 8, 3), 9 * index, dtype=np.uint8)).save(folder / f"{index}.png")
    Path("shared.yaml").write_text(yaml.safe_dump(SHARED))
    site()
    for name in ("north", "officer"):
        keys.write_pair(Path(name), *keys.client_pair())
    said = fgl(*PREPARE, "--key", "north.key", "--json")
    assert said.code == 0, said.err
    return fgl


def reviewed(fgl: Typed, *arguments: str, code: int = 0) -> dict[str, Any]:
    said = fgl(*REVIEW, *arguments, "--json")
    assert said.code == code, said.err
    return dict(json.loads(said.out))


def ingested(fgl: Typed, file: str = "north.safetensors", *arguments: str) -> dict[str, str]:
    shutil.rmtree("run", ignore_errors=True)
    config = ("--config", "shared.yaml", "--config", "server.yaml")
    said = fgl("server", "ingest", "run", file, *config, *arguments, "--json")
    return dict(json.loads(said.out)["files"][file])


def test_a_review_attacks_that_very_file_and_finds_its_prompts(north: Typed) -> None:
    found = reviewed(north)
    wanted = {f"{name}, real world images, high resolution" for name in CLASSES}
    assert set(found["recovered"]["examples"]) == wanted
    assert (found["recovered"]["recovered"], found["recovered"]["rows"], found["recovered"]["known"]) == (2, 2, True)
    assert found["verdict"] == "no rules"
    assert (found["rows"], found["rows_of_one_image"]) == (2, 0)
    assert found["smallest_group"] == {"what": "images of class malignant", "images": 2}
    assert [one["role"] for one in found["signed"]] == ["sender"]
    shutil.rmtree("north.private")  # as whoever finds the file has it
    found = reviewed(north)
    assert (found["recovered"]["recovered"], found["recovered"]["known"]) == (2, False)


def test_a_review_needs_no_configuration_and_says_what_it_then_lacks(north: Typed) -> None:
    said = north("client", "review", "north.safetensors")
    assert said.code == 0, said.err
    for word in (
        "upload of north, for the run 'skin-1', round 0",
        "signed    by ed25519:",
        "smallest  2 images of class malignant",
        "attack    not made: that needs the configuration",
        "epsilon   no ledger has a line of this file",
        "verdict   the site has no rules",
    ):
        assert word in said.out


def test_rules_refuse_with_a_reason_and_an_exit_code_of_their_own(north: Typed) -> None:
    site(min_images_per_number=3, max_recovered=0.5, codecs=["fp16"], max_epsilon=1.0)
    found = reviewed(north, code=9)
    assert {one["rule"]: one["allowed"] for one in found["rules"]} == {
        "codecs": True,
        "min_images_per_number": False,
        "max_epsilon": False,
        "max_recovered": False,
    }
    assert found["verdict"] == "refuse"
    before = Path("north.safetensors.sig").read_bytes()
    said = north(*APPROVE)
    assert said.code == 9
    assert "min_images_per_number: refused: its smallest group is 2 (images of class malignant)" in said.out
    assert Path("north.safetensors.sig").read_bytes() == before


def test_what_the_ledger_says_of_the_file_is_said_and_judged(north: Typed) -> None:
    images = Protected.of([bytes([number]) * 16 for number in range(6)])
    cost = Spending(key="0" * 64, what="an upload", level="image", cost=Cost(0.5), images=images)
    PrivacyLedger(Path("ledger")).record(cost, Path("north.safetensors").read_bytes())
    site(max_epsilon=20.0)
    found = reviewed(north, "--no-attack")
    assert found["spent"]["level"] == "image"
    assert 0 < found["spent"]["epsilon"] == found["spent"]["in_all"] < 20
    assert found["verdict"] == "approve"
    site(max_epsilon=0.1)
    assert reviewed(north, "--no-attack", code=9)["verdict"] == "refuse"


def test_text_that_would_leave_is_shown_and_refused_where_the_site_says_so(north: Typed) -> None:
    assert north(*PREPARE, "--set", "upload.codec=text").code == 0
    site(free_text=False)
    said = north(*REVIEW)
    assert said.code == 9
    assert "text      malignant, real world images, high resolution" in said.out
    assert "free_text: refused: it holds 3 texts of prompts" in said.out
    assert "attack    none is needed: the prompts stand in the file" in said.out


def test_an_approved_file_is_taken_where_others_are_not(north: Typed) -> None:
    officer = Path("officer.pub").read_text().strip()
    serve(approved_only=True, approvers={"north": officer})
    found = ingested(north)
    assert (found["rule"], "nobody has approved it" in found["reason"]) == ("sender", True)
    own = [*APPROVE[:-1], "north.key", "--no-attack"]
    assert north(*own).code == 0
    found = ingested(north)
    assert "no key that approves for 'north' (server.approvers)" in found["reason"]
    said = north(*APPROVE, "--no-attack")
    assert said.code == 0, said.err
    assert f"approved by {officer}: send north.safetensors.sig with north.safetensors" in said.out
    assert ingested(north)["outcome"] == "accepted"
    record = json.loads(north("server", "log", "show", "run", "--json").out)["entries"][-1]
    assert (record["event"], record["approved_by"]) == ("accepted", officer)
    serve(approved_only=True, approvers={"north": officer}, revoked=[officer])
    assert "which is revoked" in ingested(north)["reason"]
    serve(approved_only=True)  # nobody else is listed: the client's own key counts
    assert ingested(north)["outcome"] == "accepted"


def test_an_approved_file_can_be_sealed_with_both_signatures(north: Typed) -> None:
    keys.write_pair(Path("server"), *keys.server_pair())
    serve(approved_only=True, approvers={"north": Path("officer.pub").read_text().strip()})
    told = json.loads(north(*APPROVE, "--no-attack", "--seal-to", "server.pub", "--json").out)
    assert (told["file"], told["approved"]) == ("north.safetensors.age", True)
    assert ingested(north, "north.safetensors.age", "--key", "server.key")["outcome"] == "accepted"
    said = north("client", "review", "north.safetensors.age")
    assert said.code == 5
    assert "is sealed: only its server can open it" in said.err


def test_what_was_altered_after_signing_is_not_approved(north: Typed) -> None:
    assert north(*PREPARE, "--set", "upload.codec=int8").code == 0
    plain = Path("north.safetensors").read_bytes()
    assert north(*PREPARE, "--key", "north.key").code == 0
    Path("north.safetensors").write_bytes(plain)
    said = north(*APPROVE, "--no-attack")
    assert said.code == 5
    assert "altered after signing" in said.err
    assert "there is nothing to approve" in said.err


def test_a_person_is_asked_where_the_site_says_so(north: Typed) -> None:
    site(ask=True)
    before = Path("north.safetensors.sig").read_bytes()
    said = north(*APPROVE, "--no-attack")
    assert said.code == 2
    assert "expected a person's yes" in said.err
    assert Path("north.safetensors.sig").read_bytes() == before
    assert north(*APPROVE, "--no-attack", "--yes").code == 0


@pytest.mark.parametrize("content", [b"", b"notes", b"{}", b"\x08" + bytes(200)])
def test_what_is_no_such_file_is_refused(north: Typed, content: bytes) -> None:
    Path("north.safetensors").write_bytes(content)
    for command in (REVIEW, APPROVE):
        said = north(*command)
        assert said.code == 5
        assert "refused: no file that leaves a client" in said.err


def test_an_unknown_rule_is_refused(north: Typed) -> None:
    site(min_images=3)
    said = north(*REVIEW)
    assert said.code == 2
    assert "site.egress.min_images: got 3; unknown option" in said.err
