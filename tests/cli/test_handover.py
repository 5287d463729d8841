"""Files that are handed over signed and sealed, from one command line to the other, and those that are refused."""

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

from fgl.core.server import log
from fgl.core.store.run_dir import RunDir
from fgl.core.wire import signatures
from fgl.io import keys
from tests.helpers.cli import CliResult

Typed = Callable[..., CliResult]
CLASSES = ["benign", "malignant"]
SHARED = {
    "dataset": {"class_names": CLASSES},
    "generator": {"name": "tiny", "num_inference_steps": 1},
    "upload": {"clients": ["north", "south"], "run_id": "skin-1"},
    "synthesis": {"images_per_class": 4},
    "classifier": {"name": "small", "epochs": 1, "image_size": 16},
    "baselines": "none",
}
NORTH = ("client", "prepare", "shared.yaml", "north.yaml", "--client", "north")


def write(name: str, settings: dict[str, Any]) -> None:
    Path(name).write_text(yaml.safe_dump(settings))


def serve(**changes: Any) -> None:
    """Write server.yaml, with the clients' keys."""
    listed = {name: Path(f"{name}.pub").read_text().strip() for name in ("north", "south")}
    write("server.yaml", {"dataset": {"name": "imagefolder", "path": "slides"}, "server": {"keys": listed, **changes}})


@pytest.fixture
def site(fgl: Typed, tmp_path: Path) -> Typed:
    """`fgl` in a folder with images, configurations, and keys of two clients and the server."""
    for name in CLASSES:
        folder = tmp_path / "slides" / name
        folder.mkdir(parents=True)
        for index in range(3):
            Image.fromarray(np.full((8, 8, 3), 9 * index, dtype=np.uint8)).save(folder / f"{index}.png")
    write("shared.yaml", SHARED)
    write("north.yaml", {"dataset": {"name": "imagefolder", "path": "slides"}})
    for name in ("north", "south", "other"):
        keys.write_pair(Path(name), *keys.client_pair())
    keys.write_pair(Path("server"), *keys.server_pair())
    serve()
    return fgl


def prepared(fgl: Typed, *arguments: str) -> dict[str, Any]:
    said = fgl(*NORTH, *arguments, "--json")
    assert said.code == 0, said.err
    return dict(json.loads(said.out))


def ingested(fgl: Typed, file: str, *arguments: str, new: bool = True) -> dict[str, str]:
    """What became of a file. new: at a new run."""
    if new:
        shutil.rmtree("run", ignore_errors=True)
    config = ("--config", "shared.yaml", "--config", "server.yaml")
    said = fgl("server", "ingest", "run", file, *config, *arguments, "--json")
    return dict(json.loads(said.out)["files"][file])


def events() -> list[dict[str, Any]]:
    return list(log.entries(RunDir(Path("run"))))


def test_keys_are_made_on_the_command_line_and_never_replaced(fgl: Typed, tmp_path: Path) -> None:
    said = fgl("client", "keygen", "--out", "keys/north")
    assert said.code == 0, said.err
    public = Path("keys/north.pub").read_text().strip()
    assert public in said.out
    assert "PRIVATE" not in said.out
    assert Path("keys/north.key").stat().st_mode & 0o777 == 0o600
    told = json.loads(fgl("server", "keygen", "--json").out)
    assert (told["private"], told["public"]) == ("server.key", "server.pub")
    assert told["key"] == Path("server.pub").read_text().strip()
    again = fgl("client", "keygen", "--out", "keys/north")
    assert again.code == 2
    assert "no key is ever replaced" in again.err
    assert Path("keys/north.pub").read_text().strip() == public


def test_a_signed_file_is_what_it_is_unsigned_and_is_taken_and_recorded(site: Typed) -> None:
    prepared(site)
    plain = Path("north.safetensors").read_bytes()
    told = prepared(site, "--key", "north.key")
    assert told["signed_by"] == Path("north.pub").read_text().strip()
    assert Path("north.safetensors").read_bytes() == plain
    assert ingested(site, "north.safetensors")["outcome"] == "accepted"
    (start, accepted) = events()
    assert (start["event"], start["run"]) == ("started", "skin-1")
    named = {key: accepted[key] for key in ("event", "client", "sha256", "bytes", "kind", "round", "key", "sealed")}
    assert named == {
        "event": "accepted",
        "client": "north",
        "sha256": told["sha256"],
        "bytes": told["bytes"],
        "kind": "upload",
        "round": 0,
        "key": told["signed_by"],
        "sealed": False,
    }
    assert ingested(site, "north.safetensors", new=False)["outcome"] == "already there"
    assert site("client", "show", "north.safetensors").code == 0, "who reads unsigned files reads this one"


