"""Rounds of votes in the place of uploads: the server proposes, clients' images vote, and texts with votes remain.

RUN/server/votes/ballot-K.safetensors   what round K puts to the vote, written before anybody is asked
RUN/server/votes/round-K.json           its candidates and what each client voted; the commit of the round
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from fgl.contracts.prompt import Prompt
from fgl.contracts.prompts import SupportsGrammar
from fgl.core import model_digests, voting
from fgl.core.client import site
from fgl.core.server import candidates as proposals
from fgl.core.server import claimed_weights, own_upload, refusals, tally, upload_store
from fgl.core.server.ask import Traffic, ask
from fgl.core.server.candidates import Candidate
from fgl.core.server.refusals import Refusal
from fgl.core.server.tally import ClientsResult, VotedText, VoteRound, VotesResult
from fgl.core.stages import clients, foundation_models, partition
from fgl.core.stages.stage import Done, Inputs, Stage, Work
from fgl.core.store.owned import digest_of
from fgl.core.synthesis import fill, plan
from fgl.core.wire import ballots, requests
from fgl.errors import ConfigError, Problem
from fgl.io import files

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from fgl.contracts.aggregator import ClientUpload
    from fgl.contracts.features import Extractor
    from fgl.core.session import Session
    from fgl.core.wire.ballots import Ballot

_SLACK = 40.0  # standard deviations of the noise: no honest number is further out


def check(session: Session) -> None:
    """Raises ConfigError where there can be no vote, or where something else would read the clients' images as well."""
    options, config = session.config.votes, session.config
    if not options.rounds:
        return
    problems = []
    if not isinstance(session.manager.create("prompt_strategy", config.prompt_strategy), SupportsGrammar):
        expected = "expected a prompt strategy with a grammar, from which the server can propose without an image"
        problems.append(Problem("prompt_strategy", config.prompt_strategy.name, f"{expected} (docs/votes.md)"))
    for key, asked in (
        ("rounds.count", config.rounds.count),
        ("adaptation.rounds", config.adaptation.rounds),
        ("evaluation.at_clients", config.evaluation.at_clients),
    ):
        if asked:
            expected = "none beside votes: it would read the clients' images at a price that nothing counts"
            problems.append(Problem(key, str(asked), expected))
    if options.variation == "none" and options.names is None and options.candidates < 2:
        problems.append(Problem("votes.candidates", "1", "expected at least 2, or there is nothing to choose"))
    least = voting.client_deviation(config)
    if least and not voting.LEAST <= least <= voting.MOST:
        expected = f"expected {voting.LEAST:g} to {voting.MOST:g}, which votes can be written with"
        problems.append(Problem("votes", f"noise of a standard deviation of {least:.4g} at a client", expected))
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
        "partition": done.made(partition.STAGE) if partition.STAGE.enabled(session) else "",
        "clients": list(config.upload.clients or ()),
        "dataset": session.info.digest,
        "votes": config.votes.model_dump(),
        "prompt_strategy": config.prompt_strategy.model_dump(),
        "prompt_files": {name: model_digests.of_path(name) for name in prompt_files},
        **clients.prompt_names(session),
        "features": config.features.model_dump() if config.features.name == config.votes.space else {},
        "generator": session.generator.fingerprint(),
        "encoding": dict(session.generator.encoding()),
        "classes": session.info.class_names,
        "seed": config.seed,
        "run_id": config.upload.run_id,
        "min_clients": config.upload.min_clients,
        "delta": config.privacy.delta,
        "forgotten": session.removed_clients,
    }


def _work(session: Session, done: Done, digest: str) -> Work[ClientsResult]:
    foundation_models.check_content(session)
    names = [name for name in partition.client_ids(session, done) if name not in session.removed_clients]
    voters = _Vote(session, names, digest)
    for number in range(1, session.config.votes.rounds + 1):
        voters.hold(number)
    site.release()
    return voters.result(), voters.files


