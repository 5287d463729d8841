"""Shadow models: each method once more on half of the clients' samples, and what each model says of all of them.

A shadow is a run of its own below RUN/audit/shadows/<k>, whose clients hold their members alone. All methods have the
same halves, so what differs between two of them is the method. Seeds are the run's in every shadow: whoever attacks
knows the configuration, and a training set that does not depend on the clients' images gives one and the same model.

The unit of commit is a method on a shadow: RUN/audit/scores/<method>-<k>.safetensors with `odds` float64 [n, q] (see
`lira.log_odds`) and `right` uint8 [n]. Samples are in the order of the train split; q is 1, or 2 with mirrored queries.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors.numpy import load_file, save

from fgl.contracts.arrays import contiguous
from fgl.contracts.classifier import SupportsLogits
from fgl.core.baselines import BASELINES
from fgl.core.config.defaults import LISTED_PARTITION
from fgl.core.config.schema import EvaluationOptions, Selected
from fgl.core.preflight import open_session
from fgl.core.privacy import lira
from fgl.core.privacy.shadow_sets import Images
from fgl.core.stages import baselines, evaluate, pipeline, plan, rounds, rounds_spec, synthesize, train
from fgl.core.stages import clients as clients_stage
from fgl.core.stages import partition as partition_stage
from fgl.core.store.owned import digest_of
from fgl.core.store.run_dir import RunDir
from fgl.core.store.typed import from_json, json_field, to_json
from fgl.errors import ConfigError, DataError, ModelError, Problem, suggestion

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fgl.contracts.arrays import Array, Labels
    from fgl.contracts.classifier import TrainedClassifier
    from fgl.core.session import Session
    from fgl.core.stages.stage import Inputs, Work


ONE_SHOT, AFTER_ROUNDS, CENTRALIZED = "fgl", "fgl-rounds", BASELINES["centralized"].name


def methods(session: Session) -> list[str]:
    """Whose classifiers are attacked: as configured, and where the run has rounds, fgl's after them too. Raises
    ConfigError with every name that is none."""
    known = [ONE_SHOT, CENTRALIZED, *session.manager.registry.names("algorithm")]
    method_names = session.config.audit.methods
    problems = [
        Problem("audit.methods", repr(name), f"no such method{suggestion(name, known)} (known: {', '.join(known)})")
        for name in method_names
        if name not in known
    ]
    if problems:
        raise ConfigError(problems, "the command line")
    after = [AFTER_ROUNDS] if session.config.rounds.count else []
    return [one for name in method_names for one in ([name, *after] if name == ONE_SHOT else [name])]


def title(session: Session, method: str) -> str:
    config = session.config
    if method == ONE_SHOT:
        voted = ", voted on" if config.votes.rounds else ""
        return f"fgl one-shot, {config.prompt_strategy.name} prompts{voted}"
    if method == AFTER_ROUNDS:
        count = config.rounds.count
        return f"fgl, {count} round{'s' * (count > 1)} after it"
    if method == CENTRALIZED:
        return BASELINES[method].title
    return f"{method}, {config.audit.rounds} round{'s' * (config.audit.rounds > 1)}"


@dataclass(frozen=True)
class ShadowSplit:
    """Which client holds which samples, and which are members of which shadow.

    divided: client → its samples. pool: all of them, int64 [n], rising; labels: int64 [n] of them; members: bool
    [s, n]."""

    divided: Mapping[str, Sequence[int]]
    pool: Labels
    labels: Labels
    members: NDArray[np.bool_]

    def held(self, shadow: int) -> dict[str, list[int]]:
        """Client → its members; clients without any are left out."""
        members = set(self.pool[self.members[shadow]].tolist())
        by_client = {name: [row for row in rows if row in members] for name, rows in self.divided.items()}
        return {name: rows for name, rows in by_client.items() if rows}


@dataclass(frozen=True, slots=True, kw_only=True)
class ShadowScores:
    """What is known of a shadow model; its top-1 is a share."""

    members: float
    """Top-1 on its training samples."""
    others: float
    """Top-1 on the clients' other samples."""
    test: float
    """Top-1 on the test split."""
    set: str | None = json_field(omit_none=True)
    """Digest of its synthetic set; only of fgl's one-shot model."""
    trained: bool | None = json_field(omit_none=True)
    """Whether it was trained for this audit, or the run or another shadow had it already; only where there is a set."""
    state: str | None = json_field(omit_none=True)
    """File of its parameters, below the run directory; only where there is a set."""


def shadow_split(session: Session) -> ShadowSplit:
    """Raises DataError where there are too few samples to divide."""
    divided = partition_stage.divided(session, pipeline.run(session, "partition"))
    holder = {row: place for place, rows in enumerate(divided.values()) for row in rows}
    pool = np.array(sorted(holder), dtype=np.int64)
    if len(pool) < lira.FEWEST:
        raise DataError(f"the clients hold {len(pool)} images; membership takes {lira.FEWEST} at least")
    labels = session.split("train").labels[pool]
    clients = np.array([holder[row] for row in pool.tolist()], dtype=np.int64)
    strata = clients * len(session.info.class_names) + labels
    members = lira.divide(strata, session.config.audit.shadows, session.config.seed)
    return ShadowSplit(divided, pool, labels, members)