def test_the_signature_beside_a_file_may_be_among_the_files(site: Typed) -> None:
    prepared(site, "--key", "north.key")
    config = ("--config", "shared.yaml", "--config", "server.yaml", "--json")
    said = site("server", "ingest", "run", "north.safetensors", "north.safetensors.sig", *config)
    assert said.code == 0, said.out
    assert list(json.loads(said.out)["files"]) == ["north.safetensors"]


def test_where_no_keys_are_listed_files_are_taken_as_ever(site: Typed) -> None:
    prepared(site, "--key", "north.key")
    Path("north.safetensors.sig").write_bytes(b"junk")
    write("server.yaml", {"dataset": {"name": "imagefolder", "path": "slides"}})
    assert ingested(site, "north.safetensors")["outcome"] == "accepted"


def altered(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def test_what_is_not_the_clients_is_refused_by_the_rule_sender(site: Typed) -> None:
    def refused(word: str, rule: str = "sender") -> None:
        found = ingested(site, "north.safetensors")
        assert (found["outcome"], found["rule"]) == ("refused", rule), found
        assert word in found["reason"]
        assert "\n" not in found["reason"]
        (_, event) = events()
        assert (event["event"], event["rule"], event["client"]) == ("refused", rule, None)
        assert not list(Path("run/server/uploads").glob("*"))

    def again(*arguments: str) -> None:
        prepared(site, "--key", "north.key", *arguments)

    prepared(site)
    refused("it is not signed, and this run lists its clients' keys")
    again()
    altered(Path("north.safetensors"))
    refused("altered after signing")
    prepared(site, "--key", "other.key")
    refused("no key of 'north' (server.keys)")
    prepared(site, "--key", "south.key")  # a client that is known, in the name of another
    refused("no key of 'north' (server.keys)")
    again()
    block = Path("north.safetensors.sig")
    sound = block.read_bytes()
    for bad, word in (
        (sound[:200], "cut or damaged"),
        (sound + bytes(20_000), "more than 16,384 bytes"),
        (b"", "cut or damaged"),
        (sound.replace(b'"north"', b'"south"'), "no key of 'south'"),
    ):
        block.write_bytes(bad)
        refused(word)
    again()
    serve(revoked=[Path("north.pub").read_text().strip()])
    refused("which is revoked (server.revoked)")


def test_a_signature_for_another_run_round_kind_or_client_is_none_for_this(site: Typed) -> None:
    prepared(site)
    data = Path("north.safetensors").read_bytes()
    place = {"kind": "upload", "run": "skin-1", "client_id": "north", "round": 0}
    for change, rule, word in (
        ({"run": "skin-0"}, "replay", "signed for the run 'skin-0', this one is 'skin-1'"),
        ({"round": 1}, "round", "signed for round 1, expected 0"),
        ({"kind": "probe"}, "replay", "signed as a file of the kind 'probe'"),
    ):
        made = signatures.sign(keys.signing_key(Path("north.key")), data, signatures.Place(**{**place, **change}))
        Path("north.safetensors.sig").write_bytes(signatures.block([made]))
        found = ingested(site, "north.safetensors")
        assert (found["outcome"], found["rule"]) == ("refused", rule), found
        assert word in found["reason"]
    # a known client signs a file that names another
    made = signatures.sign(
        keys.signing_key(Path("south.key")), data, signatures.Place(**{**place, "client_id": "south"})
    )
    Path("north.safetensors.sig").write_bytes(signatures.block([made]))
    found = ingested(site, "north.safetensors")
    assert (found["rule"], "client id is 'north', expected 'south'" in found["reason"]) == ("sender", True)


def test_keys_are_replaced_and_revoked_while_a_run_goes_on(site: Typed) -> None:
    old, new = (Path(f"{name}.pub").read_text().strip() for name in ("north", "other"))
    prepared(site, "--key", "north.key")
    assert ingested(site, "north.safetensors")["outcome"] == "accepted"
    south = Path("south.pub").read_text().strip()
    serve(keys={"north": [old, new], "south": south})
    prepared(site, "--key", "other.key")
    assert ingested(site, "north.safetensors", new=False)["outcome"] == "accepted", "signed anew, the same bytes"
    serve(keys={"north": [old, new], "south": south}, revoked=[new])
    found = ingested(site, "north.safetensors", new=False)
    assert (found["outcome"], found["rule"]) == ("refused", "sender")
    said = site("server", "run", "run")  # what was kept is judged again: by a revoked key nobody is heard
    assert said.code == 5
    assert "which is revoked" in said.err
    assert (events()[-1]["event"], events()[-1]["client"], events()[-1]["kept"]) == ("refused", "north", True)
    prepared(site, "--key", "north.key")
    assert ingested(site, "north.safetensors", new=False)["outcome"] == "accepted"
    write("server.yaml", {"dataset": {"name": "imagefolder", "path": "slides"}})
    said = site("server", "ingest", "run", "north.safetensors", "--config", "shared.yaml", "--config", "server.yaml")
    assert said.code == 2, "a run that lists keys does not go on as one without, by a file that was left out"
    assert site("server", "log", "verify", "run").code == 0


@pytest.mark.parametrize(
    ("section", "word"),
    [
        (
            {"keys": {"north": "age1qqq"}},
            "server.keys.north.0: got 'age1qqq'; expected a public key of fgl client keygen",
        ),
        ({"keys": {"west": "KEY"}}, "server.keys: got west; expected clients of upload.clients (north, south)"),
        ({"keys": {"north": "KEY", "south": "KEY"}}, "expected a key of its own for each client; north has the same"),
        ({"keys": {"north": "-----BEGIN PRIVATE KEY-----"}}, "this is a private key, which never leaves its machine"),
        ({"approved_only": True}, "server.keys: got none; expected the clients' public keys"),
        ({"kees": {}}, "unknown option: did you mean 'keys'?"),
    ],
)
def test_a_wrong_section_of_keys_is_refused_in_one_line(site: Typed, section: dict[str, Any], word: str) -> None:
    public = Path("north.pub").read_text().strip()
    text = yaml.safe_dump({"server": section}).replace("KEY\n", f"{public}\n").replace("KEY-----", "KEY-----")
    if "PRIVATE" in text:
        text = yaml.safe_dump({"server": section})
    Path("server.yaml").write_text(text + "dataset: {name: imagefolder, path: slides}\n")
    said = site("server", "ingest", "run", "north.key", "--config", "shared.yaml", "--config", "server.yaml")
    assert said.code == 2
    assert word in said.err, said.err


def test_keys_without_an_id_of_the_run_are_refused(site: Typed) -> None:
    write("shared.yaml", {**SHARED, "upload": {"clients": ["north", "south"]}})
    said = site("server", "ingest", "run", "north.key", "--config", "shared.yaml", "--config", "server.yaml")
    assert said.code == 2
    assert "upload.run_id: got ''; expected an id of this run beside them" in said.err


def test_a_sealed_file_shows_nobody_what_it_is_and_is_opened_by_the_server(site: Typed) -> None:
    told = prepared(site, "--key", "north.key", "--seal-to", "server.pub")
    assert (told["file"], told["sealed"]) == ("north.safetensors.age", True)
    assert not Path("north.safetensors").exists()
    assert b"north" not in Path(told["file"]).read_bytes()
    found = ingested(site, told["file"])
    assert (found["outcome"], found["rule"]) == ("refused", "format")
    assert "--key SERVER.key" in found["reason"]
    assert ingested(site, told["file"], "--key", "server.key")["outcome"] == "accepted"
    assert events()[-1]["sealed"] is True
    keys.write_pair(Path("second"), *keys.server_pair())
    found = ingested(site, told["file"], "--key", "second.key")
    assert "sealed to another key" in found["reason"]
    altered(Path(told["file"]))
    assert "cut or damaged" in ingested(site, told["file"], "--key", "server.key")["reason"]
    prepared(site, "--seal-to", Path("server.pub").read_text().strip())
    found = ingested(site, told["file"], "--key", "server.key")
    assert "it is not signed" in found["reason"], "a seal is no signature"


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("--key", "north.pub"), "--key: got north.pub; expected the private key"),
        (("--key", "server.key"), "this one opens sealed files"),
        (("--seal-to", "server.key"), "this is a private key, which never leaves its machine"),
        (("--seal-to", "north.pub"), "this one is a client's"),
        (("--seal-to", "shared.yaml"), "whole: one line that begins with age1"),
    ],
)
def test_a_wrong_key_is_refused_before_any_work(site: Typed, arguments: tuple[str, ...], word: str) -> None:
    said = site(*NORTH, *arguments)
    assert said.code == 2
    assert word in said.err
    assert not list(Path().glob("north.s*"))


