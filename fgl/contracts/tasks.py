"""Tasks: what a server asks of its clients, and how a federation answers one where the client is.

A task is a function of fgl that runs at a client, named "module:function". It takes the bytes that the server sent and
returns the bytes to send back; a federation looks into neither. `Federation.call` carries the name and the bytes to the
client, calls `answer_task` there, and yields what that returns.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from importlib import import_module

from fgl.contracts.boundary import contained, is_simulated
from fgl.contracts.federation import ClientFailure
from fgl.errors import FGLError, public_message

log = logging.getLogger(__name__)

_MODULE = "fgl.core.client.tasks"
TASKS: Mapping[str, str] = {
    f"{_MODULE}:answer_prepare": "the client's upload: rows of its prompts, and no image; once a run",
    f"{_MODULE}:answer_train": "a round of federated training: the model comes, and goes back trained on its images",
    f"{_MODULE}:answer_adapt": "a round of federated adaptation: weights of adapters come, and go back trained",
    f"{_MODULE}:answer_evaluate": "how many of its images a model that comes with the request classifies correctly",
    f"{_MODULE}:answer_probe": "how pictures that come with the request lie among its images: scores",
    f"{_MODULE}:answer_vote": "how many of its images are nearest to each candidate of a ballot, with noise",
}
"""Each task → what the client answers it with. Payloads of rounds are as large as the model, uploads some megabytes."""

_TESTS = "fgl.testing.tasks:"


def answer_task(client_id: str, task: str, payload: bytes) -> bytes | ClientFailure:
    """Run a task at the client that it was sent to.

    Simulated clients run it inside `fgl.simulated()`; on the machine of a site it runs inside `fgl.at_site(policy)`.
    Outside of both every task refuses to answer. Outside of a simulation only the tasks of `TASKS` are run, whatever
    name the server sends (and, for contract tests, those of `fgl.testing.tasks`).

    Returns: The reply, or why there is none as far as the server may know: the message of an FGLError, which the task
        has cleared, or the class of any other error, whose message goes to the log here. Raises KeyboardInterrupt
        alone.
    """

    def work() -> bytes | ClientFailure:
        if not is_simulated() and task not in TASKS and not task.startswith(_TESTS):
            return ClientFailure(client_id, "the client has no task of that name: it may have another version of fgl")
        module, _, name = task.partition(":")
        function: Callable[[bytes], bytes] = getattr(import_module(module), name)
        return function(payload)

    def failed(error: BaseException) -> bytes | ClientFailure:
        if isinstance(error, FGLError):
            return ClientFailure(client_id, str(error))
        log.error("a client's task failed", exc_info=error)
        return ClientFailure(client_id, public_message(error))

    return contained(work, failed)
