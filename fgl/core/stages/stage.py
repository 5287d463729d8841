"""A stage of a run as a value: what it needs, what determines it, what it does and what it leaves."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from fgl.core.store.owned import digest_of
from fgl.core.store.typed import from_json, to_json

if TYPE_CHECKING:
    from fgl.core.session import Session


T = TypeVar("T")
Inputs = Mapping[str, object]
"""JSON: everything that determines a result."""
Work = tuple[T, Sequence[Path]]
"""A result, and the files that were written with it."""


class NotDoneError(LookupError):
    """What a stage would have given is not known. Caught by whoever asks what would be reused; never shown."""

    def __init__(self, stage: str) -> None:
        super().__init__(f"stage {stage} is not done")
        self.stage = stage


@dataclass(slots=True)
class Done:
    """What earlier stages of a run have given: their results, and the digests by which later stages know them."""

    _results: dict[str, Any] = field(default_factory=dict)
    _made: dict[str, str] = field(default_factory=dict)
    _shared: dict[Callable[..., Any], Any] = field(default_factory=dict)

    def __contains__(self, stage: Stage[Any]) -> bool:
        return stage.name in self._results

    def __getitem__(self, stage: Stage[T]) -> T:
        """The stage's result. Raises NotDoneError."""
        if stage.name not in self._results:
            raise NotDoneError(stage.name)
        result: T = self._results[stage.name]
        return result

    def get(self, stage: Stage[T]) -> T | None:
        """The stage's result, None where this run has no such stage."""
        result: T | None = self._results.get(stage.name)
        return result

    def made(self, stage: Stage[Any]) -> str:
        """Digest of what the stage made. Raises NotDoneError."""
        if stage.name not in self._made:
            raise NotDoneError(stage.name)
        return self._made[stage.name]

    def add(self, stage: Stage[T], result: T, made: str) -> None:
        self._results[stage.name] = result
        self.foresee(stage, made)

    def foresee(self, stage: Stage[Any], made: str) -> None:
        """Note what the stage will make, before it has."""
        self._made[stage.name] = made

    def once(self, make: Callable[[Session, Done], T], session: Session) -> T:
        """What several stages use and no record holds, made when the first of them asks."""
        if make not in self._shared:
            self._shared[make] = make(session, self)
        found: T = self._shared[make]
        return found


def _always(session: Session) -> bool:
    return True


def _nothing(session: Session, done: Done) -> None:
    return None


def checkpoint_there(session: Session, stage: str, inputs: Inputs) -> str:
    there = session.run.checkpoints(stage, digest_of(inputs)).load() is not None
    return "a checkpoint is there" if there else ""


@dataclass(frozen=True, slots=True)
class Stage(Generic[T]):
    """One step of a run. Its record is its commit: made from the same inputs, it is reused."""

    name: str
    """Of the stage among the stages."""
    needs: tuple[str, ...]
    """Stages that come before it and whose results or digests it uses; those that a run does not have are passed
    over."""
    result: type[T]
    """The frozen dataclass that its record holds, see `fgl.core.store.typed`."""
    inputs: Callable[[Session, Done], Inputs]
    """The one answer to the question whether it would be reused. It uses of `Done` only what determines the result, and
    raises NotDoneError where that is not known yet."""
    work: Callable[[Session, Done, str], Work[T]]
    """Does it; called with the digest of the inputs. Returns the result and the files that it wrote."""
    outputs: tuple[str, ...] = ()
    """Files and folders that it leaves, relative to the run directory. They are removed with a client that is taken out
    where the stage will not replace them: the configuration no longer asks for it, or too few clients are left."""
    given: tuple[str, ...] = ()
    """What it leaves of the clients' own, which stays until they are taken out themselves."""
    enabled: Callable[[Session], bool] = _always
    """Whether the configuration asks for it."""
    label: Callable[[Session], str] | None = None
    """The name of its record, where that depends on the configuration; `name` by default."""
    heading: Callable[[Session], str] | None = None
    """The part of the run that begins with it, in words; None where it belongs to the part before."""
    made: Callable[[Session, str, T], str] | None = None
    """Digest by which later stages know what it made, from the digest of its inputs and its result; None where the
    inputs determine it to the bit, and their digest is known before the stage is done."""
    foreseen: Callable[[Session, Inputs], str] | None = None
    """That digest from the inputs alone, for whoever asks what would be reused."""
    before: Callable[[Session, Done], None] = _nothing
    """Done each time, before the record is looked at."""
    after: Callable[[Session, Done], None] = _nothing
    """Done each time, also where the stage was reused."""
    partial: Callable[[Session, str, Inputs], str] = checkpoint_there
    """What of it is there already and would be used, in words."""
    resumes: bool = False
    """Whether what is there may be used although the record is stale."""

    def recorded_as(self, session: Session) -> str:
        return self.name if self.label is None else self.label(session)

    def run(self, session: Session, done: Done) -> T:
        """Do it, or reuse what is there; the result is noted in `done`. Raises FGLError."""
        self.before(session, done)

        def work(digest: str) -> tuple[Any, Sequence[Path]]:
            result, files = self.work(session, done, digest)
            return to_json(result), files

        value, digest = session.stage(self.recorded_as(session), self.inputs(session, done), work)
        self.note(session, done, digest, value)
        self.after(session, done)
        return done[self]

    def note(self, session: Session, done: Done, digest: str, value: Mapping[str, object]) -> None:
        """What the record holds. digest: of its inputs."""
        result = from_json(self.result, value)
        done.add(self, result, digest if self.made is None else self.made(session, digest, result))
