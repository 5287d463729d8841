"""Federations: what carries tasks to the clients."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from fgl.contracts.progress import Progress


@dataclass(frozen=True, slots=True)
class ClientFailure:
    """A client that did not answer a federation's call."""

    client_id: str
    """The client."""

    reason: str
    """Why, as far as the server may know: the message of an FGLError of the task, which the task has cleared for that,
    or the federation's own words."""


class Federation(Protocol):
    """Transport and nothing else: it carries bytes to clients, and bytes or failures back."""

    def call(
        self, client_ids: Sequence[str], task: str, payload: Callable[[str], bytes], progress: Progress
    ) -> Iterator[tuple[str, bytes | ClientFailure]]:
        """Run a task at each client, and yield (client id, reply) in the order of the ids.

        At the client, `fgl.answer_task(client_id, task, payload)` runs it and returns what to yield (see
        `fgl.contracts.tasks`, which lists the tasks). If a task raises an FGLError, only its message may cross to the
        server, as the reason of a ClientFailure: the task has cleared it. Everything else, including the task's output,
        stays in the client's own log.

        Simulated clients run their tasks inside `fgl.simulated()`. On the machine of a site, tasks run inside
        `fgl.at_site(policy)`, with what the site's owner allows. Outside of both, every task refuses to answer.

        Args:
            client_ids: The clients to call.
            task: The name of the task, "module:function": a function that runs at the client, bytes → bytes.
            payload: Client id → the bytes to send to that client. Call it once for each, when they are sent.
            progress: Where to report each client that has answered or failed.
        """
