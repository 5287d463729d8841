"""Federations and executors: who carries a task to the clients, and who fills the shards."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from fgl.contracts.generator import Shard
    from fgl.contracts.progress import Progress


@dataclass(frozen=True, slots=True)
class ClientFailure:
    """A client that did not answer a federation's call, and why, as far as the server may know: the message of an
    FGLError of the task, which has been cleared for that, or words of the federation's own."""

    client_id: str
    reason: str


class Federation(Protocol):
    """Transport and nothing else: bytes go to clients, bytes or failures come back."""

    def call(
        self, client_ids: Sequence[str], task: str, payload: Callable[[str], bytes], progress: Progress
    ) -> Iterator[tuple[str, bytes | ClientFailure]]:
        """Run `task` at each client. payload: what to send to a client. Replies come in the order of the ids.

        Of what a client's task raises, only the message of an FGLError may cross, as the reason of a Failure: the task
        has cleared it. Everything else, its output included, stays in the client's own log.

        Where the clients are simulated, their tasks run inside `fgl.contracts.boundary.simulated()`; on the machine
        of a site, inside `fgl.core.client.policy.at_site(policy)`, with what its owner allows. Outside of both no task
        answers."""


class Executor(Protocol):
    """Fills shards. A shard is handed to `work` whole; `work` paints it, and its commit may end after that."""

    def device(self, asked: str) -> str:
        """The device that `asked` means here ("auto": the best there is). Raises ModelError where it is not there."""

    def environment(self) -> Mapping[str, object]:
        """Versions, threads and hardware: what a figure depends on beside the configuration."""

    def run(self, shards: Sequence[Shard], work: Callable[[Shard], None]) -> None:
        """Call `work` on every shard, in any order, and return when all are done."""
