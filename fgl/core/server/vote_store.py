"""Where the server keeps ballots, and the votes that come as files.

RUN/server/votes/ballot-K.safetensors   what round K puts to the vote; its commit is ballot-K.json
RUN/server/votes/round-K.json           its candidates and what each client voted; the commit of the round, which is
                                        closed from then on
RUN/server/votes/pictures-K.safetensors the pictures of its candidates, where these are varied; its commit is .json
RUN/server/received/K/<client>.safetensors   a vote of round K that came as a file; its commit is <client>.json
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from safetensors.numpy import load, save

from fgl.core.store.owned import file_digest
from fgl.core.store.typed import from_json, to_json
from fgl.core.wire import ballots
from fgl.errors import StoreError
from fgl.io import files

if TYPE_CHECKING:
    from fgl.contracts.arrays import Pixels
    from fgl.core.store.run_dir import RunDir
    from fgl.core.wire.ballots import Ballot

FIRST_BALLOT = ("server/votes/ballot-1.safetensors", "server/votes/ballot-1.json")
"""What holds nothing of any client: it was made before anybody was asked."""
RECEIVED = "server/received"
"""Folder of votes that came as files."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VoteManifest:
    """What the server keeps beside a vote that it has accepted."""

    client_id: str
    """Whose vote it is."""
    round: int
    """Of the votes, from 1."""
    ballot: str
    """sha256 of the ballot that it answers."""
    bytes: int
    """Of the file."""
    sha256: str
    """Of the file."""
    signature: str = ""
    """Its signature block, by which it is judged again when keys change; empty where it came without one."""


def ballot_path(run: RunDir, number: int) -> Path:
    """Of a round's ballot."""
    return run.path("server", "votes", f"ballot-{number}.safetensors")


def seal_path(run: RunDir, number: int) -> Path:
    """Of what says what a round's ballot was made of."""
    return ballot_path(run, number).with_suffix(".json")


def round_path(run: RunDir, number: int) -> Path:
    """Of the commit of a round."""
    return run.path("server", "votes", f"round-{number}.json")


def vote_path(run: RunDir, number: int, client_id: str) -> Path:
    """Of a client's vote in a round."""
    return run.path(*RECEIVED.split("/"), str(number), f"{client_id}.safetensors")


def write_ballot(run: RunDir, number: int, data: bytes, made_of: str) -> None:
    """Keep a round's ballot. made_of: digest of all that determines it."""
    run.write(ballot_path(run, number), data)
    run.write_sealed(seal_path(run, number), {"made_of": made_of, "digest": hashlib.sha256(data).hexdigest()})


def ballot(run: RunDir, number: int, made_of: str | None = None) -> bytes | None:
    """The bytes of a round's ballot, None where they are not there or not what was written. made_of: what it must have
    been made of; None: anything."""
    seal = run.read_sealed(seal_path(run, number))
    if seal is None or (made_of is not None and seal.get("made_of") != made_of):
        return None
    try:
        data = files.read_bytes(ballot_path(run, number))
    except OSError:
        return None
    return data if hashlib.sha256(data).hexdigest() == seal.get("digest") else None


def pictures_path(run: RunDir, number: int) -> Path:
    """Of the pictures of a round's candidates."""
    return run.path("server", "votes", f"pictures-{number}.safetensors")


def write_pictures(run: RunDir, number: int, pictures: Pixels, made_of: str) -> None:
    """Keep the pictures of a round's candidates. pictures: uint8 [n, p, h, w, 3]. made_of: as for `write_ballot`."""
    path = pictures_path(run, number)
    data = save({"pictures": np.ascontiguousarray(pictures)})
    run.write(path, data)
    each = [hashlib.sha256(one.tobytes()).hexdigest() for one in pictures]
    seal = {"made_of": made_of, "digest": hashlib.sha256(data).hexdigest(), "each": each}
    run.write_sealed(path.with_suffix(".json"), seal)