def test_an_open_key_is_refused_on_the_command_line(site: Typed) -> None:
    Path("north.key").chmod(0o644)
    said = site(*NORTH, "--key", "north.key")
    assert said.code == 2
    assert "this one is 0644: chmod 600 north.key" in said.err
    Path("server.key").chmod(0o640)
    config = ("--config", "shared.yaml", "--config", "server.yaml")
    assert site("server", "ingest", "run", "north.pub", *config, "--key", "server.key").code == 2
    assert not Path("run").exists()


def test_no_file_of_somebody_elses_is_replaced_by_a_signature_or_a_sealed_file(site: Typed) -> None:
    for name, arguments in (
        ("north.safetensors.sig", ("--key", "north.key")),
        ("north.safetensors.age", ("--seal-to", "server.pub")),
    ):
        Path(name).write_text("notes of mine")
        said = site(*NORTH, *arguments)
        assert said.code == 2
        assert f"--out: got {name}; expected a path that does not exist" in said.err
        assert Path(name).read_text() == "notes of mine"
        Path(name).unlink()
    prepared(site, "--key", "north.key")
    prepared(site)
    assert not Path("north.safetensors.sig").exists(), "an earlier signature is not left beside other bytes"


# --- the record -----------------------------------------------------------------------------------------------------


