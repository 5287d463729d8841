"""The clients adapt the generator in rounds, before anything is synthesized; only adapters leave them.

RUN/adaptation/generator/          what the generator takes: its adapter, or all of it
RUN/adaptation/clients/CLIENT/     the same of a client, where each keeps its own after the last round
RUN/rounds/adapter/                the state after the last round
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fgl.contracts.adaptation import AdaptContext
from fgl.core import model_digests
from fgl.core.adapters import adaptation_of, check_strategy
from fgl.core.client import adapting
from fgl.core.config.schema import RoundsOptions, Selected
from fgl.core.server.round_updates import RoundEntry
from fgl.core.stages import partition, round_state, votes
from fgl.core.stages.round_engine import RoundEngine
from fgl.core.stages.rounds_spec import RoundsSpec, Start
from fgl.core.stages.stage import Done, Inputs, Stage, Work
from fgl.core.store.owned import digest_of
from fgl.core.synthesis.per_client import GeneratorPerClient
from fgl.core.wire import requests
from fgl.text import counted

if TYPE_CHECKING:
    from fgl.contracts.adaptation import Adaptation, Adapted
    from fgl.contracts.algorithm import GlobalState, LocalUpdate
    from fgl.contracts.arrays import Array
    from fgl.contracts.generator import Generator
    from fgl.core.session import Session


NAME = "adapter"


@dataclass(frozen=True, slots=True)
class AdaptationResult:
    """The generator's adaptation at the clients."""

    rounds: list[RoundEntry]
    """An entry a round: who took part, loss and bytes."""
    bytes_up: int
    """Sent by all clients in all rounds."""
    bytes_down: int
    """Sent to all clients in all rounds."""
    adapter_bytes: int
    """Size of what is trained, in float32."""
    settings: dict[str, object]
    """What is trained, and how."""
    base: dict[str, object]
    """The model that is adapted."""
    option: str
    """Option of the generator that takes the result."""
    place: str
    """Its value, relative to the run directory."""
    per_client: dict[str, str] | None
    """Client → its value for this client's rows; None where all share one."""


class AdapterEngine(RoundEngine):
    """The engine of rounds with an adapter of the generator in the place of the classifier."""

    adaptation: Adaptation

    def __init__(
        self, session: Session, adaptation: Adaptation, divided: Mapping[str, list[int]], partition_digest: str
    ) -> None:
        self.adaptation = adaptation
        super().__init__(session, spec(session), divided, partition_digest, Start())

    def identity(self, partition_digest: str) -> Inputs:
        return identity(self.session, self.adaptation, partition_digest)

    def request(self) -> requests.AdapterTraining:
        session, track = self.session, self.track
        return requests.AdapterTraining(
            config=session.config,
            name=track.name,
            algorithm=track.algorithm,
            device=session.device,
            data=session.info.digest,
            digest=self.digest,
        )

    def release(self) -> None:
        adapting.release()

    def first(self) -> tuple[Mapping[str, Array], Sequence[str]]:
        adapter = self.adaptation.initial(context(self.session))
        return adapter.state("last"), adapter.trained()

    def combine(self, number: int, state: GlobalState, sent: Sequence[LocalUpdate]) -> GlobalState:
        """Their average; after the last round of adapters that stay the clients' own, these beside what was sent."""
        options = self.session.config.adaptation
        if options.adapters == "shared" or number < options.rounds:
            return super().combine(number, state, sent)
        # one file and one commit with the round: a kill leaves all of them, or none
        own = {_key(update.client_id, name): array for update in sent for name, array in update.model.items()}
        return replace(state, algorithm_state=own)

    def measure(self, number: int, state: GlobalState, entry: RoundEntry) -> None:
        """Nothing: that would take a synthetic set."""

    def rescue(self, number: int, state: GlobalState, part: str) -> str:
        return (
            "Lower the learning rate (adaptation.lr) or the steps of a client (adaptation.local_steps), or stop there "
            f"with adaptation.rounds={number - 1}"
        )


def _key(client_id: str, name: str) -> str:
    return f"{client_id}/{name}"


def spec(session: Session) -> RoundsSpec:
    """The rounds as a training of its own. Nothing is tested in between: that would take a synthetic set."""
    options = session.config.adaptation
    how = RoundsOptions(count=options.rounds, fraction=options.fraction, max_update_ratio=options.max_update_ratio)
    return RoundsSpec(NAME, "adaptation", session.config.algorithm, how, None)


def context(session: Session) -> AdaptContext:
    return AdaptContext(seed=session.config.seed, device=session.device, progress=session.progress)


def identity(session: Session, adaptation: Adaptation, partition_digest: str) -> Inputs:
    """All that determines the course of the rounds, but not how many there are."""
    config, options = session.config, session.config.adaptation
    files = session.manager.options("prompt_strategy", config.prompt_strategy).files()
    return {
        "dataset": session.info.digest,
        "names": session.info.names_in_prompts,
        "partition": partition_digest,
        "seed": config.seed,
        "settings": adaptation.settings(),
        "base": adaptation.base(),
        "encoding": dict(session.generator.encoding()),
        "prompt_strategy": config.prompt_strategy.model_dump(),
        "prompt_files": {name: model_digests.of_path(name) for name in files},
        "captions": options.captions,
        "local_steps": options.local_steps,
        "fraction": options.fraction,
        "max_update_ratio": options.max_update_ratio,
        "algorithm": config.algorithm.model_dump(),
        "device": session.device_kind,
        "forgotten": session.removed_clients,
        # the last of these rounds is another one than it would be with more after it
        **({} if options.adapters == "shared" else {"adapters": [options.adapters, options.rounds]}),
    }


