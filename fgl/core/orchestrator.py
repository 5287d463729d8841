"""The stages of a run, in order."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fgl.core import controls, plan, report, server, training
from fgl.core.config import PROMPTS_CONTROL, RunConfig, Selected, read_yaml, resolve
from fgl.core.errors import StoreError
from fgl.core.manager import Manager
from fgl.core.session import Session, check_fit
from fgl.core.store import RunDir
from fgl.core.types import Progress, Silent


def run(
    config: RunConfig | Mapping[str, Any] | str | Path | None = None,
    out: str | Path | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Run the whole method and return what `fgl run --json` prints.

    config: a RunConfig, a mapping as in a YAML file, a path of a YAML file, or None for the defaults. out: run
    directory; one that holds an earlier run of the same configuration is completed. Raises FGLError."""
    manager = Manager.load()
    resolved = load_config(config, manager)
    folder = Path(out) if out is not None else fresh_folder()
    session = open_session(resolved, manager, RunDir(folder), progress or Silent())
    with session.run.lock():
        return execute(session)


def load_config(config: RunConfig | Mapping[str, Any] | str | Path | None, manager: Manager) -> RunConfig:
    if isinstance(config, RunConfig):
        return config
    if isinstance(config, str | Path):
        return resolve([read_yaml(Path(config))], manager.registry, str(config))
    return resolve([config or {}], manager.registry)


def fresh_folder() -> Path:
    """runs/<time>, with a number behind it where that is taken."""
    base = Path("runs") / time.strftime("%Y%m%d-%H%M%S")
    folder, number = base, 1
    while folder.exists():
        number += 1
        folder = base.with_name(f"{base.name}-{number}")
    return folder


def open_session(
    config: RunConfig, manager: Manager, run_dir: RunDir, progress: Progress, beside: Session | None = None
) -> Session:
    """Build the plugins and check that they fit each other and the data. Nothing is computed or written yet.

    beside: a session over the same data and classifier, to share what it has read and checked."""
    if beside is None:
        dataset = manager.create("dataset", config.dataset)
        with progress.track("read the dataset", 1, "dataset") as task:
            info = dataset.info()
            task.advance()
    else:
        dataset, info = beside.dataset, beside.info
    has_public = dataset.split("public") is not None
    check_fit(config, manager, info, has_public)
    if config.all_controls and not has_public:
        config = config.model_copy(update={"controls": tuple(name for name in config.controls if name != "public")})
    executor = manager.create("executor", config.executor)
    generator = manager.create("generator", config.generator)
    generator.declare()
    session = Session(
        config=config,
        manager=manager,
        run=run_dir,
        progress=progress,
        dataset=dataset,
        info=info,
        generator=generator,
        classifier=manager.create("classifier", config.classifier),
        executor=executor,
        device=executor.device(config.device),
    )
    if beside is None:
        # Hours of synthesis are not to end in a classifier that cannot be built.
        session.classifier.check(training.context(session, "check"))
    else:
        session.share_pixels(beside)
    return session


