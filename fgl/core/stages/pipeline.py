"""The stages of a run, in order. Whoever does, judges, measures or removes what a run has made goes by this list."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from fgl.core.stages import (
    adaptation,
    clients,
    evaluate,
    export,
    features,
    federated_evaluation,
    partition,
    plan,
    quality,
    rounds,
    synthesize,
    train,
    votes,
)
from fgl.core.stages.stage import Done, Stage

if TYPE_CHECKING:
    from fgl.core.session import Session


PIPELINE: tuple[Stage[Any], ...] = (
    partition.STAGE,
    clients.STAGE,
    clients.FROM_FILES,
    votes.STAGE,
    votes.FROM_FILES,
    adaptation.STAGE,
    plan.STAGE,
    synthesize.STAGE,
    train.STAGE,
    evaluate.STAGE,
    rounds.STAGE,
    export.STAGE,
    federated_evaluation.STAGE,
    features.STAGE,
    quality.STAGE,
)


def enabled(session: Session) -> list[Stage[Any]]:
    """The stages that a run of this configuration has."""
    return [stage for stage in PIPELINE if stage.enabled(session)]


def upto(session: Session, name: str) -> list[Stage[Any]]:
    """A stage with all that it rests on, in order; without those that the configuration does not ask for."""
    wanted: set[str] = {name}
    for stage in reversed(PIPELINE):
        if stage.name in wanted:
            wanted.update(stage.needs)
    return [stage for stage in enabled(session) if stage.name in wanted]


def run(
    session: Session,
    last: str | None = None,
    done: Done | None = None,
    begin: Callable[[str], None] = lambda heading: None,
) -> Done:
    """Do the stages of a run that are not done yet, or reuse them.

    last: the stage to end with, see `upto`; None for all. done: what earlier calls have returned, which is added to.
    begin: called with the heading of each part. Raises FGLError."""
    done = Done() if done is None else done
    for stage in enabled(session) if last is None else upto(session, last):
        if stage not in done:
            if stage.heading is not None:
                begin(stage.heading(session))
            stage.run(session, done)
    return done


def headings(session: Session) -> list[str]:
    """The parts of a run of this configuration, in words."""
    return [stage.heading(session) for stage in enabled(session) if stage.heading is not None]


def given() -> Iterator[str]:
    """Files and folders with what clients gave."""
    for stage in PIPELINE:
        yield from stage.given


def left_over(session: Session) -> Iterator[str]:
    """Outputs of stages that an earlier configuration of the run had and this one does not: no stage will replace
    them."""
    stages = enabled(session)
    current = {place for stage in stages for place in (*stage.outputs, *stage.given)}
    for stage in PIPELINE:
        if stage not in stages:
            yield from (place for place in stage.outputs if place not in current)
