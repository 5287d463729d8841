"""The stages of a run, in order."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from fgl.contracts.progress import NullProgress, Progress
from fgl.core import baselines, outputs
from fgl.core.config.saved import load_config, save_config, saved_config
from fgl.core.config.schema import RunConfig
from fgl.core.plugin_manager import PluginManager
from fgl.core.preflight import open_session, other_prompts
from fgl.core.report.headings import Headings
from fgl.core.report.schema import RunReport
from fgl.core.server import removed
from fgl.core.session import Session, check_clients
from fgl.core.stages import baselines as stages_baselines
from fgl.core.stages import partition, pipeline, rounds, run_report
from fgl.core.stages.stage import Done
from fgl.core.store import folder_kind
from fgl.core.store.run_dir import RunDir, default_run_dir
from fgl.core.store.typed import JsonObject, to_json
from fgl.core.synthesis import plan as synthesis_plan
from fgl.core.synthesis.shards import read_plan, read_shards
from fgl.errors import StoreError

log = logging.getLogger(__name__)


def run(
    config: RunConfig | Mapping[str, object] | str | Path | None = None,
    out: str | Path | None = None,
    progress: Progress | None = None,
    replace: bool = False,
) -> RunReport:
    """Run the whole method and return its report.

    config: a RunConfig, a mapping as in a YAML file, a path of a YAML file, or None for the defaults. out: run
    directory, new or empty; one that holds an earlier run of the same data is completed: what depends on changed
    options is done again. replace: let this run take the place of one of other data, or of anything else that fgl
    wrote to `out`, which is removed first. Raises FGLError."""
    manager = PluginManager.load()
    resolved = load_config(config, manager)
    folder = RunDir(Path(out).expanduser() if out is not None else default_run_dir())
    outputs.check(folder, replace, "out")
    return run_session(open_session(resolved, manager, folder, progress or NullProgress()), replace, "out")


def resume(folder: str | Path, progress: Progress | None = None) -> RunReport:
    """Complete a run with the configuration that it was begun with. Raises StoreError where there is none."""
    return run_session(reopen(folder, progress or NullProgress()))


def reopen(folder: str | Path, progress: Progress) -> Session:
    """A session on an existing run directory, with its own configuration."""
    manager, found = PluginManager.load(), RunDir(Path(folder).expanduser())
    return open_session(
        saved_config(found, manager), manager, found, progress, remote_clients=folder_kind.has_remote_clients(found)
    )


def run_session(session: Session, replace: bool = False, option: str = "--out", wait: float = 0.0) -> RunReport:
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


def execute(session: Session, part_of_another: bool = False) -> RunReport:
    """All stages; those already committed from the same inputs are reused. part_of_another: whether the run is a
    baseline of another one, which has said so."""
    config = session.config
    parts = [*pipeline.headings(session), *map(baselines.heading, config.baselines)]
    headings = Headings(session.progress, () if part_of_another else parts)
    _begin(session)
    session.events.run_started()
    try:
        done = pipeline.run(session, "partition", begin=headings.begin)
        clients = partition.client_ids(session, done)
        rounds.check(session, clients)
        check_clients(config, clients)
        pipeline.run(session, done=done, begin=headings.begin)
        report = run_report.write(session, done, _baselines(session, done, headings))
    except BaseException:
        session.events.run_ended()
        raise
    session.events.run_finished(report.to_dict())
    return report


def _begin(session: Session) -> None:
    """What a run writes before its first stage."""
    save_config(session.run, session.config, session.remote_clients)
    if session.remote_clients:
        folder_kind.mark_remote(session.run)
    for name in removed.restore(session.run):
        log.warning(
            "%s was lost or damaged: who was taken out is known from the other list, and was written again", name
        )
    removed.refresh(session)
    run_report.save_environment(session)


def client_ids(session: Session) -> Sequence[str]:
    """All clients of the run, also those that were taken out."""
    return partition.client_ids(session, pipeline.run(session, "partition"))


def _baselines(session: Session, done: Done, headings: Headings) -> list[JsonObject]:
    """Rows of the report, in the order of the configuration."""
    rows: dict[str, JsonObject] = {}
    for name in session.config.baselines:
        headings.begin(baselines.heading(name))
        if name not in rows:
            baseline = baselines.find(name)
            more = (name,) if baseline.is_run else ()
            rows |= baseline.call("make", session, done, *more)
    return [rows[name] for name in session.config.baselines]


def other_prompts_row(session: Session, done: Done, name: str) -> dict[str, JsonObject]:
    """Name of the baseline → its row: a second run with another prompt strategy."""
    nested = other_prompts(session, name)
    with nested.run.lock():
        report = execute(nested, part_of_another=True)
    synthetic, scores = report.synthetic, report.result
    note = f"{synthetic.conditionings} conditionings; baselines/{nested.run.root.name}"
    selected = to_json(scores.selected)
    row = stages_baselines.entry(name, selected, report.upload.bytes_total, synthetic.images, note)
    seconds = round(sum(report.seconds.values()), 2)
    session.seconds[f"baseline:{name}"] = seconds
    return {name: {**row, "last": scores.last.top1, "seconds": seconds}}


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
