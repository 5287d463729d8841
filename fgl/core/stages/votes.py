"""Rounds of votes in the place of uploads: the server proposes, clients' images vote, and texts with votes remain.

What lies where stands in `fgl.core.server.vote_store`.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from fgl.contracts.prompt import Prompt
from fgl.contracts.prompts import SupportsGrammar
from fgl.core import model_digests, voting
from fgl.core.client import site
from fgl.core.server import forget, own_upload, refusals, vote_intake, vote_store
from fgl.core.server.refusals import Refusal
from fgl.core.server.tally import ClientsResult
from fgl.core.stages import clients, foundation_models, partition
from fgl.core.stages.stage import Done, Inputs, Stage, Work
from fgl.core.stages.vote_rounds import NO_GRAMMAR, Vote, painting
from fgl.core.stages.votes_by_file import VoteByFile
from fgl.core.store.owned import digest_of
from fgl.errors import ConfigError, Problem

if TYPE_CHECKING:
    from fgl.contracts.aggregator import ClientUpload
    from fgl.core.session import Session


def check(session: Session) -> None:
    """Raises ConfigError where there can be no vote, or where something else would read the clients' images as well."""
    options, config = session.config.votes, session.config
    if not options.rounds:
        return
    problems = []
    if not isinstance(session.manager.create("prompt_strategy", config.prompt_strategy), SupportsGrammar):
        problems.append(Problem("prompt_strategy", config.prompt_strategy.name, NO_GRAMMAR))
    if session.remote_clients and not config.upload.run_id:
        expected = "expected an id of this run: a client answers one ballot a round of a run, and knows a run by its id"
        problems.append(Problem("upload.run_id", "''", expected))
    for key, asked in (
        ("rounds.count", config.rounds.count and config.rounds.privacy is None),
        ("adaptation.rounds", config.adaptation.rounds),
        ("evaluation.at_clients", config.evaluation.at_clients),
    ):
        if asked:
            expected = "expected none beside votes: it would read the clients' images at a price that nothing counts"
            problems.append(Problem(key, str(asked), expected))
    if options.variation == "none" and options.names is None and options.candidates < 2:
        problems.append(Problem("votes.candidates", "1", "expected at least 2, or there is nothing to choose"))
    if options.names is not None:
        classes = len(session.info.class_names)
        for key, given in (("names", len(set(options.names))), ("candidates", options.candidates)):
            if given < classes:
                expected = f"expected at least {classes}: each of {classes} classes is to find a name of its own"
                problems.append(Problem(f"votes.{key}", str(given), expected))
    problems += voting.noise_problems(config)
    if problems:
        raise ConfigError(problems)
    if options.level == "client":
        _check_enough_clients(session)
    voting.space_of(config, session.manager)


def _check_enough_clients(session: Session) -> None:
    """Raises ConfigError where noise for whole clients drowns the most that they could say together."""
    options, config = session.config.votes, session.config
    listed = config.upload.clients
    count = len(listed) if listed is not None else len(partition.expected_clients(session))
    whole = voting.deviation(config)
    noise = whole * math.sqrt(count) if options.noise == "each" else whole
    classes = len(session.info.class_names)
    signal = count / math.sqrt(classes)
    if noise >= signal:
        stated = f"ε {options.epsilon:g}" if options.epsilon is not None else f"σ {options.sigma:g}"
        expected = (
            f"with {count} clients at {stated} the noise is larger than all votes: a client's votes have norm 1, so "
            f"{count} that agree give a candidate of one of {classes} classes {count} / √{classes} = {signal:.2f} "
            f"votes, and the noise on it has a standard deviation of {noise:.2f}; expected more clients, a larger "
            "epsilon, or level: image"
        )
        raise ConfigError([Problem("votes.level", "client", expected)])


def _inputs(session: Session, done: Done) -> Inputs:
    config = session.config
    prompt_files = session.manager.options("prompt_strategy", config.prompt_strategy).files()
    return {
        **painting(session),
        "partition": done.made(partition.STAGE) if partition.STAGE.enabled(session) else "",
        "clients": list(config.upload.clients or ()),
        "dataset": session.info.digest,
        "votes": config.votes.model_dump(),
        "prompt_strategy": config.prompt_strategy.model_dump(),
        "prompt_files": {name: model_digests.of_path(name) for name in prompt_files},
        **clients.prompt_names(session),
        "min_clients": config.upload.min_clients,
        "delta": config.privacy.delta,
        "forgotten": session.removed_clients,
    }


def _work(session: Session, done: Done, digest: str) -> Work[ClientsResult]:
    foundation_models.check_content(session)
    names = [name for name in partition.client_ids(session, done) if name not in session.removed_clients]
    voters = Vote(session, names, digest)
    for number in range(1, session.config.votes.rounds + 1):
        voters.hold(number)
    site.release()
    return voters.result(), voters.files


def by_file(session: Session, done: Done) -> VoteByFile:
    """The rounds of a run whose clients are elsewhere, as far as they were closed before."""
    names = [name for name in partition.client_ids(session, done) if name not in session.removed_clients]
    return VoteByFile(session, names, digest_of(_inputs(session, done)))


def _inputs_by_file(session: Session, done: Done) -> Inputs:
    """Who has voted what, and whose votes count, beside what determines the ballots."""
    return {
        **_inputs(session, done),
        "received": vote_store.received(session.run, session.config.votes.rounds),
        "refused": sorted(refusals.listed(session.run)),
        **session.config.server.inputs(),
    }


def _gather(session: Session, done: Done, digest: str) -> Work[ClientsResult]:
    """What `fgl server ingest` has accepted. Raises TooFewUploadsError where a round waits for votes."""
    found = by_file(session, done)
    found.hold_all()
    result = found.result()
    listed = {name: Refusal(**note) for name, note in refusals.listed(session.run).items()}
    return replace(result, refused={**listed, **result.refused}), found.files


def _waited_for(session: Session, name: str, inputs: Inputs) -> str:
    return vote_intake.standing(session, partition.expected_clients(session)).in_words(session.run.root)


def _end_removal(session: Session, done: Done) -> None:
    """Where taking a client out was interrupted."""
    forget.drop(session.run, session.removed_clients)


def own(session: Session, result: ClientsResult) -> ClientUpload:
    """What is synthesized, as an upload of the server's own: each class's texts, by their share of its votes."""
    assert result.votes is not None
    prompts = [Prompt(one.class_id, one.text, weight=one.share) for one in result.votes.texts]
    return own_upload.of_prompts(session, prompts, session.generator.encoder(session.device))


STAGE = Stage(
    name="clients",
    needs=("partition",),
    result=ClientsResult,
    enabled=lambda session: session.config.votes.rounds > 0 and not session.remote_clients,
    inputs=_inputs,
    work=_work,
    made=lambda session, digest, result: result.uploads,
    outputs=("server/votes",),
    heading=lambda session: f"votes on {session.config.votes.candidates} candidates a class",
)
"""In the place of `clients.STAGE`; for later stages it is the same one."""

FROM_FILES = Stage(
    name="clients",
    needs=("partition",),
    result=ClientsResult,
    enabled=lambda session: session.config.votes.rounds > 0 and session.remote_clients,
    inputs=_inputs_by_file,
    work=_gather,
    made=lambda session, digest, result: result.uploads,
    before=_end_removal,
    outputs=("server/votes",),
    given=("clients", vote_store.RECEIVED, "server/refused.json", *vote_store.FIRST_BALLOT),
    partial=_waited_for,
    heading=STAGE.heading,
)
"""In the place of `clients.FROM_FILES`."""