class _Vote:
    """The rounds of one run. digest: of what determines them."""

    def __init__(self, session: Session, names: Sequence[str], digest: str) -> None:
        self.session, self.names, self.digest, self.options = session, names, digest, session.config.votes
        self.files: list[Path] = []
        self.rounds: list[VoteRound] = []
        self.voted: list[tuple[list[Candidate], NDArray[np.float64]]] = []
        self._grammars = _grammars(session)
        self._extractor: Extractor | None = None

    def hold(self, number: int) -> None:
        """A round, or what was committed of it."""
        path = self._path(f"round-{number}.json")
        kept = self.session.run.read_sealed(path)
        course = digest_of([self.digest, [one.ballot for one in self.rounds]])
        if kept is None or kept["course"] != course:
            kept = {"course": course, **self._held(number, course)}
            self.session.run.write_sealed(path, kept)
        self.files.append(path)
        candidates = [Candidate(**{**one, "phrases": tuple(one["phrases"])}) for one in kept["candidates"]]
        votes = {name: np.array(each, dtype=np.float64) for name, each in kept["votes"].items()}
        factors = claimed_weights.factors(
            {name: max(0.0, float(each.sum())) for name, each in votes.items()},
            self.session.config.upload.max_weight_ratio,
        )
        whole = sum((each * factors.get(name, 1.0) for name, each in votes.items()), np.zeros(len(candidates)))
        if self.options.variation == "none" and self.voted:
            whole = whole + self.voted[-1][1]
        self.voted.append((candidates, whole))
        self.rounds.append(
            VoteRound(
                round=number,
                candidates=len(candidates),
                ballot=kept["ballot"],
                voters=sorted(votes),
                sha256=kept["sha256"],
                limited=factors,
                refused={name: Refusal(**one) for name, one in kept["refused"].items()},
                deviation=self._deviation(number, len(votes)),
                bytes_up=kept["bytes_up"],
                bytes_down=kept["bytes_down"],
                seconds=kept["seconds"],
            )
        )

    def _deviation(self, number: int, voters: int) -> float:
        """Standard deviation of the noise in the sum of a round, or of all rounds up to it where these are summed."""
        one = voting.client_deviation(self.session.config)
        summed = number if self.options.variation == "none" else 1
        return one * math.sqrt(voters * summed)

    def _held(self, number: int, course: str) -> dict[str, Any]:
        import time

        candidates = self._candidates(number)
        began = time.monotonic()
        ballot, data = self._ballot(number, course, candidates)
        session, accepted, digests = self.session, dict[str, list[float]](), dict[str, str]()
        refused: dict[str, dict[str, str]] = {}
        most = _SLACK * voting.client_deviation(session.config)
        most += 1.0 if self.options.level == "client" else self.options.max_images
        box = np.frombuffer(data, dtype=np.uint8)

        def request(client_id: str) -> bytes:
            private = upload_store.private_folder(session.run, client_id)
            return requests.task_request(
                session.config, client_id, session.device, session.info.digest, {"ballot": box}, private=str(private)
            )

        def accept(client_id: str, reply: bytes) -> None:
            accepted[client_id] = ballots.read_vote(reply, client_id, ballot, voting.UNIT, most).tolist()
            digests[client_id] = hashlib.sha256(reply).hexdigest()

        def refuse(client_id: str, error: Any) -> None:
            refused[client_id] = refusals.refuse(session, client_id, error)

        federation = session.manager.create("federation", session.config.federation)
        traffic: Traffic = ask(federation, self.names, requests.VOTE, request, accept, refuse, session.progress)
        tally.check_enough(session, len(accepted), len(self.names), refused)
        return {
            "candidates": [asdict(candidate) for candidate in candidates],
            "ballot": ballot.digest,
            "votes": accepted,
            "sha256": digests,
            "refused": refused,
            "bytes_up": traffic.up,
            "bytes_down": len(data) * len(self.names),
            "seconds": round(time.monotonic() - began, 3),
        }

    def _candidates(self, number: int) -> list[Candidate]:
        count = self.options.candidates
        if number > 1 and self.options.variation == "none":
            return self.voted[-1][0]
        rng = np.random.default_rng([self.session.config.seed, 5, number])
        if number == 1:
            each = (proposals.proposed(name, of, count, rng) for name, of in sorted(self._grammars.items()))
            return [candidate for of_class in each for candidate in of_class]
        candidates, votes = self.voted[-1]
        weights = proposals.counted(votes, self.rounds[-1].deviation, self.options.threshold)
        return proposals.next_round(candidates, weights, self._grammars, count, rng)

    def _ballot(self, number: int, course: str, candidates: Sequence[Candidate]) -> tuple[Ballot, bytes]:
        """The ballot of a round, and its bytes: those that were written before a kill, since clients that have answered
        them answer no others."""
        session = self.session
        path, seal = self._path(f"ballot-{number}.safetensors"), self._path(f"ballot-{number}.json")
        kept = session.run.read_sealed(seal)
        data = files.read_bytes(path) if kept is not None and kept["course"] == course and path.exists() else b""
        if kept is None or hashlib.sha256(data).hexdigest() != kept.get("digest"):
            data = self._painted(number, candidates)
            session.run.write(path, data)
            session.run.write_sealed(seal, {"course": course, "digest": hashlib.sha256(data).hexdigest()})
        self.files += [path, seal]
        return ballots.read_ballot(data, self._expected()), data

    def _painted(self, number: int, candidates: Sequence[Candidate]) -> bytes:
        from fgl.contracts.progress import NullProgress

        session = self.session
        extractor = self._space()
        prompts = [Prompt(one.class_id, one.text) for one in candidates]
        upload = own_upload.of_prompts(session, prompts, session.generator.encoder(session.device))
        aggregator = session.manager.registry.create("aggregator", voting.PLAIN_AGGREGATOR, {})
        conditioning = aggregator.aggregate([upload], session.generator.fingerprint())
        shards = plan.each_row(
            conditioning, self.options.pictures, session.config.seed, session.config.synthesis.shard_size
        )
        sums = np.zeros((len(candidates), int(str(extractor.describe()["dimensions"]))))
        for item, pixels in fill.images(session, shards, conditioning, f"paint candidates, round {number}"):
            row = int(conditioning.row[item.conditioning])
            sums[row] += extractor.features(pixels[None], NullProgress())[0]
        ballot = ballots.Ballot(
            run=session.config.upload.run_id,
            round=number,
            size=session.image_size,
            space=voting.space_digest(extractor),
            features=(sums / self.options.pictures).astype(np.float32),
            class_id=np.array([one.class_id for one in candidates], dtype=np.int64),
        )
        return ballots.encode_ballot(ballot, session.info.class_names)

    def _space(self) -> Extractor:
        if self._extractor is None:
            session = self.session
            self._extractor = voting.extractor_of(
                session.config, session.manager, session.classifier, session.info.class_names, session.device
            )
        return self._extractor

    def _expected(self) -> ballots.Expected:
        extractor = self._space()
        return ballots.Expected(
            run=self.session.config.upload.run_id,
            rounds=self.options.rounds,
            per_class=self.options.candidates,
            class_names=self.session.info.class_names,
            space=voting.space_digest(extractor),
            dimensions=int(str(extractor.describe()["dimensions"])),
        )

    def _path(self, name: str) -> Path:
        return self.session.run.path("server", "votes", name)

    def result(self) -> ClientsResult:
        candidates, votes = self.voted[-1]
        weights = proposals.counted(votes, self.rounds[-1].deviation, self.options.threshold)
        texts, undecided = [], []
        for class_id in sorted(self._grammars):
            rows = [row for row, one in enumerate(candidates) if one.class_id == class_id]
            chosen = [row for row in rows if weights[row] > 0]
            if not chosen:  # nobody holds it, or the noise hides that somebody does: as if nobody had been asked
                undecided.append(self.session.info.class_names[class_id])
            shares = weights[chosen] / weights[chosen].sum() if chosen else np.full(len(rows), 1 / len(rows))
            for row, share in zip(chosen or rows, shares.tolist(), strict=True):
                texts.append(VotedText(class_id, candidates[row].text, round(float(votes[row]), 4), share))
        last = self.rounds[-1]
        sent = {name: sum(name in one.voters for one in self.rounds) for name in last.voters}
        each = {name: round(sum(one.bytes_up / max(1, len(one.voters)) for one in self.rounds)) for name in sent}
        return ClientsResult(
            bytes_total=sum(one.bytes_up for one in self.rounds),
            bytes_per_client=each,
            codec="votes",
            bytes_by_codec={},
            codec_error={},
            text_bytes_total=0,
            prompts={own_upload.SERVER: len(texts)},
            weight_per_class={},
            uploads=digest_of([[one.class_id, one.text, one.share] for one in texts]),
            sha256=last.sha256,
            refused=last.refused,
            votes=VotesResult(
                rounds=self.rounds,
                texts=texts,
                undecided=undecided,
                deviation=voting.deviation(self.session.config),
                client_deviation=voting.client_deviation(self.session.config),
            ),
        )


def _grammars(session: Session) -> dict[int, proposals.Grammars]:
    """Class → what may be said of it."""
    options = session.config.votes
    strategy = session.manager.create("prompt_strategy", session.config.prompt_strategy)
    found: dict[int, proposals.Grammars] = {}
    for class_id, name in enumerate(session.info.names_in_prompts):
        words = [name] if options.names is None else options.names
        grammars = [[list(place) for place in grammar] for grammar in strategy.grammar(words, options.styles)]
        if not grammars:
            expected = "expected a prompt strategy with a grammar, from which the server can propose without an image"
            raise ConfigError([Problem("prompt_strategy", session.config.prompt_strategy.name, expected)])
        found[class_id] = grammars
    return found


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
