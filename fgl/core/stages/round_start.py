"""Where rounds after the one-shot model start: from it, or from scratch. Clients tell, and only counts go up.

A one-shot model that is no better than a guess is a bad start at any learning rate, and the low rate that keeps a good
one would keep it bad. So clients test it on their own images first; where it is useless, rounds are those of the
algorithm alone, to the bit. Where it is not, the starts are trained side by side, the clients test each of them after
each round, and one is given up when it can no longer come first. What decides is a function of counts that are
committed with their rounds: a run that is resumed or made longer decides alike.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from fgl.core.client import training
from fgl.core.report.rounds import STARTS
from fgl.core.report.scores import BytesBothWays, RoundCounts, StartCandidate, StartChoice
from fgl.core.stages.classifier_engine import ClassifierEngine
from fgl.core.stages.rounds_spec import RoundsSpec, Start, local_classifier
from fgl.core.store.typed import from_json
from fgl.errors import DataError, DivergedError
from fgl.text import counted, plain, some

if TYPE_CHECKING:
    from fgl.contracts.algorithm import GlobalState
    from fgl.core.server.round_updates import RoundEntry
    from fgl.core.session import Session
    from fgl.core.stages.round_state import Committed


log = logging.getLogger(__name__)
ONE_SHOT, FAST, SCRATCH = "one-shot", "one-shot-fast", "scratch"
_CLIMB = {ONE_SHOT: 0.05, FAST: 0.05, SCRATCH: 0.10}
"""What a candidate may yet gain in each further round, whatever it gained so far: the first averages of models that
were trained from scratch gain little, and the next ones much."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A training that may be the run's. name: one of `fgl.core.report.rounds.STARTS`."""

    name: str
    spec: RoundsSpec
    start: Start


@dataclass(slots=True)
class _Runner:
    """A candidate on its way."""

    candidate: Candidate
    engine: ClassifierEngine
    reached: Committed
    origin: float
    """Share of the clients' images that it got right before its first round."""
    rounds: int = 0
    """Rounds of it that were part of the trial."""
    shares: list[float | None] = field(default_factory=list)
    """Share of the clients' images that it got right after each of them."""
    left: str = ""
    """Why it was given up."""

    @property
    def latest(self) -> float | None:
        """The last share that clients counted after a round; None where they never did."""
        return next((share for share in reversed(self.shares) if share is not None), None)

    @property
    def known(self) -> float:
        """What is known of it: without counts of its rounds, what it was right on before them."""
        return self.origin if self.latest is None else self.latest

    @property
    def outcome(self) -> str:
        """What the trial says of it, in words."""
        if self.latest is None:
            return f"no client gave counts in {counted(self.rounds, 'round')} of it"
        last = max(number for number, share in enumerate(self.shares, 1) if share is not None)
        return f"right on {self.latest:.1%} of the clients' images after {counted(last, 'round')}"


@dataclass(frozen=True, slots=True)
class Trained:
    """The rounds that count. choice: None where the configuration says where they start."""

    state: GlobalState
    history: list[RoundEntry]
    choice: StartChoice | None


def candidates(session: Session, spec: RoundsSpec, start: Start) -> list[Candidate]:
    """What may be tried for the rounds after the one-shot model, that model as it always went on first. The others have
    folders of their own, and each is the same training whatever it is compared with."""
    options = spec.options
    if options.start == ONE_SHOT or not spec.goes_on:
        return [Candidate(ONE_SHOT, spec, start)]
    # From scratch is what the algorithm does alone: the synthetic set has no part in it.
    alone = replace(spec, goes_on=False, options=options.model_copy(update={"server_epochs": 0}))
    fast = replace(spec, goes_on=False)
    scratch = Candidate(SCRATCH, _named(alone, SCRATCH), Start(caps=start.caps))
    if options.start == SCRATCH:
        return [scratch]
    chosen = [Candidate(ONE_SHOT, spec, start), Candidate(FAST, _named(fast, FAST), start), scratch]
    if local_classifier(session, fast) == local_classifier(session, spec):
        del chosen[1]
    return chosen