def scores(session: Session, field: ShadowSplit, method: str) -> tuple[NDArray[np.float64], list[ShadowScores]]:
    """(log-odds of the true class, [s, n, q]; what is known of each shadow model) of a method, computed or reused."""
    maker = ShadowTrainer(session, field, method)
    values = []
    with session.progress.track(f"shadow models ({method})", len(field.members), "models") as task:
        for shadow in range(len(field.members)):
            value, _ = session.stage(_stage(method, shadow), maker.inputs(shadow), maker.work(shadow))
            values.append(from_json(ShadowScores, value))
            maker.tidy(shadow)
            task.advance()
    return np.stack([_read(session, method, shadow)["odds"] for shadow in range(len(field.members))]), values


def tidy(session: Session) -> None:
    """Remove what shadows needed on their way: clients' prompts and uploads, images. Their scores are kept."""
    run = session.run
    run.remove_nested(*run.nested_below("audit", "shadows"))
    for name in ("images", "images.previous"):
        run.remove_below(run.path("audit", name))


def _stage(method: str, shadow: int) -> str:
    return f"audit:{method}:{shadow:02d}"


def _path(session: Session, method: str, shadow: int) -> Path:
    return session.run.path("audit", "scores", f"{method}-{shadow:02d}.safetensors")


def _read(session: Session, method: str, shadow: int) -> dict[str, Array]:
    return dict(load_file(_path(session, method, shadow)))


