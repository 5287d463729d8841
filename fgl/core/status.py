"""What of a run is done, what is stale, and why: without doing any of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from fgl.core.config.schema import PROMPTS_BASELINE
from fgl.core.config.validation import shown
from fgl.core.preflight import other_prompts
from fgl.core.session import Session
from fgl.core.stages import (
    baselines,
    clients,
    evaluate,
    export,
    federated_evaluation,
    integrity,
    partition,
    plan,
    quality,
    rounds,
    rounds_spec,
    synthesize,
    train,
)
from fgl.core.store.owned import digest_of
from fgl.core.synthesis.shards import read_plan
from fgl.errors import StoreError

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
    run, config = session.run, session.config
    waits = ""

    def state(name: str, inputs: Mapping[str, Any] | None, behind: str) -> StageState:
        """behind: the earlier stage that this one waits for, "" where all it needs is known."""
        record = run.recorded(name)
        seconds = 0.0 if record is None else record["seconds"]
        shown = prefix + name
        if record is None:
            there = run.path("stages", f"{name.replace(':', '-')}.json").exists()
            said = "its record is of another version of fgl" if run.other_version(name) else "its record is damaged"
            return StageState(shown, "not done", said if there else _partial(session, name, inputs), 0.0)
        if behind:
            return StageState(shown, "stale", f"follows {prefix}{behind}", seconds)
        assert inputs is not None
        changed = _once(differences(record["inputs"], inputs))
        if changed:
            return StageState(shown, "stale", "; ".join(changed[:5]) + ("; …" if len(changed) > 5 else ""), seconds)
        damaged = run.damaged(record)
        if damaged:
            return StageState(shown, "stale", f"{_DAMAGED}: {', '.join(damaged[:3])}", seconds)
        return StageState(shown, "done", "", seconds)

    partition_digest = ""
    if config.upload.clients is None:
        inputs = partition.partition_inputs(session)
        found = state("partition", inputs, "")
        partition_digest = digest_of(inputs)
        yield found
        waits = "" if _known(found) or not session.remote_clients else "partition"
    if session.remote_clients:
        record = run.recorded("partition")
        names = config.upload.clients if record is None else list(record["value"]["samples"])
        inputs = clients.gather_inputs(session, names or [])
        # All that is kept has been accepted once; whether a changed configuration still does is seen when it runs.
        uploads = digest_of({name: digest for name, digest in inputs["files"].items() if digest is not None})
    else:
        inputs = clients.clients_inputs(session, partition_digest)
    found = state("clients", inputs, waits)
    yield found
    if not session.remote_clients:
        record = run.recorded("clients")
        waits = "" if _known(found) else "clients"
        uploads = "" if waits or record is None else record["value"]["uploads"]
    inputs = plan.plan_inputs(session, uploads)
    plan_digest = digest_of(inputs)
    found = state("plan", inputs, waits)
    yield found
    found = state("synthesize", synthesize.synthesize_inputs(session, plan_digest), waits)
    yield found
    waits = waits or ("" if _known(found) else "synthesize")
    record = run.recorded("synthesize")
    images = "" if waits or record is None else record["value"]["digest"]
    inputs = train.train_inputs(session, images)
    train_digest = session.made("train", digest_of(inputs))
    found = state("train", inputs, waits)
    yield found
    after = waits or ("" if _known(found) else "train")
    yield state("evaluate", evaluate.evaluate_inputs(session, train_digest), after)
    exported, behind = train_digest, after
    if config.rounds.count:
        inputs = rounds.inputs_of(session, rounds_spec.own_rounds_spec(session), partition_digest, train_digest)
        exported = session.made("rounds", digest_of(inputs))
        found = state("rounds", inputs, after)
        yield _with_rounds(session, found, inputs, after)
        behind = after or ("" if _known(found) else "rounds")
    yield state("export", export.export_inputs(session, exported), behind)
    if config.evaluation.at_clients:
        record = run.recorded("clients")
        accepted = [] if record is None else list(record["value"]["bytes_per_client"])
        yield state(
            federated_evaluation.STAGE, federated_evaluation.inputs_of(session, accepted, uploads, exported), behind
        )
    for name, inputs, needs_images in quality.stages_of(session, images):
        yield state(name, inputs, waits if needs_images else "")
    if damaged := integrity.named(session):
        yield StageState(f"{prefix}files", "damaged", "; ".join(f"{name}: {why}" for name, why in damaged.items()), 0.0)
    for name in config.baselines:
        if name.startswith(PROMPTS_BASELINE):
            yield from stages(other_prompts(session, name), f"{prefix}{name}/")
        elif not (name == "local" and "fedavg" in config.baselines):
            needs = after if name == "class-list" else ""
            inputs = baselines.inputs_of(session, name, partition_digest, train_digest)
            yield state(baselines.stage_of(name), inputs, needs)


def _with_rounds(session: Session, found: StageState, inputs: Mapping[str, Any], behind: str) -> StageState:
    """The stage, and from which round it would go on."""
    count = session.config.rounds.count
    done = (
        0 if behind or found.state == "done" else rounds.reached(session, rounds_spec.own_rounds_spec(session), inputs)
    )
    there = f"{done} of {count} rounds are there" if done else ""
    return replace(found, why="; ".join(part for part in (found.why, there) if part))


def _known(found: StageState) -> bool:
    """Whether what follows can be judged: a damaged output will be made again, and be what it was."""
    return found.state == "done" or found.why.startswith(_DAMAGED)


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


def _partial(session: Session, name: str, inputs: Mapping[str, Any] | None) -> str:
    """What of an unfinished stage is there already and would be used."""
    run = session.run
    if inputs is None:
        return ""
    if name == "synthesize":
        try:
            planned = read_plan(run.plan_file)
        except StoreError:
            return ""
        finished = [shard for shard in planned if synthesize.shard_store(session).done(shard)]
        done = len(finished)
        images = sum(len(shard.items) for shard in planned)
        there = sum(len(shard.items) for shard in finished)
        share = f", {there:,} of {images:,} images ({there / images:.0%})" if done else ""
        return f"{done} of {len(planned)} shards are there{share}"
    return "a checkpoint is there" if run.checkpoints(name, digest_of(inputs)).load() is not None else ""
