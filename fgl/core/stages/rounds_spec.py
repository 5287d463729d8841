"""What a federated training is: which algorithm, from where, for how long."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fgl.core.config.schema import Selected

if TYPE_CHECKING:
    from fgl.contracts.arrays import Array
    from fgl.core.config.schema import RoundsOptions
    from fgl.core.session import Session
    from fgl.core.stages.stage import Inputs


SyntheticSet = tuple[Any, Any]


@dataclass(frozen=True, slots=True)
class RoundsSpec:
    """One federated training. name: of its folder. epochs: of local training; None for as many as the classifier's own
    options say. test_clients: whether the clients' models are tested too, each by itself, before they are put
    together. goes_on: whether it starts from a trained model, see `Component.continuation_defaults`."""

    name: str
    stage: str
    algorithm: Selected
    options: RoundsOptions
    epochs: int | None
    test_clients: bool = False
    goes_on: bool = False


@dataclass(frozen=True, slots=True)
class Start:
    """Where a track starts. state: of the one-shot model, None for a fresh one. digest: of the stage that made it.
    synthetic: reads the synthetic set, for the server's fine-tuning. guess: the share of the clients' images that a
    guess gets right, by their uploads' account. caps: client → samples that its updates count for at most, of those
    whose uploads declared fewer than they hold."""

    state: Callable[[], Mapping[str, Array]] | None = None
    digest: str = ""
    synthetic: Callable[[], SyntheticSet] | None = None
    guess: float = 0.0
    caps: Mapping[str, int] = field(default_factory=dict)


def own_rounds_spec(session: Session) -> RoundsSpec:
    config = session.config
    return RoundsSpec("own", "rounds", config.algorithm, config.rounds, config.rounds.local_epochs, goes_on=True)


def local_classifier(session: Session, track: RoundsSpec) -> Selected:
    """The classifier as clients train it on this track."""
    chosen, others = session.config.classifier, session.config.rounds.local
    component = session.manager.registry.find("classifier", chosen.name).component
    continued = component.continuation_defaults if track.goes_on else {}
    return Selected(name=chosen.name, options={**chosen.options, **continued, **others})


def baseline(session: Session, name: str) -> Selected:
    """An algorithm as the configuration's baselines have it, or with its defaults."""
    if name in session.config.baseline_options:
        return session.config.baseline_options[name]
    entry = session.manager.registry.find("algorithm", name)
    options = session.manager.registry.options_class(entry)(**entry.component.defaults)
    return Selected(name=name, options=options.model_dump(mode="json"))


def identity(session: Session, track: RoundsSpec, partition_digest: str, start: Start) -> Inputs:
    """All that determines a track's course, except how long it is."""
    config, options = session.config, track.options
    how = options.inputs("count", "start", "trial_rounds", "local_epochs", "local", "server", "server_epochs")
    if options.privacy is not None and options.privacy.epsilon is not None:  # which noise that is follows from these
        how["privacy"] |= {"delta": config.privacy.delta, "rounds": options.count}
    fine = {"epochs": options.server_epochs, "classifier": config.server_classifier().model_dump()}
    clients = local_classifier(session, track).model_dump()
    return {
        "dataset": session.info.digest,
        "partition": partition_digest,
        "start": start.digest,
        "seed": config.seed,
        "classifier": clients,
        "epochs": track.epochs,
        "preparation": session.real_inputs,
        "algorithm": track.algorithm.model_dump(),
        "server": fine if options.server_epochs else None,
        "rounds": how,
        "device": session.device_kind,
        "forgotten": session.removed_clients,
        "test_clients": track.test_clients,
        **({"caps": dict(start.caps)} if start.caps else {}),
        **session.weights("classifier"),
    }
