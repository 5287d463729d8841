"""`fgl server ballot` and `fgl client vote`: rounds of votes where clients are on machines of their own."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fgl.commands._console import check_folder, interruptible, shown, stdout_to_stderr
from fgl.commands._options import ConfigFlags, Json, Quiet, Run, Wait, config_flags, home
from fgl.commands._outgoing import Outgoing, SealTo, SignKey
from fgl.commands._output import say, say_json
from fgl.commands._threads import Threads
from fgl.commands.client import Client, configured
from fgl.commands.server import held_run
from fgl.core.plugin_manager import PluginManager
from fgl.errors import COMMAND_LINE, ConfigError, Problem, StoreError, UploadError
from fgl.text import plain

if TYPE_CHECKING:
    from fgl.core.config.schema import RunConfig

Ballot = Annotated[Path, typer.Argument(metavar="BALLOT", help="The file that fgl server ballot wrote.")]


@config_flags("set_")
def server_ballot_command(
    run: Run,
    *,
    config: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE", help="Configuration of a new run; repeatable, later ones win."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", callback=home, help="Default ballot-ROUND.safetensors."),
    ] = None,
    close: Annotated[
        int, typer.Option("--close", metavar="ROUND", min=0, help="Count the votes of a round without those missing.")
    ] = 0,
    wait: Wait = 0.0,
    flags: ConfigFlags,
    as_json: Json = False,
    quiet: Quiet = False,
    threads: Threads = None,
) -> None:
    """Write what the next round puts to the vote, one file for all clients. A run that does not exist yet is started.

    A round is closed when the votes of all clients were ingested, or by --close; until then its ballot is written
    again. Each client answers with fgl client vote."""
    from dataclasses import asdict

    from fgl.core.server import vote_store
    from fgl.core.stages import partition, pipeline, votes
    from fgl.io import files

    if out is not None:
        _check_ballot(out)
    with (
        stdout_to_stderr(),
        interruptible(run, f"fgl server ballot {run}"),
        shown(quiet or as_json) as progress,
        held_run(run, config or [], flags, progress, wait) as session,
    ):
        options = session.config.votes
        if not options.rounds:
            expected = "expected 1 or more: this run takes uploads (fgl server ingest)"
            raise ConfigError([Problem("votes.rounds", "0", expected)])
        done = pipeline.run(session, partition.STAGE.name)
        found = votes.by_file(session, done).advance(close)
        if close >= found.round:
            expected = f"expected a round whose ballot was answered: {found.in_words(run)}"
            raise ConfigError([Problem("--close", str(close), expected)], COMMAND_LINE)
        data = b"" if found.is_over else vote_store.ballot(session.run, found.round) or b""
        file = None
        if data:
            file = out if out is not None else Path(f"ballot-{found.round}.safetensors")
            _check_ballot(file)
            files.write(file, data)
    if as_json:
        said = {"file": None if file is None else str(file), "bytes": len(data), "sha256": found.ballot}
        say_json({**said, **asdict(found)})
        return
    if file is not None:
        say(f"{file}: {len(data):,} bytes, the same file for every client; sha256 {found.ballot}")
        say(f"each client answers with fgl client vote {file.name} SHARED.yaml SITE.yaml --client K")
    say(found.in_words(run))


@config_flags("dataset", "set_", "device")
def client_vote_command(
    ballot: Ballot,
    config: Annotated[
        list[Path] | None,
        typer.Argument(metavar="SHARED.yaml SITE.yaml", help="First what all sites share, then this site's own."),
    ] = None,
    *,
    client: Client,
    flags: ConfigFlags,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", callback=home, help="Default K.vote-ROUND.safetensors."),
    ] = None,
    simulate: Annotated[
        bool,
        typer.Option("--simulate", help="Play client K of the partition of a dataset that the configuration names."),
    ] = False,
    private: Annotated[
        Path | None,
        typer.Option(metavar="DIR", callback=home, help="With --simulate: folder of its ledger; default K.private."),
    ] = None,
    key: SignKey = None,
    seal_to: SealTo = None,
    as_json: Json = False,
    threads: Threads = None,
) -> None:
    """Have this site's images vote on a ballot: how many are nearest to each candidate, with noise. No image leaves.

    The vote is recorded in the site's ledger before it is written; asked again, the same file is written. The site must
    allow it: site.tasks: [vote] in its own file."""
    from fgl.core.client import policy as client_policy
    from fgl.core.client import voting
    from fgl.core.client.spending import PrivacyLedger
    from fgl.core.privacy.review import spent_on
    from fgl.core.store.typed import to_json
    from fgl.core.wire import ballots, signatures

    manager, outgoing = PluginManager.load(), Outgoing.of(key, seal_to)
    policy, resolved = configured(manager, config or [], flags, simulate)
    if policy is not None:
        policy.judge_task("vote")
    if private is not None and not simulate:
        expected = "expected nothing: the ledger of a site is where site.ledger says; the option is for --simulate"
        raise ConfigError([Problem("--private", str(private), expected)], COMMAND_LINE)
    folder = private if private is not None else Path(f"{client}.private")
    ledger = PrivacyLedger(policy.ledger() if policy is not None else folder / client_policy.LEDGER)
    data = _read(ballot)
    file = out if out is not None else Path(f"{client}.vote-{ballots.stated_round(data)}.safetensors")
    _check_vote(resolved, client, file)
    outgoing.check(file)
    with stdout_to_stderr(), shown(as_json):
        device = manager.create("executor", resolved.executor).device(resolved.device)
        asked = {"config": resolved.to_dict(), "client_id": client, "device": device, "data": ""}
        before = {one.answer for one in ledger.entries()}
        answer = voting.answer({**asked, "ledger": str(ledger.folder)}, data)
        entry = ledger.entry_of(answer)
        again = entry is not None and entry.answer in before
        stated = ballots.stated_in(answer)
        place = signatures.Place(kind="vote", run=stated.run, client_id=client, round=stated.round)
        sent = outgoing.write(file, answer, place)
    digest, count = hashlib.sha256(answer).hexdigest(), len(stated.votes)
    if as_json:
        said = {"file": str(sent), "bytes": len(answer), "sha256": digest, "round": stated.round, "candidates": count}
        told = {"again": again, "signed_by": outgoing.public, "sealed": outgoing.recipient is not None}
        say_json({**said, "spent": None if entry is None else to_json(spent_on(entry)), **told})
        return
    say(f"{sent}: {len(answer):,} bytes, {count} numbers, round {stated.round}; sha256 {digest}")
    if entry is None:
        say("there is no noise on it, and no guarantee: it holds exact counts of images (votes.epsilon)")
    else:
        spent = f"epsilon {entry.epsilon:.4g}, {entry.epsilon_in_all:.4g} in all, at delta {entry.delta:g}"
        say(f"{spent} (level {entry.level}){'; answered before: the same file, at no further cost' if again else ''}")
    outgoing.say_how(file)
    if outgoing.recipient is None:
        say(f"fgl client review {file} says what is in it; send it to the server, and nothing else")


def _read(ballot: Path) -> bytes:
    """At most a byte more than is allowed, for whoever reads it to refuse. Raises StoreError."""
    from fgl.core.wire import ballots
    from fgl.io.files import open_regular

    try:
        with open_regular(ballot) as file:
            return file.read(ballots.MAX_BALLOT + 1)
    except OSError as error:
        raise StoreError(
            f"cannot read {plain(ballot)}: {error.strerror or error}; expected the file that fgl server ballot wrote"
        ) from error


def _check_ballot(file: Path) -> None:
    """Raises ConfigError where a file that is no ballot would be replaced."""
    from fgl.core.wire import ballots

    check_folder("--out", file.parent)
    if not file.exists():
        return
    try:
        ballots.stated_round(_read(file))
    except (UploadError, StoreError):
        expected = "expected a path that does not exist, or an earlier ballot, which is replaced; this is neither"
        raise ConfigError([Problem("--out", str(file), expected)], COMMAND_LINE) from None


def _check_vote(config: RunConfig, client: str, file: Path) -> None:
    """Raises ConfigError where a file that is no vote of this client in this run would be replaced."""
    from fgl.core import outputs
    from fgl.core.wire import ballots

    check_folder("--out", file.parent)
    outputs.check_beside(config, file, "--out")
    if not file.exists():
        return
    try:
        stated = ballots.stated_in(_read(file))
        same = (stated.run, stated.client_id) == (config.upload.run_id, client)
    except (UploadError, StoreError):
        same = False
    if not same:
        expected = f"expected a path that does not exist, or an earlier vote of {client} in this run; this is neither"
        raise ConfigError([Problem("--out", str(file), expected)], COMMAND_LINE)