def _inputs(session: Session, done: Done) -> Inputs:
    course = identity(session, _adaptation(session), _partition_digest(session, done))
    return {**course, "count": session.config.adaptation.rounds}


def _partition_digest(session: Session, done: Done) -> str:
    return done.made(partition.STAGE) if partition.STAGE.enabled(session) else ""


def _adaptation(session: Session) -> Adaptation:
    return adaptation_of(session.config, session.generator)


def check(session: Session) -> None:
    """Raises ConfigError and ModelError where the clients could not adapt the generator."""
    if STAGE.enabled(session):
        check_strategy(session.config, session.manager)
        _adaptation(session)


def _work(session: Session, done: Done, digest: str) -> Work[AdaptationResult]:
    adaptation = _adaptation(session)
    engine = AdapterEngine(session, adaptation, partition.divided(session, done), _partition_digest(session, done))
    state, history = engine.train()
    home = session.run.path("adaptation")
    made = _Saved({}, [])
    shared = adaptation.restore(state.model, context(session))
    made.add(session, "", shared, home / "generator")
    options = session.config.adaptation
    clients = history[-1]["clients"] if options.adapters == "per-client" else []
    for client in clients:
        own = {name: state.algorithm_state[_key(client, name)] for name in state.model}
        # a client's id is not to become a path: it may hold what a path must not
        folder = home / "clients" / hashlib.sha256(client.encode()).hexdigest()[:16]
        made.add(session, client, adaptation.restore(own, context(session)), folder)
    option, place = made.taken.pop("")
    result = AdaptationResult(
        rounds=history,
        bytes_up=sum(entry["bytes_up"] for entry in history),
        bytes_down=sum(entry["bytes_down"] for entry in history),
        adapter_bytes=shared.size_bytes(),
        settings=dict(adaptation.settings()),
        base=dict(adaptation.base()),
        option=option,
        place=place,
        per_client=None if options.adapters == "shared" else {name: own for name, (_, own) in made.taken.items()},
    )
    return result, made.files


@dataclass(frozen=True, slots=True)
class _Saved:
    """What was written. taken: client, "" for all → (option of the generator, its value)."""

    taken: dict[str, tuple[str, str]]
    files: list[Path]

    def add(self, session: Session, client: str, adapted: Adapted, folder: Path) -> None:
        said: dict[str, str] = {}

        def save(empty: Path) -> None:
            said.update(adapted.save(empty, "last"))

        self.files.extend(session.run.write_folder(folder, save))
        ((option, place),) = said.items()
        self.taken[client] = option, session.run.name_of(folder / place)


def _partial(session: Session, stage: str, inputs: Inputs) -> str:
    course = digest_of({key: value for key, value in inputs.items() if key != "count"})
    there = round_state.read(round_state.place(session.run, NAME, course))
    count = session.config.adaptation.rounds
    return "" if there is None or len(there.history) > count else f"{len(there.history)} of {count} rounds are there"


def _count_seconds(session: Session, done: Done) -> None:
    """A stage's time is that of the process that ended it; rounds that an earlier one committed have taken theirs."""
    taken = round(sum(entry["seconds"] for entry in done[STAGE].rounds), 2)
    session.seconds[STAGE.name] = max(session.seconds[STAGE.name], taken)


STAGE: Stage[AdaptationResult] = Stage(
    name="adaptation",
    needs=("partition",),
    result=AdaptationResult,
    enabled=lambda session: session.config.adaptation.rounds > 0,
    inputs=_inputs,
    work=_work,
    made=lambda session, digest, result: session.made("adaptation", digest),
    after=_count_seconds,
    outputs=("adaptation", f"rounds/{NAME}"),
    heading=lambda session: (
        f"{counted(session.config.adaptation.rounds, 'round')} in which the clients adapt the generator"
    ),
    partial=_partial,
    resumes=True,
)


def bytes_sent(done: Done) -> int:
    """Bytes to and from all clients for the adaptation; 0 where there was none."""
    result = done.get(STAGE)
    return 0 if result is None else result.bytes_up + result.bytes_down


def adapted(session: Session, done: Done) -> Session:
    """The session with the generator that synthesizes: the one that the clients have adapted, or one of each, if they
    have; one that varies pictures, where clients have voted on these. Raises NotDoneError."""
    return done.once(_adapted, session) if STAGE.enabled(session) else votes.painting_session(session, done)


def _adapted(session: Session, done: Done) -> Session:
    result = done[STAGE]
    shared = _generator(session, result.option, result.place)
    if result.per_client is None:
        return replace(session, generator=shared)
    each = {client: _generator(session, result.option, place) for client, place in result.per_client.items()}
    return replace(session, generator=GeneratorPerClient(session.generator, session.product, each, shared))


def _generator(session: Session, option: str, place: str) -> Generator:
    """The run's generator, as adapted."""
    chosen = session.config.generator
    tied = session.manager.registry.find("generator", chosen.name).component.tied_defaults.get(option, ())
    options: dict[str, Any] = {name: value for name, value in chosen.options.items() if name not in tied}
    options[option] = str(session.run.path(*Path(place).parts))
    made: Generator = session.manager.create("generator", Selected(name=chosen.name, options=options))
    return made
