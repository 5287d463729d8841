"""Who sent what, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from fgl.core.report.generator import words
from fgl.core.report.schema import RunReport, UploadFilterSummary, Uploads
from fgl.core.report.tables import Table
from fgl.core.server.claimed_weights import Dominant
from fgl.core.server.intake_record import Intake
from fgl.core.server.refusals import Refusal
from fgl.core.server.tally import CodecBytes, CodecError, VotesResult
from fgl.core.wire.codecs import TEXT
from fgl.text import counted
from fgl.text import markdown as md

if TYPE_CHECKING:
    from fgl.core.session import Session
    from fgl.core.store.typed import JsonObject


_READ, _INVERTED = "texts are read by the server", "embeddings can be inverted to text"
_DESCRIBED = "statistics of few images describe each of them"


def title(session: Session) -> str:
    """Heading of the report: the data of a simulation; of a run with remote clients, its id or folder."""
    if not session.remote_clients:
        return f"# fgl run on {md(session.info.name)}"
    return f"# fgl run {md(session.config.upload.run_id or session.run.root.name)}"


def configuration(session: Session) -> JsonObject:
    """What the report shows of the configuration: without a partition where clients have data of their own."""
    shown = session.config.to_dict()
    if session.config.upload.clients is not None:
        del shown["partition"]
    return shown


def intake_section(report: RunReport) -> list[str]:
    """Lines of report.md on what crossed the boundary."""
    intake, up = report.intake, report.upload
    return [
        "",
        "## What crossed the boundary",
        "",
        *_bytes(up, _fedavg_bytes(report), report.synthetic.product is None),
        f"- fields: {'; '.join(intake.fields)}",
        *map(_filter, report.upload_filters or ()),
        *_senders(intake),
        *(_limited(name, factor, sum(up.weight_per_class[name])) for name, factor in intake.limited.items()),
        *map(_dominant, intake.dominant),
        *(f"- {md(client)}, refused by the rule {md(one.rule)}: {_reason(one)}" for client, one in up.refused.items()),
    ]


def _fedavg_bytes(report: RunReport) -> int | None:
    """Bytes of the files of one round of FedAvg, where it was run beside."""
    return next((one.bytes for one in report.baselines if one.name == "fedavg"), None)


def _bytes(up: Uploads, fedavg: int | None, of_images: bool) -> list[str]:
    """of_images: whether what was sent are prompts for a generator of images, not statistics of features."""
    if up.votes is not None:
        return _votes(up.votes, up.bytes_total)
    rows = "embeddings" if of_images else "statistics"
    sent = " and ".join(dict.fromkeys("texts" if codec == TEXT else rows for codec in up.codec_error))
    readable = (_READ if TEXT in up.codec_error else _INVERTED) if of_images else _DESCRIBED
    count = len(up.bytes_per_client)
    files = "" if fedavg is None else f"; as files, each with a header and a checksum, {fedavg:,}, as the table has it"
    return [
        f"- {up.bytes_total:,} bytes of {sent} from {count} client{'s' * (count != 1)}, codec {up.codec}",
        f"- FedAvg with this classifier sends {up.fedavg_bytes_per_round:,} bytes of parameters a round "
        f"(model × 2 ways × clients){files}",
        f"- {readable}, and class ids with weights are a histogram of each "
        "client's labels: neither is a privacy guarantee",
    ]


def _votes(votes: VotesResult, sent: int) -> list[str]:
    voters = len(votes.rounds[-1].voters)
    down = sum(one.bytes_down for one in votes.rounds)
    noise = (
        f"every number has noise of a standard deviation of {votes.client_deviation:.4g} votes on it: "
        "`fgl privacy` states what that guarantees"
        if votes.client_deviation
        else "there is no noise on them, and no guarantee: set votes.epsilon"
    )
    return [
        f"- {sent:,} bytes of votes from {counted(voters, 'client')} in {counted(len(votes.rounds), 'round')}, on "
        f"ballots of {down:,} bytes; no embedding, no prompt and no exact class count of a client",
        f"- {noise}",
        *(
            [f"- no candidate of {', '.join(map(md, votes.undecided))} had votes above the threshold: all count alike"]
            if votes.undecided
            else []
        ),
    ]


def _filter(one: UploadFilterSummary) -> str:
    of = "" if one.distribution == "fgl" else f" of {md(one.distribution)}"
    return (
        f"- clients were asked to apply the upload filter {md(one.name)}{of}: {md(words(one.does))}; no filter by "
        "itself is a privacy guarantee"
    )


def _senders(intake: Intake) -> list[str]:
    return [
        f"- expected: {len(intake.expected)} clients; missing: {_names(intake.missing)}",
        *(f"- taken out: {md(name)}, {_moment(when)}" for name, when in intake.forgotten.items()),
        f"- run id {md(intake.run_id) or 'none'}, seed {intake.seed}, fgl {intake.fgl}, reported "
        f"{intake.date}; versions, device and threads are in environment.json",
    ]


def _limited(name: str, factor: float, total: float) -> str:
    return (
        f"- {md(name)} says that its rows stand for {_number(total)} samples; they count as "
        f"{_number(total * factor)}, the most that one client may claim beside the others (upload.max_weight_ratio)"
    )


def _dominant(one: Dominant) -> str:
    return (
        f"- {md(one.client_id)} gives {one.claimed / one.total:.1%} of class {md(one.class_name)} "
        f"({_number(one.claimed)} of {_number(one.total)} samples, by the clients' own account; {one.others} "
        f"other{'s' * (one.others != 1)} have it too): what it sent decides what the class looks like. That may be as "
        "it should; look at the contact sheet"
    )


def codecs_section(up: Uploads) -> list[str]:
    """The same rows in every codec; none where clients vote."""
    if up.votes is not None:
        return []
    rows = [_codec_row(codec, one, up.codec_error.get(codec, {})) for codec, one in up.bytes_by_codec.items()]
    columns = ("codec", "bytes", "known", "largest absolute error", "relative RMS error")
    return [
        "",
        "The same rows, by codec; whole files, their headers included:",
        "",
        *Table(columns, rows, "lrlrr").markdown(),
        "",
        "Errors are the clients' own account of what their codec did, the largest of any client and array; the "
        "relative one is ‖x − q‖ / ‖x‖ over an array. Only a codec that was used has them. What is measured is the "
        "size of the files that were sent.",
        "",
    ]


def _codec_row(codec: str, one: CodecBytes, errors: Mapping[str, CodecError]) -> tuple[str, ...]:
    largest = max((each.max_abs for each in errors.values()), default=None)
    rms = max((each.relative_rms for each in errors.values()), default=None)
    shown = ("–" if value is None else f"{value:.3g}" for value in (largest, rms))
    return (codec, f"{one.total:,}", one.how, *shown)


def accepted_section(intake: Intake) -> list[str]:
    """A row for each upload that was accepted."""
    rows = [(name, f"{one.bytes:,}", one.sha256, one.time or "unknown") for name, one in intake.accepted.items()]
    return Table(("client", "bytes sent", "sha256", "accepted"), rows, "lrll").markdown()


def damaged_section(damaged: Mapping[str, str]) -> list[str]:
    """Lines of report.md; none where all files are sound."""
    if not damaged:
        return []
    lines = ["", "## Damaged files", ""]
    return lines + [f"- {md(name)}: {md(what)}" for name, what in damaged.items()]


def warnings_section(warnings: Sequence[str]) -> list[str]:
    """A line in bold for each."""
    return [line for warning in warnings for line in ("", f"**{md(warning)}**")]


def _names(names: Sequence[str]) -> str:
    some = ", ".join(md(name) for name in names[:20])
    return f"{some}, … ({len(names):,} in all)" if len(names) > 20 else some or "none"


def _number(value: float) -> str:
    return f"{value:,.6g}" if value >= 1e7 or value % 1 else f"{value:,.0f}"


def _reason(refusal: Refusal) -> str:
    return md(refusal.reason.removeprefix("refused: "))


def _moment(when: str) -> str:
    """A time of `removed.removal_times`, as the other times of the report are written."""
    return when.replace("T", " ").replace("Z", " UTC") or "at an unknown time"
