"""Rounds of votes in the place of uploads: the server proposes, clients' images vote, and texts with votes remain.

What lies where stands in `fgl.core.server.vote_store`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from fgl.contracts.generator import SupportsVariation
from fgl.contracts.prompt import Prompt
from fgl.contracts.prompts import SupportsGrammar
from fgl.core import model_digests, voting
from fgl.core.client import site
from fgl.core.server import forget, own_upload, refusals, vote_intake, vote_store
from fgl.core.server.refusals import Refusal
from fgl.core.server.tally import ClientsResult
from fgl.core.stages import clients, foundation_models, partition
from fgl.core.stages.stage import Done, Inputs, Stage, Work
from fgl.core.stages.vote_rounds import IMG2IMG, NO_GRAMMAR, Vote, painting
from fgl.core.stages.votes_by_file import VoteByFile
from fgl.core.store.owned import digest_of
from fgl.core.synthesis.from_pictures import GeneratorFromPictures
from fgl.errors import ConfigError, Problem, StoreError

if TYPE_CHECKING:
    from fgl.contracts.aggregator import ClientUpload
    from fgl.contracts.arrays import Pixels
    from fgl.core.session import Session
    from fgl.core.store.run_dir import RunDir


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
        if options.variation == IMG2IMG:
            expected = (
                "expected grammar or none beside votes.names: varied pictures keep their texts, and classes that "
            )
            expected += "vote for the same ones would be left without a name of their own"
            problems.append(Problem("votes.variation", IMG2IMG, expected))
    if options.variation == IMG2IMG and not isinstance(session.generator, SupportsVariation):
        expected = f"expected a generator that makes variations of images; {config.generator.name} does not"
        problems.append(Problem("votes.variation", IMG2IMG, expected))
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
    voters.keep_pictures()
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
    found.keep_pictures()
    result = found.result()
    listed = {name: Refusal(**note) for name, note in refusals.listed(session.run).items()}
    return replace(result, refused={**listed, **result.refused}), found.files


def _waited_for(session: Session, name: str, inputs: Inputs) -> str:
    return vote_intake.standing(session, partition.expected_clients(session)).in_words(session.run.root)


def _end_removal(session: Session, done: Done) -> None:
    """Where taking a client out was interrupted."""
    forget.drop(session.run, session.removed_clients)


def own(session: Session, result: ClientsResult) -> list[ClientUpload]:
    """What is synthesized, as uploads of the server's own: each class's texts, by their share of its votes. Where
    pictures are varied, an upload for each candidate, under the name of its pictures."""
    assert result.votes is not None
    encoder, texts = session.generator.encoder(session.device), result.votes.texts
    groups: dict[str, list[Prompt]] = {}
    for one in texts:
        name = own_upload.SERVER if one.candidate is None else _group(one.candidate)
        groups.setdefault(name, []).append(Prompt(one.class_id, one.text, weight=one.share))
    return [own_upload.of_prompts(session, prompts, encoder, name) for name, prompts in groups.items()]


def painting_session(session: Session, done: Done) -> Session:
    """The session with the generator that synthesizes: one that varies the pictures of the last round, where pictures
    are varied. Raises NotDoneError."""
    return done.once(_painting_session, session) if session.config.votes.rounds else session


def _painting_session(session: Session, done: Done) -> Session:
    options = session.config.votes
    if options.variation != IMG2IMG:
        return session
    votes = done[STAGE].votes
    assert votes is not None
    chosen = sorted({one.candidate for one in votes.texts if one.candidate is not None})
    digests = vote_store.picture_digests(session.run, options.rounds)

    pictures = partial(_pictures, session.run, options.rounds, chosen)
    each = {_group(row): digests[row] for row in chosen}
    strength = options.strength_at(options.rounds + 1)
    generator = GeneratorFromPictures(session.generator, session.product, each, pictures, strength)
    return replace(session, generator=generator)


def _pictures(run: RunDir, rounds: int, chosen: Sequence[int]) -> dict[str, Pixels]:
    """Pictures of candidates, by group. Raises StoreError where they are damaged or gone."""
    found = vote_store.pictures(run, rounds)
    if found is None:
        path = vote_store.pictures_path(run, rounds)
        raise StoreError(f"{path} is damaged or gone: run again to paint it")
    return {_group(row): found[row] for row in chosen}


def _group(candidate: int) -> str:
    return f"candidate-{candidate:05d}"


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