def _named(spec: RoundsSpec, name: str) -> RoundsSpec:
    return replace(spec, name=f"{spec.name}-{name}", stage=f"{spec.stage}:{name}")


def train(
    session: Session, spec: RoundsSpec, divided: Mapping[str, Sequence[int]], partition_digest: str, start: Start
) -> Trained:
    """All rounds, from the start that is the best one for them. Raises DataError and DivergedError as the engine."""
    tried = candidates(session, spec, start)
    horizon = min(spec.options.trial_rounds, spec.options.count) if len(tried) > 1 else 0

    def engine(candidate: Candidate, rounds: int) -> ClassifierEngine:
        return ClassifierEngine(session, candidate.spec, divided, partition_digest, candidate.start, rounds)

    if not horizon:
        return Trained(*engine(tried[0], 0).train(), None)
    assert start.state is not None
    first = engine(tried[0], horizon)
    answer = first.count(start.state(), first.holders)
    before = answer.counts
    if not before.total:
        reason = (
            f"no client gave counts of the one-shot model{_why_not(answer.refused)}: it could not be compared, and "
            "rounds start from it"
        )
        log.warning("%s", reason)
        state, history = engine(tried[0], 0).train()
        return Trained(state, history, _choice(tried[0], first, reason, start.guess, before, []))
    if is_useless(before, start.guess):
        alone = engine(tried[-1], 0)
        state, history = alone.train()
        reason = (
            f"the one-shot model is no better than a guess: it is right on {before.share:.1%} of the clients' images, "
            f"a guess on {start.guess:.1%}; rounds start from scratch"
        )
        log.warning("%s", reason)
        return Trained(state, history, _choice(tried[-1], alone, reason, start.guess, before, []))
    origin = {ONE_SHOT: before.share, FAST: before.share, SCRATCH: 1 / len(session.info.class_names)}
    runners = []
    for candidate in tried:
        own = first if candidate is tried[0] else engine(candidate, horizon)
        runners.append(_Runner(candidate, own, own.begin(), origin[candidate.name]))
    with session.progress.track(f"rounds ({spec.name})", spec.options.count, "rounds") as task:
        for number in range(1, horizon + 1):
            running = [runner for runner in runners if not runner.left]
            if len(running) == 1:
                break
            _advance(running, number)
            _give_up(runners, horizon - number)
            task.advance(1, running[0].reached.line)
        winner = max((runner for runner in runners if not runner.left), key=lambda one: one.known)
        for runner in runners:
            if runner is not winner and not runner.left:
                runner.left = runner.outcome
        while len(winner.reached.history) < spec.options.count:
            done = len(winner.reached.history)
            winner.reached = winner.engine.step(winner.reached)
            task.advance(max(0, len(winner.reached.history) - done), winner.reached.line)
    training.release()
    winner.engine.check_answered(winner.reached)
    reason = (
        f"{STARTS[winner.candidate.name]}: {winner.outcome}; the one-shot model is right on {before.share:.1%}, a "
        f"guess on {start.guess:.1%}"
    )
    log.log(logging.INFO if winner.latest is not None else logging.WARNING, "rounds: %s", reason)
    choice = _choice(winner.candidate, winner.engine, reason, start.guess, before, runners)
    return Trained(winner.reached.state, winner.reached.history, choice)


def _why_not(refused: Mapping[str, str]) -> str:
    """Why clients gave no counts, in brackets; each reason once, as in a large federation it is mostly one and the
    same."""
    clients: dict[str, list[str]] = {}
    for client, reason in refused.items():
        clients.setdefault(plain(reason, 200), []).append(client)
    reasons = [f"{some(names, total=True)}: {reason}" for reason, names in list(clients.items())[:3]]
    return f" ({'; '.join(reasons)})" if reasons else ""


