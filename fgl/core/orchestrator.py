"""The stages of a run, in order."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors.numpy import load_file

from fgl.contracts.progress import NullProgress, Progress
from fgl.core import outputs
from fgl.core.config.saved import load_config, save_config, saved_config
from fgl.core.config.schema import PROMPTS_BASELINE, RunConfig
from fgl.core.plugin_manager import PluginManager
from fgl.core.preflight import open_session, other_prompts
from fgl.core.report import contact_sheet, guess, metrics
from fgl.core.report import run as report_run
from fgl.core.report.headings import AT_CLIENTS, ONE_SHOT, QUALITY, ROUNDS, Headings, baseline_part
from fgl.core.server import intake_record, removed
from fgl.core.session import Session, check_clients
from fgl.core.stages import (
    baselines,
    evaluate,
    export,
    federated_evaluation,
    integrity,
    measured,
    partition,
    plan,
    quality,
    rounds,
    rounds_spec,
    synthesize,
    train,
)
from fgl.core.stages import clients as clients_stage
from fgl.core.store import folder_kind
from fgl.core.store.run_dir import RunDir, default_run_dir
from fgl.core.synthesis import plan as synthesis_plan
from fgl.core.synthesis.shards import read_plan, read_shards
from fgl.errors import StoreError
from fgl.io import event_log, strict_json

log = logging.getLogger(__name__)


def run(
    config: RunConfig | Mapping[str, Any] | str | Path | None = None,
    out: str | Path | None = None,
    progress: Progress | None = None,
    replace: bool = False,
) -> dict[str, Any]:
    """Run the whole method and return what `fgl run --json` prints.

    config: a RunConfig, a mapping as in a YAML file, a path of a YAML file, or None for the defaults. out: run
    directory, new or empty; one that holds an earlier run of the same data is completed: what depends on changed
    options is done again. replace: let this run take the place of one of other data, or of anything else that fgl
    wrote to `out`, which is removed first. Raises FGLError."""
    manager = PluginManager.load()
    resolved = load_config(config, manager)
    folder = RunDir(Path(out).expanduser() if out is not None else default_run_dir())
    outputs.check(folder, replace, "out")
    return run_session(open_session(resolved, manager, folder, progress or NullProgress()), replace, "out")


def resume(folder: str | Path, progress: Progress | None = None) -> dict[str, Any]:
    """Complete a run with the configuration that it was begun with. Raises StoreError where there is none."""
    return run_session(reopen(folder, progress or NullProgress()))


def reopen(folder: str | Path, progress: Progress) -> Session:
    """A session on an existing run directory, with its own configuration."""
    manager, found = PluginManager.load(), RunDir(Path(folder).expanduser())
    return open_session(
        saved_config(found, manager), manager, found, progress, remote_clients=folder_kind.has_remote_clients(found)
    )


def run_session(session: Session, replace: bool = False, option: str = "--out", wait: float = 0.0) -> dict[str, Any]:
    """Execute a session that holds its run directory alone. replace: see `run`. option: what names the directory. wait:
    seconds for another process to end. Raises StoreError where another process holds it, or where it belongs to clients
    that are elsewhere, ConfigError where it is not to be written to (see `outputs`)."""
    if session.remote_clients:
        outputs.check_beside(session.config, session.run.root, option)
    else:
        outputs.check_session(session, replace, option)
    with session.run.lock(wait):
        if not session.remote_clients:
            outputs.claim(session, replace, option)
        elif not folder_kind.has_remote_clients(session.run):
            root = session.run.root
            raise StoreError(f"{root} simulates its clients: go on with fgl run --resume {root}")
        return execute(session)


def execute(session: Session, part_of_another: bool = False) -> dict[str, Any]:
    """All stages; those already committed from the same inputs are reused. part_of_another: whether the run is a
    baseline of another one, which has said so."""
    config, headings = session.config, Headings(session, part_of_another)
    headings.begin(ONE_SHOT)
    save_config(session.run, config, session.remote_clients)
    if session.remote_clients:
        folder_kind.mark_remote(session.run)
    for name in removed.restore(session.run):
        log.warning(
            "%s was lost or damaged: who was taken out is known from the other list, and was written again", name
        )
    about = environment(session)
    session.run.write_json(session.run.path("environment.json"), about)
    clients, divided, partition_digest = clients_of(session)
    rounds.check(config.rounds, clients)
    check_clients(config, clients)
    here = not session.remote_clients
    uploads = (
        clients_stage.collect_from_clients(session, clients, partition_digest)
        if here
        else clients_stage.collect_from_files(session, clients)
    )
    accepted = list(uploads["bytes_per_client"])
    planned = plan.make_plan(session, uploads)
    synthetic = synthesize.synthesize(session, planned)
    trained, train_digest = train.train(session, synthetic["digest"], planned)
    scores = evaluate.evaluate(session, train_digest)
    headings.begin(ROUNDS)
    test_set = metrics.about(session.split("test").labels, session.info.class_names)
    warning = guess.useless_start(test_set, scores["selected"]["top1"]) if config.rounds.count else ""
    federated, made_by, state = _rounds(session, divided, partition_digest, planned, train_digest)
    final = _scores(scores, federated)
    export.export(session, state, made_by, final["selected"])
    headings.begin(AT_CLIENTS)
    tested = federated_evaluation.run_stage(session, uploads, made_by, state)
    headings.begin(QUALITY)
    measured_here = quality.run_stage(session, planned.shards, synthetic["digest"])
    found = _baselines(session, divided, partition_digest, planned.items, scores, train_digest, headings)
    result = {
        "schema_version": report_run.SCHEMA_VERSION,
        "run_dir": str(session.run.root),
        "result": final,
        "test_set": test_set,
        "rounds": federated,
        "warnings": [warning] if warning else [],
        "intake": intake_record.record(session, clients, uploads),
        "upload": {**uploads, "fedavg_bytes_per_round": trained["model_bytes"] * 2 * len(accepted)},
        "synthetic": {"images": synthetic["images"], "digest": synthetic["digest"], "training": trained["images"],
                      "validation": trained["validation_images"], "unselected": trained["unselected"],
                      "conditionings": planned.value["conditionings"],
                      "reused": synthetic["images_reused"], "redrawn": synthetic["images_redrawn"],
                      "notes": synthetic["notes"], "missing_classes": planned.value["missing_classes"]},
        "at_clients": tested, "quality": measured_here,
        "quality_beside": measured.qualities(session, synthetic["digest"]),
        "audit": report_run.kept_audit(session, report_run.audited(session)),
        "seconds": session.seconds,
        "baselines": found,
        "partition": {"samples": _samples(session, divided) if divided else uploads["weight_per_class"]},
        "dataset": {"name": session.info.name, "licence": session.info.licence, "digest": session.info.digest,
                    "skipped": list(session.info.skipped), "notes": list(session.info.notes)},
        # "auto" is no answer to what the pictures were computed in
        "generator": strict_json.finite({**session.generator.describe(), **session.generator.rounding(session.device)}),
        "prompt_models": _prompt_models(session),
        "history": trained["history"],
        "device": session.device, "threads": about.get("threads"),
        "reused_stages": session.reused,
        "config": config.to_dict(),
    }  # fmt: skip
    result |= {"damaged": integrity.warn(session), "log": event_log.mark(session.run.root)}
    sheets = contact_sheet.contact_sheets(session, session.run.shards, planned.shards)
    session.run.write(session.run.path("report.md"), report_run.markdown(session, result, sheets).encode())
    session.run.write_json(session.run.path("report.json"), result)
    return result


def _rounds(
    session: Session, divided: Mapping[str, list[int]], partition_digest: str, planned: plan.Plan, train_digest: str
) -> tuple[dict[str, Any] | None, str, Path]:
    """(the run's own rounds from the selected one-shot model, None where none are asked for; digest of the stage that
    made the final model; that model's state)."""
    if not session.config.rounds.count:
        return None, train_digest, train.state_path(session, "selected")
    track = rounds_spec.own_rounds_spec(session)
    value, digest = rounds.run(session, track, divided, partition_digest, start_of(session, planned, train_digest))
    return value, digest, rounds.model_path(session, track)


def start_of(session: Session, planned: plan.Plan, train_digest: str) -> rounds_spec.Start:
    """Where rounds after the one-shot model start."""
    return rounds_spec.Start(
        state=lambda: load_file(train.state_path(session, "selected")),
        digest=train_digest,
        synthetic=lambda: synthesize.load_set(session, session.run.shards, planned.shards),
    )


def _scores(one_shot: dict[str, Any], federated: dict[str, Any] | None) -> dict[str, Any]:
    """Without rounds, the one-shot model's; with them, those of the model after the last round, which nothing
    selected, and the one-shot model's beside it."""
    if federated is None:
        return {**one_shot, "per_class": one_shot["selected"]["per_class"]}
    last = federated["score"]
    return {"selected": last, "last": last, "per_class": last["per_class"], "one_shot": one_shot}


def _prompt_models(session: Session) -> list[dict[str, Any]]:
    """Models that the prompt strategy uses: where they came from, as far as this machine knows."""
    from fgl import hub
    from fgl.hub import state as hub_state

    found = []
    for use in session.manager.options("prompt_strategy", session.config.prompt_strategy).models():
        local = hub.is_local(use.model)
        state = None if local else hub_state.state(use, ask=False)
        found.append(
            {
                "model": use.model,
                "licence": use.licence,
                "repository": None if state is None else state.model,
                "commit": None if state is None else state.commit,
            }
        )
    return found


def clients_of(session: Session) -> tuple[Sequence[str], dict[str, list[int]], str]:
    """(ids of the clients, what each that was not taken out holds of the data here, digest of that division). The
    latter two are empty where clients have data of their own."""
    own = session.config.upload.clients
    if own is not None:
        return own, {}, ""
    divided, digest = partition.partition(session)
    out = removed.removed_clients(session.run)
    return list(divided), {name: rows for name, rows in divided.items() if name not in out}, digest


def environment(session: Session) -> dict[str, Any]:
    plugins = [
        {"plugin": status.name, "distribution": status.distribution, "version": status.version}
        for status in session.manager.statuses
        if not status.problem and status.version
    ]
    return {"device": session.device, **session.executor.environment(), "plugins": plugins}


def _samples(session: Session, divided: Mapping[str, list[int]]) -> dict[str, list[int]]:
    labels = session.split("train").labels
    classes = range(len(session.info.class_names))
    return {name: [int((labels[rows] == index).sum()) for index in classes] for name, rows in divided.items()}


def _baselines(
    session: Session,
    divided: Mapping[str, list[int]],
    partition_digest: str,
    items: list[Any],
    scores: dict[str, Any],
    train_digest: str,
    headings: Headings,
) -> list[dict[str, Any]]:
    wanted = session.config.baselines
    found: dict[str, dict[str, Any]] = {}
    for name in wanted:
        headings.begin(baseline_part(name))
        if name.startswith(PROMPTS_BASELINE):
            found[name] = _other_prompts(session, name)
        elif name == "class-list":
            found[name] = baselines.class_list(session, items, scores, train_digest)
        elif name in baselines.SPLITS:
            found[name] = baselines.real(session, name, divided, partition_digest)
        elif name in ("fedavg", "local") and name not in found:
            both = baselines.federated(
                session, divided, partition_digest, [n for n in wanted if n in ("fedavg", "local")]
            )
            found.update({one["name"]: one for one in both})
    return [found[name] for name in wanted]


def _other_prompts(session: Session, name: str) -> dict[str, Any]:
    nested = other_prompts(session, name)
    with nested.run.lock():
        result = execute(nested, part_of_another=True)
    selected = result["result"]["selected"]
    rows = result["synthetic"]["conditionings"]
    note = f"{rows} conditionings; baselines/{nested.run.root.name}"
    found = baselines.entry(name, selected, result["upload"]["bytes_total"], result["synthetic"]["images"], note)
    seconds = round(sum(result["seconds"].values()), 2)
    session.seconds[f"baseline:{name}"] = seconds
    return {**found, "last": result["result"]["last"]["top1"], "seconds": seconds}


def digest(folder: str | Path) -> str:
    """Digest of a run's synthetic set, computed from its shards. Raises StoreError where there are none, or where
    some that the plan asks for are missing."""
    store = RunDir(Path(folder))
    shards = store.shards
    if not any(shards.glob("shard-*.parquet")):
        raise StoreError(f"{folder} holds no synthetic set (expected {shards}/shard-*.parquet)")
    path = store.plan_file
    planned = read_plan(path) if path.exists() else None
    if planned is not None:
        lacking = [one for one in planned if not (shards / f"shard-{one.index:05d}.json").exists()]
        if lacking:
            raise StoreError(f"{folder} is not finished: {len(lacking)} shards of its plan are missing; run it again")
    images = ((row["image_id"], row["label"], rgb.tobytes()) for row, rgb in read_shards(shards, planned))
    return synthesis_plan.set_digest(images)
