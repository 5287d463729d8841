"""`fgl audit`: what a run gives away about the clients' images, measured on what it has made.

Three independent parts: `membership` (shadows and lira), `memorization` and `uploads` (inversion). Results go to
RUN/audit/audit.json and audit.md, and into the run's own report.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from fgl.core import status
from fgl.core.config import fit
from fgl.core.config.schema import EvaluationOptions
from fgl.core.privacy import candidates, inversion, lira, memorization, shadow_sets, shadows
from fgl.core.report import audit
from fgl.core.report.audit_figures import Audit, Membership, MethodMembership, ShadowAccuracy
from fgl.core.report.intervals import student
from fgl.core.stages import measured, pipeline, quality
from fgl.core.store.typed import to_json
from fgl.errors import ConfigError, DataError, Problem, StoreError

if TYPE_CHECKING:
    from fgl.core.config.schema import RunConfig
    from fgl.core.session import Session


PARTS = ("membership", "memorization", "uploads")


def parts(session: Session) -> tuple[list[str], dict[str, str]]:
    """(parts that will be measured, why the others cannot be). Raises ConfigError where one that was asked for cannot,
    or where an option is wrong: before anything is computed."""
    chosen = session.config.audit.parts
    why = fit.unfit_parts(session.config, session.manager.registry)
    if session.config.adaptation.rounds:
        why["membership"] = "the clients adapted the generator, and shadow models would each need one of their own"
    if session.config.votes.rounds:
        why["uploads"] = "the clients voted, and there is no row of theirs to look up"
    if session.remote_clients:
        why["membership"] = "shadow models are made of the clients' images, which are elsewhere"
        if session.config.upload.clients is not None and session.dataset.split("public") is None:
            why["memorization"] = "the clients' images are elsewhere, and the dataset has no public ones"
    problems = [
        Problem("audit.parts", repr(name), f"{why[name]}; leave it out") for name in chosen or () if name in why
    ]
    if problems:
        raise ConfigError(problems, "the command line")
    wanted = [name for name in PARTS if name in (chosen or PARTS) and name not in why]
    if "membership" in wanted:
        shadows.methods(session)
        if len(session.info.class_names) < 2:
            raise DataError("membership inference reads how sure a model is of one class against others: it takes two")
    if "memorization" in wanted:
        quality.check(_measuring(session, quality_too=True))
    if "uploads" in wanted and session.config.audit.dictionary is not None:
        candidates.read(session.config.audit.dictionary)
    return wanted, {name: reason for name, reason in why.items() if chosen is None}


def run(session: Session, saved: RunConfig) -> Audit:
    """Measure what the configuration's `audit` asks for, on a session that holds its run directory. saved: the run's
    own configuration, for its report. Parts that an earlier audit of the same models measured are kept.

    Raises StoreError where the run is not finished, ConfigError where a part cannot be measured."""
    check_finished(session)
    wanted, left_out = parts(session)
    measuring = _measuring(session)
    of = measured.audited(session)
    earlier = measured.kept_audit(session, of) or Audit(
        schema_version=1, of=of, left_out={}, membership=None, memorization=None, uploads=None
    )
    result = replace(
        earlier,
        left_out=left_out,
        membership=membership(measuring) if "membership" in wanted else earlier.membership,
        memorization=memorization.measure(measuring) if "memorization" in wanted else earlier.memorization,
        uploads=inversion.measure(measuring) if "uploads" in wanted else earlier.uploads,
    )
    folder = session.run.path("audit")
    session.run.write_sealed(folder / "audit.json", to_json(result))
    lines = ["# Audit", "", *audit.section(result, heading="##")]
    session.run.write(folder / "audit.md", "\n".join([*lines, ""]).encode())
    measured.into_report(replace(session, config=saved), lambda report: replace(report, audit=result))
    return result


def check_finished(session: Session) -> None:
    """Raises StoreError where a stage of the run is missing or stale."""
    finished = {stage.name for stage in pipeline.upto(session, "export")}
    for entry in status.stages(session):
        if entry.stage in finished and entry.state != "done":
            why = f" ({entry.why})" if entry.why else ""
            again = "fgl server run" if session.remote_clients else "fgl run --resume"
            raise StoreError(
                f"{session.run.root} is not finished: {entry.stage} is {entry.state}{why}; complete it with {again} "
                f"{session.run.root}"
            )


def _measuring(session: Session, quality_too: bool = False) -> Session:
    """The session with the real images that memorization is measured against."""
    elsewhere = session.remote_clients and session.config.upload.clients is not None
    options = session.config.evaluation
    chosen = EvaluationOptions(
        real="public" if elsewhere else "train",
        quality=quality_too,
        max_images=options.max_images,
        min_images=options.min_images,
    )
    return replace(session, config=session.config.model_copy(update={"evaluation": chosen}))


def membership(session: Session) -> Membership:
    """Attack each method's shadow models in turn."""
    field = shadows.shadow_split(session)
    names = shadows.methods(session)
    figures: dict[str, dict[str, list[lira.TargetFigures]]] = {}
    models: dict[str, list[shadows.ShadowScores]] = {}
    others = int((~field.members).sum(axis=1).min())
    for name in names:
        odds, models[name] = shadows.scores(session, field, name)
        figures[name] = lira.measure(odds, field.members)
    methods = {}
    for name in names:
        is_paired = name != shadows.ONE_SHOT and shadows.ONE_SHOT in names
        compared = figures[shadows.ONE_SHOT] if is_paired else None
        title = shadows.title(session, name)
        methods[name] = _of_method(session, title, figures[name], models[name], compared, others)
    shadows.tidy(session)
    options = session.config.audit
    return Membership(
        methods=methods,
        shadows=options.shadows,
        flip=options.flip,
        rounds=options.rounds,
        samples=len(field.pool),
        members=[int(count) for count in _ends(field.members)],
        non_members=others,
        own_variance=options.shadows // 2 - 1 >= lira.OWN_VARIANCE,
        grid=np.round(lira.GRID, 6).tolist(),
    )


def _of_method(
    session: Session,
    title: str,
    figures: Mapping[str, list[lira.TargetFigures]],
    models: list[shadows.ShadowScores],
    one_shot: Mapping[str, list[lira.TargetFigures]] | None,
    non_members: int,
) -> MethodMembership:
    """one_shot: figures of fgl's one-shot model, None where they are not compared with."""
    distinct, as_run = _sameness(session, models)
    members, others, test = (
        student([model.members for model in models]),
        student([model.others for model in models]),
        student([model.test for model in models]),
    )
    return MethodMembership(
        title=title,
        lira=lira.summarize(figures["lira"], non_members),
        loss=lira.summarize(figures["loss"], non_members),
        top1=ShadowAccuracy(members=members, others=others, test=test),
        gap=student([model.members - model.others for model in models]),
        distinct=distinct,
        as_run=as_run,
        difference=None
        if one_shot is None
        else {attack: lira.difference(each, one_shot[attack]) for attack, each in figures.items()},
    )


def _sameness(session: Session, models: list[shadows.ShadowScores]) -> tuple[int, int | None]:
    """(distinct models among the shadows, how many of them have the run's own set, None for a method without one)."""
    if models[0].set is None:
        return len(models), None
    run_set = shadow_sets.own_set(session)
    return len({model.set for model in models}), sum(model.set == run_set for model in models)


def _ends(members: Any) -> tuple[int, int]:
    counts = members.sum(axis=1)
    return counts.min(), counts.max()
