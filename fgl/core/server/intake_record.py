"""The record of intake: who was expected, who came, was refused or taken out, when, and what crossed the boundary."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from fgl.core.server import claimed_weights, removed
from fgl.core.wire.codecs import TEXT
from fgl.io import event_log
from fgl.text import plain

if TYPE_CHECKING:
    from fgl.core.server.tally import ClientsResult
    from fgl.core.session import Session


log = logging.getLogger(__name__)
_COLUMNS = (
    "class ids",
    "weights (how many samples a row stands for, by the client's own account)",
    "domain names",
    "guidance scales",
    "the client's id",
    "the run's id and the round",
    "the digest of the class list",
    "the number and length of the distinct texts",
    "a checksum",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptedUpload:
    """An upload that the run uses."""

    sha256: str
    """Of the file."""
    bytes: int
    """Of the file."""
    time: str
    """When it was accepted, UTC; empty where unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Intake:
    """Who was expected, who sent something, and what crossed the boundary."""

    run_id: str
    """`upload.run_id`; empty where there is none."""
    fgl: str
    """Version of fgl that wrote the report."""
    date: str
    """When the report was written, UTC."""
    seed: int
    """Of the run."""
    expected: list[str]
    """Clients that may answer."""
    accepted: dict[str, AcceptedUpload]
    """Client → its upload."""
    missing: list[str]
    """Clients of which there is no upload."""
    forgotten: dict[str, str]
    """Client that was taken out → when, UTC."""
    refused: int
    """How many uploads were refused."""
    fields: list[str]
    """What clients sent, in words."""
    limited: dict[str, float]
    """Client whose weights were cut → the factor on them."""
    dominant: list[claimed_weights.Dominant]
    """Clients that decide what a class looks like."""


def record(session: Session, clients: Sequence[str], uploads: ClientsResult) -> Intake:
    """What report.json holds of it. clients: that may answer. uploads: what `server.collect` or `gather` returned."""
    accepted, out = uploads.bytes_per_client, removed.removal_times(session.run)
    times = {
        (event.get("client"), event.get("sha256")): event.get("time")
        for event in event_log.events(session.run.root)
        if event.get("event") == "accepted"
    }
    digests = uploads.sha256
    claims, ratio = uploads.weight_per_class, session.config.upload.max_weight_ratio
    limited = claimed_weights.factors({name: sum(each) for name, each in claims.items()}, ratio)
    for name, factor in limited.items():
        log.warning(
            "%s says that it has %.6g samples; they count as %.6g (upload.max_weight_ratio)",
            plain(name),
            sum(claims[name]),
            sum(claims[name]) * factor,
        )
    return Intake(
        run_id=session.config.upload.run_id,
        fgl=_version(),
        date=_said(time.time()),
        seed=session.config.seed,
        expected=list(clients),
        accepted={
            name: AcceptedUpload(sha256=digests[name], bytes=size, time=_said(times.get((name, digests[name]))))
            for name, size in accepted.items()
        },
        missing=[name for name in clients if name not in accepted and name not in out],
        forgotten=out,
        refused=len(uploads.refused),
        fields=fields(session, uploads),
        limited=limited,
        dominant=claimed_weights.dominant(claims, session.info.class_names),
    )


def fields(session: Session, uploads: ClientsResult) -> list[str]:
    """What clients sent, in words."""
    if uploads.votes is not None:
        noise = f", with noise of a standard deviation of {uploads.votes.client_deviation:.4g} on it"
        return [
            "for each candidate of a ballot, how many of the client's images of its class are nearest to it"
            + (noise if uploads.votes.client_deviation else ", exactly"),
        ]
    sentences = []
    used = uploads.codec_error  # codec → array → its error
    if any(codec != TEXT for codec in used):
        arrays = ", ".join(dict.fromkeys(name for errors in used.values() for name in errors))
        sentences += [
            f"embeddings of the prompts ({arrays})",
            "the fingerprint of the text encoder",
            "the error of the codec",
        ]
    if TEXT in used:
        sentences.append("the prompts as text")
    sentences += _COLUMNS
    if session.config.rounds.count:
        sentences.append("models trained on the clients' images, in both directions, with samples and loss (rounds)")
    if session.config.evaluation.at_clients:
        sentences.append("counts of images that the classifier got right (evaluation.at_clients)")
    return sentences


def _said(seconds: Any) -> str:
    """UTC; "" for what is not a time."""
    if not isinstance(seconds, int | float):
        return ""
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds))


def _version() -> str:
    try:
        return version("fgl")
    except PackageNotFoundError:  # from a source folder that was not installed
        return "unknown"