@dataclass
class ShadowTrainer:
    """Makes the models of one method."""

    session: Session
    field: ShadowSplit
    method: str

    def inputs(self, shadow: int) -> Inputs:
        """Everything that determines the scores."""
        session, config = self.session, self.session.config
        held = digest_of(self.field.held(shadow))
        shared: dict[str, object] = {"pool": digest_of(self.field.pool.tolist()), "flip": config.audit.flip}
        if self.method == CENTRALIZED:
            return {
                **shared,
                "dataset": session.info.digest,
                "members": held,
                "classifier": config.classifier.model_dump(),
                "seed": config.seed,
                "preparation": session.real_inputs,
                "device": session.device_kind,
                **session.weights("classifier"),
            }
        if self.method not in (ONE_SHOT, AFTER_ROUNDS):
            return {**shared, **rounds.inputs_of(session, self._track(session), held, rounds_spec.Start())}
        one_shot = {
            **shared,
            "uploads": clients_stage.request_inputs(session, held),
            **({"votes": config.votes.model_dump(), "delta": config.privacy.delta} if config.votes.rounds else {}),
            "aggregator": config.aggregator.model_dump(),
            "images_per_class": config.synthesis.images_per_class,
            "recipe": synthesize.recipe(session),
            "train": train.train_inputs(session, ""),
        }
        if self.method == ONE_SHOT:
            return one_shot
        start = rounds_spec.Start(digest=digest_of(one_shot), guess=self._guess(shadow))
        return {**shared, **rounds.inputs_of(session, self._track(session), held, start)}

    def work(self, shadow: int) -> Callable[[str], tuple[Any, Sequence[Path]]]:
        """What `Session.stage` calls where the scores are not there."""
        make = {ONE_SHOT: self._one_shot, CENTRALIZED: self._centralized}.get(self.method, self._rounds)

        def work(digest: str) -> tuple[Any, Sequence[Path]]:
            shadow_scores, files = make(shadow, digest)
            return to_json(shadow_scores), files

        return work

    def tidy(self, shadow: int) -> None:
        """Remove the models of rounds, which are no longer needed once they have been queried."""
        if self.method not in (ONE_SHOT, CENTRALIZED):
            folder = self._folder(shadow)
            folder.remove_below(folder.path("rounds"))
            for private in folder.nested_below("clients"):
                private.remove_below(private.path("rounds"))

    # --- centralized ---

    def _centralized(self, shadow: int, digest: str) -> Work[ShadowScores]:
        data = baselines.clients_images(self.session, self.field.held(shadow))
        model = self.session.classifier.fit(data, None, self._context(shadow, digest))
        return self._keep(shadow, *self._query(model))

    # --- federated ---

    def _rounds(self, shadow: int, digest: str) -> Work[ShadowScores]:
        inner, held = self._inner(shadow), self.field.held(shadow)
        start = rounds_spec.Start()
        if self.method == AFTER_ROUNDS:
            record = self.session.run.recorded(_stage(ONE_SHOT, shadow))
            assert record is not None, "the one-shot models come first"
            state = self.session.run.path(record["value"]["state"])
            images, guess = lambda: self._images.of(shadow), self._guess(shadow)
            start = rounds_spec.Start(lambda: load_file(state), record["value"]["set"], images, guess)
        partition = pipeline.run(inner, "partition").made(partition_stage.STAGE)
        track = self._track(inner)
        rounds.run(inner, track, held, partition, start)
        last = load_file(rounds.model_path(inner, track))
        return self._keep(shadow, *self._query(inner.classifier.restore(last, train.context(inner, "query"))))

    def _guess(self, shadow: int) -> float:
        """As the run has it from its uploads: what a guess gets right of the images that clients hold."""
        labels, classes = self.session.split("train").labels, len(self.session.info.class_names)
        held = self.field.held(shadow)
        return rounds.guess_of(
            {name: np.bincount(labels[rows], minlength=classes).tolist() for name, rows in held.items()}
        )

    def _track(self, session: Session) -> rounds_spec.RoundsSpec:
        """Tested once, after the last round: no curve over rounds is needed here."""
        options = session.config.rounds
        if self.method == AFTER_ROUNDS:
            round_options = options.model_copy(update={"evaluate_every": options.count})
            return rounds_spec.RoundsSpec(
                "own", "rounds", session.config.algorithm, round_options, options.local_epochs, goes_on=True
            )
        count = session.config.audit.rounds
        round_options = options.model_copy(
            update={"count": count, "server_epochs": 0, "evaluate_every": count, "privacy": None}
        )
        algorithm = rounds_spec.baseline(session, self.method)
        return rounds_spec.RoundsSpec(
            self.method, f"method:{self.method}", algorithm, round_options, options.local_epochs
        )

    # --- fgl ---

    def _one_shot(self, shadow: int, digest: str) -> Work[ShadowScores]:
        session, images = self.session, self._images
        identity = images.identity(shadow)
        is_trained = False
        if identity == images.own:
            state = train.state_path(session, "selected")
        else:
            earlier = (session.run.recorded(_stage(ONE_SHOT, number)) for number in range(shadow))
            same = [record["value"] for record in earlier if record is not None and record["value"]["set"] == identity]
            state = session.run.path(same[0]["state"]) if same else self._folder(shadow).path("train.safetensors")
            if not same:
                data, validation = images.of(shadow)
                model = session.classifier.fit(data, validation, self._context(shadow, digest))
                packed = contiguous(model.state("selected"))
                session.run.write(state, save(packed))
                is_trained = True
        model = session.classifier.restore(load_file(state), train.context(session, "query"))
        top1, outputs = self._keep(shadow, *self._query(model))
        name = str(state.relative_to(session.run.root))
        return replace(top1, set=identity, trained=is_trained, state=name), [*outputs, state]

    @cached_property
    def _images(self) -> Images:
        plans = {}
        for shadow in range(len(self.field.members)):
            inner = self._inner(shadow)
            plans[shadow] = plan.planned(inner, pipeline.run(inner, "plan"))
        return Images(self.session, plans)

    # --- all ---

    def _folder(self, shadow: int) -> RunDir:
        return self.session.run.nested("audit", "shadows", f"{shadow:02d}")

    def _inner(self, shadow: int) -> Session:
        """The same run, whose clients hold their members alone."""
        folder = self._folder(shadow)
        listed = folder.path("members.json")
        folder.write_json(listed, self.field.held(shadow))
        config = self.session.config.model_copy(
            update={
                "partition": Selected(name=LISTED_PARTITION, options={"path": str(listed.absolute())}),
                "baselines": (),
                "all_baselines": False,
                "evaluation": EvaluationOptions(),
            }
        )
        return open_session(config, self.session.manager, folder, self.session.progress, beside=self.session)

    def _context(self, shadow: int, digest: str) -> Any:
        kept = self.session.run.checkpoints(_stage(self.method, shadow), digest)
        return train.context(self.session, f"{self.method}, shadow {shadow}", kept)

    def _query(self, model: TrainedClassifier) -> tuple[NDArray[np.float64], NDArray[np.bool_], float]:
        """(log-odds [n, q], whether the class is right [n], top-1 on the test split) of the pool."""
        if not isinstance(model, SupportsLogits):
            name = self.session.config.classifier.name
            raise ModelError(
                f"classifier {name!r} hands out no logits, which membership inference reads; choose another"
            )
        values: Array = self.session.inputs("train").values[self.field.pool]
        odds, right = [], np.empty(0, dtype=bool)
        flipped = self.session.config.audit.flip and self.session.yields_images  # features have no left and right
        for place, seen in enumerate([values, values[:, :, ::-1]] if flipped else [values]):
            logits = np.asarray(model.logits(np.ascontiguousarray(seen), "last", self.session.progress))
            odds.append(lira.log_odds(logits, self.field.labels))
            right = logits.argmax(axis=1) == self.field.labels if place == 0 else right
        return np.stack(odds, axis=1), right, float(evaluate.score(self.session, model, "last")["top1"])

    def _keep(
        self, shadow: int, odds: NDArray[np.float64], right: NDArray[np.bool_], test: float
    ) -> Work[ShadowScores]:
        path, inside = _path(self.session, self.method, shadow), self.field.members[shadow]
        self.session.run.write(path, save({"odds": odds, "right": right.astype(np.uint8)}))
        members, others = float(right[inside].mean()), float(right[~inside].mean())
        return ShadowScores(members=round(members, 6), others=round(others, 6), test=round(test, 6)), [path]
