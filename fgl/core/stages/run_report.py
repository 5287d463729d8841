"""report.json, report.md and contact sheets of a run whose stages are done."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from fgl.core import footprint
from fgl.core.report import contact_sheet, metrics, privacy_statement
from fgl.core.report import run as report_run
from fgl.core.report.schema import SCHEMA_VERSION, RunReport
from fgl.core.server import intake_record
from fgl.core.stages import (
    adaptation,
    clients,
    evaluate,
    federated_evaluation,
    integrity,
    measured,
    partition,
    plan,
    quality,
    rounds,
    synthesize,
    train,
    upload_filters,
)
from fgl.core.store.typed import JsonObject, to_json
from fgl.io import event_log, strict_json

if TYPE_CHECKING:
    from fgl.core.session import Session
    from fgl.core.stages.stage import Done, Stage


def write(session: Session, done: Done, baselines: list[JsonObject]) -> RunReport:
    """Write the report, and return it."""
    result = contents(session, done, baselines)
    result |= {"damaged": integrity.warn(session), "log": event_log.mark(session.run.root)}
    sheets = []
    if session.yields_images:
        sheets = contact_sheet.contact_sheets(session, session.run.shards, plan.planned(session, done).shards)
    else:
        session.run.remove(*session.run.owned("sheets"))  # of an earlier run in this folder, whose product was images
    report = RunReport.from_dict(strict_json.native(to_json(result)))
    session.run.write(session.run.path("report.md"), report_run.markdown(session, report, sheets).encode())
    session.run.write_json(session.run.path("report.json"), report.to_dict())
    return report


def contents(session: Session, done: Done, baselines: list[JsonObject]) -> JsonObject:
    uploads, planned, synthetic = done[clients.STAGE], done[plan.STAGE], done[synthesize.STAGE]
    trained = done[train.STAGE]
    sent = to_json(uploads)
    rounds_bytes = trained.model_bytes * 2 * len(uploads.bytes_per_client)
    return {
        "schema_version": SCHEMA_VERSION,
        "run_dir": str(session.run.root),
        "result": _scores(done),
        "test_set": metrics.about(session.split("test").labels, session.info.class_names),
        "rounds": _json_of(done, rounds.STAGE),
        "adaptation": _json_of(done, adaptation.STAGE),
        "warnings": rounds.notes(session, done),
        "intake": intake_record.record(session, partition.client_ids(session, done), uploads),
        "upload_filters": upload_filters.described(session.config, session.manager) or None,
        "client_model": _client_model(session),
        "upload": {**sent, "fedavg_bytes_per_round": rounds_bytes},
        "synthetic": {
            "images": synthetic.images,
            "digest": synthetic.digest,
            "training": trained.images,
            "validation": trained.validation_images,
            "unselected": trained.unselected,
            "conditionings": planned.conditionings,
            "reused": synthetic.images_reused,
            "redrawn": synthetic.images_redrawn,
            "notes": synthetic.notes,
            "missing_classes": planned.missing_classes,
            **({} if session.yields_images else {"product": to_json(session.product)}),
        },
        "at_clients": _json_of(done, federated_evaluation.STAGE),
        "quality": _json_of(done, quality.STAGE),
        "quality_beside": measured.qualities(session, synthetic.digest),
        "audit": measured.kept_audit(session, measured.audited(session)),
        "privacy": privacy_statement.summary(privacy_statement.of(session)),
        "seconds": session.seconds,
        "baselines": baselines,
        "partition": {"samples": _samples(session, done)},
        "dataset": {
            "name": session.info.name,
            "license": session.info.license,
            "digest": session.info.digest,
            "skipped": list(session.info.skipped),
            "notes": list(session.info.notes),
        },
        # "auto" is no answer to what the pictures were computed in
        "generator": strict_json.finite({**session.generator.describe(), **session.generator.rounding(session.device)}),
        "prompt_models": _prompt_models(session),
        "history": trained.history,
        "device": session.device,
        "threads": environment(session).get("threads"),
        "reused_stages": session.reused,
        "config": session.config.to_dict(),
    }


def _json_of(done: Done, stage: Stage[Any]) -> Any:
    """What the stage's record holds, None where the run has no such stage."""
    return to_json(done.get(stage))


_PACKAGES = (
    "fgl",
    "torch",
    "diffusers",
    "transformers",
    "datasets",
    "huggingface-hub",
    "numpy",
    "pillow",
    "pyarrow",
    "safetensors",
    "scikit-image",
    "torchmetrics",
)


def environment(session: Session) -> JsonObject:
    plugins = [
        {"plugin": status.name, "distribution": status.distribution, "version": status.version}
        for status in session.manager.statuses
        if not status.problem and status.version
    ]
    return {"device": session.device, **_software(), **session.executor.environment(), "plugins": plugins}


def _software() -> JsonObject:
    """What a figure depends on whoever fills the shards. An executor that runs elsewhere says what is there instead."""
    packages = {}
    for name in _PACKAGES:
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            packages[name] = "not installed"
    return {
        "python": platform.python_version(),
        "system": platform.system(),
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "packages": packages,
    }


def save_environment(session: Session) -> None:
    session.run.write_json(session.run.path("environment.json"), environment(session))


def _scores(done: Done) -> JsonObject:
    """Without rounds, the one-shot model's; with them, those of the model after the last round, which nothing
    selected, and the one-shot model's beside it."""
    one_shot, federated = to_json(done[evaluate.STAGE]), done.get(rounds.STAGE)
    if federated is None:
        return {**one_shot, "per_class": one_shot["selected"]["per_class"]}
    last = federated.score
    return {"selected": last, "last": last, "per_class": last["per_class"], "one_shot": one_shot}


def _samples(session: Session, done: Done) -> JsonObject:
    """Client → its samples of each class, by the client's own account where it holds data of its own."""
    parts = done.get(partition.STAGE)
    if parts is None:
        return dict(done[clients.STAGE].weight_per_class)
    out = session.removed_clients
    return {name: counts for name, counts in parts.samples.items() if name not in out}


def _client_model(session: Session) -> JsonObject | None:
    registry = session.manager.registry
    found = footprint.of_client(session.config, session.generator, registry)
    if found is None:
        return None
    return {
        "whole": footprint.needs_generator(session.config, registry),
        "parts": list(found.parts),
        "parameters": found.parameters,
        "bytes": found.size_bytes,
    }


def _prompt_models(session: Session) -> list[JsonObject]:
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
                "license": use.license,
                "repository": None if state is None else state.model,
                "commit": None if state is None else state.commit,
            }
        )
    return found
