"""Rounds of votes: candidates are proposed and painted, clients vote, and the votes are added up."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from fgl.contracts.progress import NullProgress
from fgl.core import voting
from fgl.core.server import candidates as proposals
from fgl.core.server import claimed_weights, own_upload, refusals, tally, upload_store, vote_store
from fgl.core.server.ask import ask
from fgl.core.server.candidates import Candidate
from fgl.core.server.refusals import Refusal
from fgl.core.server.tally import ClientsResult, VotedText, VoteRound, VotesResult
from fgl.core.server.vote_intake import Collected
from fgl.core.stages import vote_pictures
from fgl.core.store.owned import digest_of
from fgl.core.wire import ballots, requests
from fgl.errors import ConfigError, Problem, UploadError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from fgl.contracts.arrays import Pixels
    from fgl.contracts.features import Extractor
    from fgl.core.session import Session
    from fgl.core.stages.stage import Inputs
    from fgl.core.wire.ballots import Ballot

IMG2IMG = "img2img"
NO_GRAMMAR = (
    "expected a prompt strategy with a grammar, from which the server can propose without an image (docs/votes.md)"
)


def painting(session: Session) -> Inputs:
    """What determines the pictures of candidates, and so a ballot, beside the candidates themselves."""
    config = session.config
    return {
        "features": config.features.model_dump() if config.features.name == config.votes.space else {},
        "space": config.votes.space,
        "pictures": config.votes.pictures,
        "generator": session.generator.fingerprint(),
        "encoding": dict(session.generator.encoding()),
        "codec": config.upload.codec,
        "classes": session.info.class_names,
        "seed": config.seed,
        "run_id": config.upload.run_id,
        # how far pictures of a round are varied
        **({"strength": [*config.votes.strength, config.votes.rounds]} if config.votes.variation == IMG2IMG else {}),
    }


class Vote:
    """The rounds of one run, whose clients are called. digest: of what determines them."""

    def __init__(self, session: Session, names: Sequence[str], digest: str) -> None:
        self.session, self.names, self.digest, self.options = session, names, digest, session.config.votes
        self.files: list[Path] = []
        self.rounds: list[VoteRound] = []
        self.voted: list[tuple[list[Candidate], NDArray[np.float64]]] = []
        self._grammars = _grammars(session)
        self._extractor: Extractor | None = None

    def hold(self, number: int) -> None:
        """A round, or what was committed of it. Raises UploadError where too few clients vote."""
        path = vote_store.round_path(self.session.run, number)
        kept = self.session.run.read_sealed(path)
        course = digest_of([self.digest, [one.ballot for one in self.rounds]])
        if kept is None or kept["course"] != course or not self._stands(number, kept):
            kept = {"course": course, **self._held(number)}
            self.session.run.write_sealed(path, kept)
        ballot = vote_store.ballot_path(self.session.run, number)
        self.files += [ballot, ballot.with_suffix(".json"), path]
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
                sha256={name: one["sha256"] for name, one in kept["answered"].items()},
                bytes_per_client={name: one["bytes"] for name, one in kept["answered"].items()},
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

    def _stands(self, number: int, kept: Mapping[str, Any]) -> bool:
        """Whether what was committed of a round still counts."""
        return True

    def _held(self, number: int) -> dict[str, Any]:
        candidates = self._candidates(number)
        began = time.monotonic()
        ballot, data = self._ballot(number, candidates)
        collected = self._collected(ballot, data)
        tally.check_enough(self.session, len(collected.votes), len(self.names), collected.refused)
        return {
            "candidates": [asdict(candidate) for candidate in candidates],
            "ballot": ballot.digest,
            "votes": collected.votes,
            "answered": collected.answered,
            "refused": collected.refused,
            "bytes_up": collected.bytes_up,
            "bytes_down": len(data) * len(self.names),
            "seconds": round(time.monotonic() - began, 3),
        }

    def _collected(self, ballot: Ballot, data: bytes) -> Collected:
        """What the clients vote. data: the ballot's file."""
        session, found = self.session, Collected()
        box = np.frombuffer(data, dtype=np.uint8)

        def request(client_id: str) -> bytes:
            private = upload_store.private_folder(session.run, client_id)
            return requests.task_request(
                session.config, client_id, session.device, session.info.digest, {"ballot": box}, private=str(private)
            )

        def accept(client_id: str, reply: bytes) -> None:
            found.accept(client_id, reply, voting.read(reply, client_id, ballot, session.config))

        def refuse(client_id: str, error: UploadError) -> None:
            found.refused[client_id] = refusals.refuse(session, client_id, error)

        federation = session.manager.create("federation", session.config.federation)
        traffic = ask(federation, self.names, requests.VOTE, request, accept, refuse, session.progress)
        found.bytes_up = traffic.up
        return found

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
        if self.options.variation == IMG2IMG:
            return proposals.next_pictures(candidates, weights, self._grammars, count, rng, number)
        return proposals.next_round(candidates, weights, self._grammars, count, rng)

    def _ballot(self, number: int, candidates: Sequence[Candidate]) -> tuple[Ballot, bytes]:
        """The ballot of a round, and its bytes: those that were written before a kill, since clients that have answered
        them answer no others."""
        session = self.session
        made_of = self._made_of(number, candidates)
        data = vote_store.ballot(session.run, number, made_of)
        if data is None:
            data = self._painted(number, candidates)
            vote_store.write_ballot(session.run, number, data, made_of)
        expected = voting.expected(session.config, session.info.class_names, self._space())
        return ballots.read_ballot(data, expected), data

    def _made_of(self, number: int, candidates: Sequence[Candidate]) -> str:
        """Digest of all that determines a round's pictures."""
        return digest_of([painting(self.session), number, [asdict(one) for one in candidates]])

    @property
    def _varies(self) -> bool:
        return self.options.variation == IMG2IMG

    def pictures(self, number: int) -> Pixels:
        """Those of a round's candidates that are varied, uint8 [n, p, h, w, 3], kept or painted. Candidates of earlier
        rounds must be known."""
        candidates = self.voted[number - 1][0] if number <= len(self.voted) else self._candidates(number)
        made_of, run = self._made_of(number, candidates), self.session.run
        found = vote_store.pictures(run, number, made_of)
        if found is None:
            found = self._varied(number, candidates)
            vote_store.write_pictures(run, number, found, made_of)
        return found

    def _varied(self, number: int, candidates: Sequence[Candidate]) -> Pixels:
        session, label = self.session, f"paint candidates, round {number}"
        shape = (len(candidates), self.options.pictures, *session.image_size, 3)
        made: Pixels = np.zeros(shape, dtype=np.uint8)
        fresh = [place for place, one in enumerate(candidates) if one.origin < 0]
        if fresh:
            for places, k, pixels in vote_pictures.from_texts(session, [candidates[one] for one in fresh], label):
                for place in places:
                    made[fresh[place], k] = pixels
        if len(fresh) == len(candidates):
            return made
        before, earlier = self.pictures(number - 1), self.voted[number - 2][0]
        children = []
        for place, one in enumerate(candidates):
            if one.origin >= 0 and one.pictures == earlier[one.origin].pictures:
                made[place] = before[one.origin]
            elif one.origin >= 0:
                children.append(place)
        if children:
            strength = self.options.strength_at(number)
            made[children] = vote_pictures.varied(
                session, [candidates[place] for place in children], before, strength, label
            )
        return made

    def keep_pictures(self) -> None:
        """Have the pictures of the last round alone, from which images are varied."""
        if self._varies:
            last = len(self.rounds)
            self.pictures(last)
            path = vote_store.pictures_path(self.session.run, last)
            self.files += [path, path.with_suffix(".json")]
            for number in range(1, last):
                vote_store.drop_pictures(self.session.run, number)

    def _painted(self, number: int, candidates: Sequence[Candidate]) -> bytes:
        session = self.session
        extractor = self._space()
        sums = np.zeros((len(candidates), voting.dimensions(extractor)))
        if self._varies:
            for place, pictures in enumerate(self.pictures(number)):
                for pixels in pictures:
                    sums[place] += extractor.features(pixels[None], NullProgress())[0]
        else:
            label = f"paint candidates, round {number}"
            for places, _, pixels in vote_pictures.from_texts(session, candidates, label):
                sums[places] += extractor.features(pixels[None], NullProgress())[0]
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

    def result(self) -> ClientsResult:
        """What was voted, for the report and for what is synthesized."""
        candidates, votes = self.voted[-1]
        counted = proposals.counted(votes, self.rounds[-1].deviation, self.options.threshold)
        weights = counted if self.options.names is None else proposals.exclusive(candidates, counted)
        texts, undecided = [], []
        for class_id in sorted(self._grammars):
            rows = [row for row, one in enumerate(candidates) if one.class_id == class_id]
            chosen = [row for row in rows if weights[row] > 0]
            if not counted[rows].any():  # nobody holds it, or noise hides that somebody does: as if nobody was asked
                undecided.append(self.session.info.class_names[class_id])
            shares = weights[chosen] / weights[chosen].sum() if chosen else np.full(len(rows), 1 / len(rows))
            for row, share in zip(chosen or rows, shares.tolist(), strict=True):
                number = row if self._varies else None
                texts.append(VotedText(class_id, candidates[row].text, round(float(votes[row]), 4), share, number))
        last = self.rounds[-1]
        each = {name: sum(one.bytes_per_client.get(name, 0) for one in self.rounds) for name in last.voters}
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
            expected = f"expected texts of {name!r}, as prompts call that class, which need no image (docs/votes.md)"
            raise ConfigError([Problem("prompt_strategy", session.config.prompt_strategy.name, expected)])
        found[class_id] = grammars
    return found