def execute(session: Session) -> dict[str, Any]:
    """All stages; those already committed from the same inputs are reused."""
    config = session.config
    session.run.write(session.run.path("config.yaml"), config.to_yaml().encode())
    session.run.write_json(session.run.path("environment.json"), _environment(session))
    divided, partition_digest = server.partition(session)
    uploads, uploads_digest = server.collect(session, list(divided), partition_digest)
    accepted = list(uploads["bytes_per_client"])
    conditioning, shards, plan_digest = server.make_plan(session, accepted, uploads_digest)
    synthetic = server.synthesize(session, conditioning, shards, plan_digest)
    folder = session.run.path("server", "shards")
    trained, train_digest = training.train(session, synthetic["digest"], *server.load_set(session, folder))
    scores = training.evaluate(session, train_digest)
    items = [item for shard in shards for item in shard.items]
    found = _controls(session, divided, partition_digest, items, scores, train_digest)
    result = {
        "schema_version": report.SCHEMA_VERSION,
        "run_dir": str(session.run.root),
        "result": {**scores, "per_class": scores["selected"]["per_class"]},
        "upload": {**uploads, "fedavg_bytes_per_round": trained["model_bytes"] * 2 * len(accepted)},
        "synthetic": {"images": synthetic["images"], "digest": synthetic["digest"], "training": trained["images"],
                      "validation": trained["validation_images"], "conditionings": len(conditioning),
                      "missing_classes": server.missing_classes(session, conditioning)},
        "seconds": session.seconds,
        "controls": found,
        "partition": {"samples": _samples(session, divided)},
        "dataset": {"name": session.info.name, "licence": session.info.licence, "digest": session.info.digest,
                    "skipped": list(session.info.skipped)},
        "generator": dict(session.generator.describe()),
        "history": trained["history"],
        "reused_stages": session.reused,
        "config": config.to_dict(),
    }  # fmt: skip
    sheets = report.contact_sheets(session, folder)
    session.run.write(session.run.path("report.md"), report.markdown(session, result, sheets).encode())
    session.run.write_json(session.run.path("report.json"), result)
    return result


def _environment(session: Session) -> dict[str, Any]:
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


def _controls(
    session: Session, divided: Mapping[str, list[int]], partition_digest: str, items: list[Any], scores: dict[str, Any],
    train_digest: str,
) -> list[dict[str, Any]]:  # fmt: skip
    wanted = session.config.controls
    found: dict[str, dict[str, Any]] = {}
    for name in wanted:
        if name.startswith(PROMPTS_CONTROL):
            found[name] = _other_prompts(session, name)
        elif name == "class-list":
            found[name] = controls.class_list(session, items, scores, train_digest)
        elif name in ("pooled", "public"):
            found[name] = controls.real(session, name, session.info.digest)
        elif name in ("fedavg", "local") and name not in found:
            both = controls.federated(
                session, divided, partition_digest, [n for n in wanted if n in ("fedavg", "local")]
            )
            found.update({one["name"]: one for one in both})
    return [found[name] for name in wanted]


def _other_prompts(session: Session, name: str) -> dict[str, Any]:
    """The same run with another prompt strategy, whole, in a folder of its own below this one."""
    strategy = name.removeprefix(PROMPTS_CONTROL)
    registry = session.manager.registry
    entry = registry.find("prompt_strategy", strategy)
    options = registry.options_class(entry)(**entry.component.defaults).model_dump(mode="json")
    config = session.config.model_copy(
        update={"prompt_strategy": Selected(name=strategy, options=options), "controls": (), "all_controls": False}
    )
    folder = RunDir(session.run.path("controls", name.replace(":", "-")))
    result = execute(open_session(config, session.manager, folder, session.progress, beside=session))
    selected = result["result"]["selected"]
    rows = result["synthetic"]["conditionings"]
    note = f"{rows} conditionings; controls/{folder.root.name}"
    found = controls.entry(name, selected, result["upload"]["bytes_total"], result["synthetic"]["images"], note)
    seconds = round(sum(result["seconds"].values()), 2)
    session.seconds[f"control:{name}"] = seconds
    return {**found, "last": result["result"]["last"]["top1"], "seconds": seconds}


def digest(folder: str | Path) -> str:
    """Digest of a run's synthetic set, computed from its shards. Raises StoreError where there are none, or where
    some that the plan asks for are missing."""
    store = RunDir(Path(folder))
    shards = store.path("server", "shards")
    if not any(shards.glob("shard-*.parquet")):
        raise StoreError(f"{folder} holds no synthetic set (expected {shards}/shard-*.parquet)")
    planned = store.path("server", "plan.parquet")
    if planned.exists():
        lacking = [
            one.index for one in store.read_plan(planned) if not (shards / f"shard-{one.index:05d}.json").exists()
        ]
        if lacking:
            raise StoreError(f"{folder} is not finished: {len(lacking)} shards of its plan are missing; run it again")
    return plan.set_digest((row["image_id"], row["label"], rgb.tobytes()) for row, rgb in store.read_shards(shards))
