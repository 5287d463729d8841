"""What of a run is done, what is stale, and why: without doing any of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fgl.core import baselines
from fgl.core.config.validation import shown
from fgl.core.preflight import other_prompts
from fgl.core.session import Session
from fgl.core.stages import integrity, pipeline
from fgl.core.stages.stage import Done, Inputs, NotDoneError, Stage, checkpoint_there
from fgl.core.store.owned import digest_of

_MISSING = object()
_DAMAGED = "damaged or missing"


@dataclass(frozen=True, slots=True)
class StageState:
    """state: "done" (would be reused), "stale" (would be done again), "not done", or "damaged", of files that no stage
    reads again. why: a line for a person, empty where there is nothing to say. seconds: what it took, 0 where it has
    not been done."""

    stage: str
    state: str
    why: str
    seconds: float


def stages(session: Session, prefix: str = "") -> Iterator[StageState]:
    """The stages of a session in order. What follows a stage that is not done is judged stale or not done with it,
    although it may turn out to be the same."""
    done = Done()
    waits: dict[str, str] = {}
    for stage in pipeline.enabled(session):
        yield _state(session, stage, done, waits, prefix)
    if damaged := integrity.named(session):
        yield StageState(f"{prefix}files", "damaged", "; ".join(f"{name}: {why}" for name, why in damaged.items()), 0.0)
    for name in session.config.baselines:
        baseline = baselines.find(name)
        if baseline.is_run:
            yield from stages(other_prompts(session, name), f"{prefix}{name}/")
        elif baseline.made_with not in session.config.baselines:
            inputs, behind = _baseline_inputs(session, baseline, done, waits)
            yield _judge(session, baseline.stage, inputs, behind, prefix)


def _state(session: Session, stage: Stage[Any], done: Done, waits: dict[str, str], prefix: str) -> StageState:
    """Judge a stage, and note in `done` what later ones may know of it. waits: stage whose result is not known → the
    earliest stage that has to be done for it."""
    name = stage.recorded_as(session)
    try:
        inputs = stage.inputs(session, done)
    except NotDoneError as error:
        waits[stage.name] = waits.get(error.stage, error.stage)
        return _judge(session, name, None, waits[stage.name], prefix, stage)
    state, record = _judge(session, name, inputs, "", prefix, stage), session.run.recorded(name)
    digest = digest_of(inputs)
    if record is not None and (state.state == "done" or state.why.startswith(_DAMAGED)):
        # what follows can be judged: a damaged output will be made again, and be what it was
        stage.note(session, done, digest, record["value"])
    elif stage.made is None:
        done.foresee(stage, digest)
    elif stage.foreseen is not None:
        done.foresee(stage, stage.foreseen(session, inputs))
    return state


def _judge(
    session: Session, name: str, inputs: Inputs | None, behind: str, prefix: str, stage: Stage[Any] | None = None
) -> StageState:
    """inputs: None where they are not known. behind: the earlier stage that this one waits for, "" where all it needs
    is known."""
    run, shown_name = session.run, prefix + name
    record = run.recorded(name)
    seconds = 0.0 if record is None else record["seconds"]
    partial = checkpoint_there if stage is None else stage.partial
    if record is None:
        there = "" if inputs is None else partial(session, name, inputs)
        if run.has_record(name):
            other = run.other_version(name)
            there = "its record is of another version of fgl" if other else "its record is damaged"
        return StageState(shown_name, "not done", there, 0.0)
    if behind:
        return StageState(shown_name, "stale", f"follows {prefix}{behind}", seconds)
    assert inputs is not None
    if changed := _once(differences(record["inputs"], inputs)):
        why = "; ".join(changed[:5]) + ("; …" if len(changed) > 5 else "")
    elif damaged := run.damaged(record):
        why = f"{_DAMAGED}: {', '.join(damaged[:3])}"
    else:
        return StageState(shown_name, "done", "", seconds)
    if stage is not None and stage.resumes and (there := partial(session, name, inputs)):
        why = f"{why}; {there}"
    return StageState(shown_name, "stale", why, seconds)


def _baseline_inputs(
    session: Session, baseline: baselines.Baseline, done: Done, waits: Mapping[str, str]
) -> tuple[Inputs | None, str]:
    """(inputs of a baseline, the earlier stage that it waits for)."""
    try:
        return baseline.call("inputs", session, done), ""
    except NotDoneError as error:
        return None, waits.get(error.stage, error.stage)


def differences(old: Any, new: Any, key: str = "") -> list[str]:
    """Where two JSON values differ: "classifier.options.epochs: 30 → 40"."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        found = []
        for name in [*old, *(name for name in new if name not in old)]:
            inner = f"{key}.{name}" if key else str(name)
            found += differences(old.get(name, _MISSING), new.get(name, _MISSING), inner)
        return found
    plain = list(new) if isinstance(new, tuple) else new
    return [] if old == plain else [f"{key}: {_shown(old)} → {_shown(plain)}"]


def _once(changes: list[str]) -> list[str]:
    """Without what another one says with more of its key: the options of a stage may hold what it has beside them."""
    return [one for one in changes if not any(other.endswith(f".{one}") for other in changes)]


def _shown(value: Any) -> str:
    if value is _MISSING:
        return "nothing"
    text = value if isinstance(value, str) and value else shown(value)
    # digests say no more in 64 digits than in 8
    return text if len(text) <= 40 else f"{text[:8]}…"