def test_the_record_is_verified_and_says_what_is_wrong(site: Typed) -> None:
    prepared(site, "--key", "north.key")
    ingested(site, "north.safetensors")
    said = site("server", "log", "verify", "run")
    assert said.code == 0, said.out
    head = next(line.removeprefix("head ") for line in said.out.splitlines() if line.startswith("head "))
    assert site("server", "forget", "run", "--client", "north", "--later").code == 0
    told = json.loads(site("server", "log", "verify", "run", "--head", head, "--json").out)
    assert (told["sound"], told["events"]) == (True, {"started": 1, "accepted": 1, "forgotten": 1})
    lines = Path("run/server/log.jsonl").read_bytes().splitlines(keepends=True)
    Path("run/server/log.jsonl").write_bytes(b"".join(lines[:-1]))
    said = site("server", "log", "verify", "run")
    assert said.code == 7
    assert "wrong: lines are missing at the end" in said.out
    said = site("server", "log", "verify", "run", "--head", "3")
    assert said.code == 2
    assert "expected a head as fgl server log verify prints it" in said.err
    said = site("server", "log", "show", "run")
    assert "2 " in said.out
    assert "accepted: details forgotten" in said.out
    said = site("server", "log", "verify", "slides")
    assert (said.code, "has no server's record" in said.err) == (7, True)


def test_many_refusals_do_not_fill_the_record(site: Typed, monkeypatch: pytest.MonkeyPatch) -> None:
    from fgl.core.server import refusals

    monkeypatch.setattr(refusals, "_KEPT", 3)
    names = [f"{number}.bin" for number in range(8)]
    for name in names:
        Path(name).write_text(name)
    config = ("--config", "shared.yaml", "--config", "server.yaml")
    assert site("server", "ingest", "run", *names, *config, "--json").code == 5
    assert [one["event"] for one in events()] == ["started", "refused", "refused", "refused", "refused"]