def pictures(run: RunDir, number: int, made_of: str | None = None) -> Pixels | None:
    """uint8 [n, p, h, w, 3]; None where they are not there, or not what was written or asked for."""
    path = pictures_path(run, number)
    seal = run.read_sealed(path.with_suffix(".json"))
    if seal is None or (made_of is not None and seal["made_of"] != made_of):
        return None
    try:
        data = files.read_bytes(path)
    except OSError:
        return None
    return load(data)["pictures"] if hashlib.sha256(data).hexdigest() == seal["digest"] else None


def picture_digests(run: RunDir, number: int) -> list[str]:
    """Of each candidate's pictures. Raises StoreError where they are not there."""
    seal = run.read_sealed(pictures_path(run, number).with_suffix(".json"))
    if seal is None:
        raise StoreError(f"{pictures_path(run, number)} is damaged or gone: run again to paint it")
    return list(seal["each"])


def drop_pictures(run: RunDir, number: int) -> None:
    """Remove the pictures of a round."""
    path = pictures_path(run, number)
    run.remove_named(path.with_suffix(".json"), path)


def is_closed(run: RunDir, number: int) -> bool:
    """Whether the votes on a round's present ballot were added up."""
    seal, commit = run.read_sealed(seal_path(run, number)), run.read_sealed(round_path(run, number))
    return seal is not None and commit is not None and commit.get("ballot") == seal.get("digest")


def open_round(run: RunDir, rounds: int) -> tuple[int, Ballot | None]:
    """(the first round that is not closed, rounds + 1 where all are; its ballot, None where there is none yet)."""
    number = next((one for one in range(1, rounds + 1) if not is_closed(run, one)), rounds + 1)
    data = ballot(run, number) if number <= rounds else None
    return number, None if data is None else ballots.own_ballot(data)


def round_of(run: RunDir, sha256: str, rounds: int) -> int | None:
    """The closed round in which a vote of these bytes was counted; None where there is none."""
    for number in range(1, rounds + 1):
        if is_closed(run, number):
            answered = (run.read_sealed(round_path(run, number)) or {}).get("answered", {})
            if any(one["sha256"] == sha256 for one in answered.values()):
                return number
    return None


def keep(run: RunDir, manifest: VoteManifest, data: bytes) -> None:
    """Keep a vote that was accepted; the manifest is its commit."""
    path = vote_path(run, manifest.round, manifest.client_id)
    run.write(path, data)
    run.write_sealed(path.with_suffix(".json"), to_json(manifest))


def kept(run: RunDir, number: int, client_id: str) -> VoteManifest | None:
    """The manifest of a client's vote in a round, None where there is none or its bytes are others than came."""
    path = vote_path(run, number, client_id)
    sealed = run.read_sealed(path.with_suffix(".json"))
    if sealed is None:
        return None
    manifest = from_json(VoteManifest, sealed)
    try:
        same = file_digest(path) == manifest.sha256
    except StoreError:
        return None
    return manifest if same and (manifest.client_id, manifest.round) == (client_id, number) else None


def received(run: RunDir, rounds: int) -> dict[str, dict[str, str]]:
    """Round → client → sha256 of its vote, of all votes that came."""
    found: dict[str, dict[str, str]] = {}
    for number in range(1, rounds + 1):
        folder = vote_path(run, number, "any").parent
        manifests = [kept(run, number, path.stem) for path in sorted(folder.glob("*.json"))]
        found[str(number)] = {one.client_id: one.sha256 for one in manifests if one is not None}
    return found


def drop_votes(run: RunDir, client_id: str) -> None:
    """Remove what came of a client."""
    for folder in sorted(run.path(*RECEIVED.split("/")).glob("*")):
        path = folder / f"{client_id}.safetensors"
        run.remove_named(path.with_suffix(".json"), path)


def reopen(run: RunDir, number: int, rounds: int) -> None:
    """Open a closed round again, and forget those after it."""
    run.remove_named(*(round_path(run, one) for one in range(number, rounds + 1)))


def drop_rounds(run: RunDir) -> None:
    """Remove all that was made of votes: rounds, and the ballots that follow from them."""
    first = [run.path(*name.split("/")) for name in FIRST_BALLOT]
    run.remove(*(path for path in run.owned("server", "votes") if path not in first))
