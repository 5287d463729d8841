"""What of a run is done, what is stale, and why: without doing any of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fgl.core import controls, intake, server, training
from fgl.core.config import PROMPTS_CONTROL
from fgl.core.opening import other_prompts
from fgl.core.session import Session
from fgl.core.store import digest_of

_MISSING = object()


@dataclass(frozen=True, slots=True)
class StageState:
    """state: "done" (would be reused), "stale" (would be done again) or "not done". why: a line for a person, empty
    where there is nothing to say. seconds: what it took, 0 where it has not been done."""

    stage: str
    state: str
    why: str
    seconds: float


def stages(session: Session, prefix: str = "") -> Iterator[StageState]:
    """The stages of a session in order. What follows a stage that is not done is judged stale or not done with it,
    although it may turn out to be the same."""
    run, config = session.run, session.config
    waits = ""

    def state(name: str, inputs: Mapping[str, Any] | None, behind: str) -> StageState:
        """behind: the earlier stage that this one waits for, "" where all it needs is known."""
        record = run.recorded(name)
        seconds = 0.0 if record is None else record["seconds"]
        shown = prefix + name
        if record is None:
            there = run.path("stages", f"{name.replace(':', '-')}.json").exists()
            said = "its record is damaged" if there else _partial(session, name)
            return StageState(shown, "not done", said, 0.0)
        if behind:
            return StageState(shown, "stale", f"follows {prefix}{behind}", seconds)
        assert inputs is not None
        changed = differences(record["inputs"], inputs)
        if changed:
            return StageState(shown, "stale", "; ".join(changed[:5]) + ("; …" if len(changed) > 5 else ""), seconds)
        damaged = run.damaged(record)
        if damaged:
            return StageState(shown, "stale", f"damaged or missing: {', '.join(damaged[:3])}", seconds)
        return StageState(shown, "done", "", seconds)

    partition_digest = ""
    if config.upload.clients is None:
        inputs = server.partition_inputs(session)
        found = state("partition", inputs, "")
        partition_digest = digest_of(inputs)
        yield found
        waits = "" if found.state == "done" or not session.apart else "partition"
    if session.apart:
        record = run.recorded("partition")
        names = config.upload.clients if record is None else list(record["value"]["samples"])
        inputs = server.gather_inputs(session, names or [])
    else:
        inputs = server.clients_inputs(session, partition_digest)
    found = state("clients", inputs, waits)
    yield found
    waits = "" if found.state == "done" else "clients"
    record = run.recorded("clients")
    uploads = "" if waits or record is None else record["value"]["uploads"]
    inputs = server.plan_inputs(session, uploads)
    plan_digest = digest_of(inputs)
    found = state("plan", inputs, waits)
    yield found
    waits = waits or ("" if found.state == "done" else "plan")
    found = state("synthesize", server.synthesize_inputs(session, plan_digest), waits)
    yield found
    waits = waits or ("" if found.state == "done" else "synthesize")
    record = run.recorded("synthesize")
    images = "" if waits or record is None else record["value"]["digest"]
    inputs = training.train_inputs(session, images)
    train_digest = digest_of(inputs)
    found = state("train", inputs, waits)
    yield found
    after = waits or ("" if found.state == "done" else "train")
    yield state("evaluate", training.evaluate_inputs(session, train_digest), after)
    for name in config.controls:
        if name.startswith(PROMPTS_CONTROL):
            yield from stages(other_prompts(session, name), f"{prefix}{name}/")
        elif not (name == "local" and "fedavg" in config.controls):
            needs = after if name == "class-list" else ""
            inputs = controls.inputs_of(session, name, partition_digest, train_digest)
            yield state(controls.stage_of(name), inputs, needs)


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


def _shown(value: Any) -> str:
    if value is _MISSING:
        return "nothing"
    text = str(value)
    # digests say no more in 64 digits than in 8
    return text if len(text) <= 40 else f"{text[:8]}…"


def _partial(session: Session, name: str) -> str:
    """What of an unfinished stage is there already."""
    run = session.run
    if name == "clients" and not session.apart:
        count = len(list(run.path("server", "uploads").glob("*.json")))
        return f"{count} uploads are there" if count else ""
    if name == "synthesize":
        count = len(list(run.path("server", "shards").glob("shard-*.json")))
        return f"{count} shards are there" if count else ""
    kept = run.checkpoints(name, "").folder
    return "a checkpoint is there" if any(kept.glob("*.safetensors")) else ""


def missing_clients(session: Session, clients: list[str]) -> list[str]:
    """Clients of whom there is no upload yet, and that were not taken out."""
    out = set(intake.forgotten(session.run))
    return [name for name in clients if name not in out and intake.kept(session.run, name) is None]
