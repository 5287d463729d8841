"""Clients on this machine. What goes in and comes out of a client is bytes, whether it shares this process or not."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module

from fgl.core.errors import FGLError
from fgl.core.types import Failure, Progress
from fgl.plugins.federations.options import LocalOptions

# Length first, so that whatever a library prints to stdout afterwards cannot be taken for the reply.
_CHILD = """
import sys
from importlib import import_module
out = sys.stdout.buffer
sys.stdout = sys.stderr
module, _, name = sys.argv[1].partition(":")
reply = getattr(import_module(module), name)(sys.stdin.buffer.read())
out.write(len(reply).to_bytes(8, "big") + reply)
out.flush()
"""


class Local:
    """Runs each client's task here (contract `Federation`)."""

    def __init__(self, options: LocalOptions) -> None:
        self.options = options

    def call(
        self, client_ids: Sequence[str], task: str, payload: Callable[[str], bytes], progress: Progress
    ) -> Iterator[tuple[str, bytes | Failure]]:
        """task: "module:function", a function bytes → bytes. A client that raises is a Failure; the others go on."""
        run = self._in_process if self.options.isolation == "none" else self._in_child
        with progress.track("clients", len(client_ids), "clients") as done:
            for client_id in client_ids:
                yield client_id, run(client_id, task, payload(client_id))
                done.advance(1, client_id)

    def _in_process(self, client_id: str, task: str, payload: bytes) -> bytes | Failure:
        module, _, name = task.partition(":")
        function: Callable[[bytes], bytes] = getattr(import_module(module), name)
        try:
            return function(payload)
        except FGLError as error:
            return Failure(client_id, str(error))
        except Exception as error:  # as with a process of its own: one client's fault does not stop the others
            return Failure(client_id, f"{type(error).__name__}: {error}")

    def _in_child(self, client_id: str, task: str, payload: bytes) -> bytes | Failure:
        command = [sys.executable, "-c", _CHILD, task]
        try:
            done = subprocess.run(
                command, input=payload, capture_output=True, timeout=self.options.timeout, check=False
            )
        except subprocess.TimeoutExpired:
            return Failure(client_id, f"no answer within {self.options.timeout:g} s")
        if done.returncode != 0:
            lines = done.stderr.decode(errors="replace").strip().splitlines()
            return Failure(client_id, lines[-1] if lines else f"its process ended with code {done.returncode}")
        length = int.from_bytes(done.stdout[:8], "big")
        reply = done.stdout[8 : 8 + length]
        return reply if len(reply) == length else Failure(client_id, "its reply was cut off")