def is_compared(start: StartChoice) -> bool:
    """Whether clients gave counts of any round of any candidate."""
    return any(counts is not None for candidate in start.candidates for counts in candidate.counts)


def is_useless(counts: RoundCounts, guess: float) -> bool:
    """Whether a model that got these counts is no better than a guess, as far as so many images tell: by two standard
    errors of the guess."""
    return counts.share <= guess + 2 * math.sqrt(guess * (1 - guess) / counts.total)


def _advance(running: Sequence[_Runner], number: int) -> None:
    """Bring each to round `number`. One whose training fails is given up, unless no other is left."""
    for runner in running:
        try:
            while len(runner.reached.history) < number:
                runner.reached = runner.engine.step(runner.reached)
        except (DivergedError, DataError) as error:
            if all(one.left for one in running if one is not runner):
                raise
            log.warning("rounds %s are given up: %s", STARTS[runner.candidate.name], error)
            runner.left = f"failed in round {number}: {type(error).__name__}"
            continue
        runner.rounds = number
        counts = _given(counts_of(runner.reached.history[number - 1]))
        runner.shares.append(None if counts is None else counts.share)


def _give_up(runners: Sequence[_Runner], remaining: int) -> None:
    """Leave out who cannot catch up with the best in the rounds that remain of the trial."""
    running = [runner for runner in runners if not runner.left and runner.latest is not None]
    best = max((runner.latest or 0.0 for runner in running), default=0.0)
    for runner in running:
        latest = runner.latest or 0.0
        if latest < best and latest + remaining * climb(runner.candidate.name, runner.origin, runner.shares) < best:
            runner.left = (
                f"right on {latest:.1%} after {counted(runner.rounds, 'round')}, where the best has {best:.1%}"
            )


def climb(name: str, origin: float, shares: Sequence[float | None]) -> float:
    """What a candidate may yet gain in a round: what it gained in the last one, or on average, or what is granted
    anyway. origin: its share of right images before the first round. shares: after each."""
    known = [origin, *(share for share in shares if share is not None)]
    return max(_CLIMB[name], known[-1] - known[-2], (known[-1] - origin) / max(1, len(known) - 1))


def counts_of(entry: RoundEntry) -> RoundCounts | None:
    """What clients counted after a round, with a total of 0 where none of them did; None where none was asked."""
    return from_json(RoundCounts, entry["counts"]) if "counts" in entry else None


def _given(counts: RoundCounts | None) -> RoundCounts | None:
    """Counts that some client gave, else None."""
    return counts if counts is not None and counts.total else None


def _choice(
    chosen: Candidate,
    engine: ClassifierEngine,
    reason: str,
    guess: float,
    before: RoundCounts,
    runners: Sequence[_Runner],
) -> StartChoice:
    down, up, seconds = before.down, before.up, 0.0
    for runner in runners:
        for entry in runner.reached.history[: runner.rounds]:
            counts = counts_of(entry)
            if counts is not None:
                down, up = down + counts.down, up + counts.up
            if runner.candidate is not chosen:
                down, up = down + entry["bytes_down"], up + entry["bytes_up"]
                seconds += entry["seconds"]
    return StartChoice(
        chosen=chosen.name,
        reason=reason,
        guess=round(guess, 6),
        one_shot=_given(before),
        candidates=[_tried(runner) for runner in runners],
        bytes=BytesBothWays(down=down, up=up),
        seconds=round(seconds, 3),
        track=chosen.spec.name,
        course=engine.digest,
    )


def _tried(runner: _Runner) -> StartCandidate:
    entries = runner.reached.history[: runner.rounds]
    return StartCandidate(
        name=runner.candidate.name,
        counts=[_given(counts_of(entry)) for entry in entries],
        top1=[entry["top1"] for entry in entries],
        left=runner.left,
    )
