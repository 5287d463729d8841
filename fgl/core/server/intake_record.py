"""The record of intake: who was expected, who came, was refused or taken out, when, and what crossed the boundary."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from fgl.core.server import claimed_weights, removed
from fgl.core.wire.codecs import TEXT
from fgl.io import event_log
from fgl.text import markdown, plain

if TYPE_CHECKING:
    from fgl.core.session import Session


log = logging.getLogger(__name__)
_READ, _INVERTED = "texts are read by the server", "embeddings can be inverted to text"
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


def record(session: Session, clients: Sequence[str], uploads: Mapping[str, Any]) -> dict[str, Any]:
    """What report.json holds of it. clients: that may answer. uploads: what `server.collect` or `gather` returned."""
    accepted, out = uploads["bytes_per_client"], removed.removal_times(session.run)
    times = {
        (event.get("client"), event.get("sha256")): event.get("time")
        for event in event_log.events(session.run.root)
        if event.get("event") == "accepted"
    }
    digests = uploads.get("sha256", {})  # a run of an earlier version has none
    claims, ratio = uploads["weight_per_class"], session.config.upload.max_weight_ratio
    limited = claimed_weights.factors({name: sum(each) for name, each in claims.items()}, ratio)
    for name, factor in limited.items():
        log.warning(
            "%s says that it has %.6g samples; they count as %.6g (upload.max_weight_ratio)",
            plain(name),
            sum(claims[name]),
            sum(claims[name]) * factor,
        )
    return {
        "run_id": session.config.upload.run_id,
        "fgl": _version(),
        "date": _said(time.time()),
        "seed": session.config.seed,
        "expected": list(clients),
        "accepted": {
            name: {"sha256": digests.get(name, ""), "bytes": size, "time": _said(times.get((name, digests.get(name))))}
            for name, size in accepted.items()
        },
        "missing": [name for name in clients if name not in accepted and name not in out],
        "forgotten": out,
        "refused": len(uploads["refused"]),
        "fields": fields(session, uploads),
        "limited": limited,
        "dominant": [asdict(one) for one in claimed_weights.dominant(claims, session.info.class_names)],
    }


def fields(session: Session, uploads: Mapping[str, Any]) -> list[str]:
    """What clients sent, in words."""
    found = []
    used = uploads["codec_error"]  # codec → array → its error
    if any(codec != TEXT for codec in used):
        arrays = ", ".join(dict.fromkeys(name for errors in used.values() for name in errors))
        found += [
            f"embeddings of the prompts ({arrays})",
            "the fingerprint of the text encoder",
            "the error of the codec",
        ]
    if TEXT in used:
        found.append("the prompts as text")
    found += _COLUMNS
    if session.config.rounds.count:
        found.append("models trained on the clients' images, in both directions, with samples and loss (rounds)")
    if session.config.evaluation.at_clients:
        found.append("counts of images that the classifier got right (evaluation.at_clients)")
    return found


def title(session: Session) -> str:
    """Heading of the report: the data of a simulation; of a run whose clients are elsewhere, its id or folder."""
    if not session.remote_clients:
        return f"# fgl run on {markdown(session.info.name)}"
    return f"# fgl run {markdown(session.config.upload.run_id or session.run.root.name)}"


def configuration(session: Session) -> dict[str, Any]:
    """What the report shows of the configuration: without a partition where clients have data of their own."""
    shown = session.config.to_dict()
    if session.config.upload.clients is not None:
        del shown["partition"]
    return shown


def section(intake: Mapping[str, Any], up: Mapping[str, Any], fedavg: int | None = None) -> list[str]:
    """Lines of report.md on who sent what. intake: see `record`. up: the result's `upload`. fedavg: bytes of the files
    of one round of FedAvg, where it was run beside."""
    sent = " and ".join(dict.fromkeys("texts" if codec == TEXT else "embeddings" for codec in up["codec_error"]))
    count = len(up["bytes_per_client"])
    files = "" if fedavg is None else f"; as files, each with a header and a checksum, {fedavg:,}, as the table has it"
    lines = ["", "## What crossed the boundary", ""]
    lines += [
        f"- {up['bytes_total']:,} bytes of {sent} from {count} client{'s' * (count != 1)}, codec {up['codec']}",
        f"- FedAvg with this classifier sends {up['fedavg_bytes_per_round']:,} bytes of parameters a round "
        f"(model × 2 ways × clients){files}",
        f"- {_READ if TEXT in up['codec_error'] else _INVERTED}, and class ids with weights are a histogram of each "
        "client's labels: neither is a privacy guarantee",
        f"- fields: {'; '.join(intake['fields'])}",
        f"- expected: {len(intake['expected'])} clients; missing: {_names(intake['missing'])}",
        *(f"- taken out: {markdown(name)}, {_moment(when)}" for name, when in intake["forgotten"].items()),
        f"- run id {markdown(intake['run_id']) or 'none'}, seed {intake['seed']}, fgl {intake['fgl']}, reported "
        f"{intake['date']}; versions, device and threads are in environment.json",
    ]
    for name, factor in intake["limited"].items():
        total = sum(up["weight_per_class"][name])
        lines.append(
            f"- {markdown(name)} says that its rows stand for {_number(total)} samples; they count as "
            f"{_number(total * factor)}, the most that one client may claim beside the others (upload.max_weight_ratio)"
        )
    for one in intake["dominant"]:
        lines.append(
            f"- {markdown(one['client_id'])} gives {one['claimed'] / one['total']:.1%} of class "
            f"{markdown(one['class_name'])} ({_number(one['claimed'])} of {_number(one['total'])} samples, by the "
            f"clients' own account; {one['others']} other{'s' * (one['others'] != 1)} have it too): what it sent "
            "decides what the class looks like. That may be as it should; look at the contact sheet"
        )
    lines += [
        f"- {markdown(client)}, refused by the rule {markdown(one['rule'])}: {_why(one)}"
        for client, one in up["refused"].items()
    ]
    return lines


def table(intake: Mapping[str, Any]) -> list[str]:
    """A line for each upload that was accepted."""
    lines = ["| client | bytes sent | sha256 | accepted |", "|---|---|---|---|"]
    return lines + [
        f"| {markdown(name)} | {one['bytes']:,} | `{one['sha256']}` | {one['time'] or 'unknown'} |"
        for name, one in intake["accepted"].items()
    ]


def damaged_section(damaged: Mapping[str, str]) -> list[str]:
    """Lines of report.md; none where all files are sound."""
    if not damaged:
        return []
    lines = ["", "## Damaged files", ""]
    return lines + [f"- {markdown(name)}: {markdown(what)}" for name, what in damaged.items()]


def warnings_section(warnings: Sequence[str]) -> list[str]:
    return [line for warning in warnings for line in ("", f"**{markdown(warning)}**")]


def _names(names: Sequence[str]) -> str:
    some = ", ".join(markdown(name) for name in names[:20])
    return f"{some}, … ({len(names):,} in all)" if len(names) > 20 else some or "none"


def _number(value: float) -> str:
    return f"{value:,.6g}" if value >= 1e7 or value % 1 else f"{value:,.0f}"


def _why(refusal: Mapping[str, str]) -> str:
    return markdown(refusal["reason"].removeprefix("refused: "))


def _moment(when: str) -> str:
    """A time of `leaving.forgotten`, as the other times of the report are written."""
    return when.replace("T", " ").replace("Z", " UTC") or "at an unknown time"


def _said(seconds: Any) -> str:
    """UTC; "" for what is no time."""
    if not isinstance(seconds, int | float):
        return ""
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds))


def _version() -> str:
    try:
        return version("fgl")
    except PackageNotFoundError:  # from a source folder that was not installed
        return "unknown"
