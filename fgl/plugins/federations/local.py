"""Simulated clients on this machine. Only bytes go in and out of a client, whether or not it shares this process."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence

from fgl.contracts.boundary import simulated
from fgl.contracts.federation import ClientFailure
from fgl.contracts.progress import Progress
from fgl.contracts.tasks import answer_task
from fgl.plugins.federations.options import LocalOptions

# The reply begins with a flag (success or failure) and its length, so that nothing that a library prints to stdout
# afterwards can be taken for it. The pipe is open as long as the parent lives: once the parent is dead, nobody holds
# the run directory's lock, and nothing more may be written there.
_CHILD = """
import os, sys, threading
def end_with_parent(pipe=int(sys.argv[3])):
    os.read(pipe, 1)
    os._exit(1)
threading.Thread(target=end_with_parent, daemon=True).start()
from fgl.plugins.federations.local import answer
out = sys.stdout.buffer
sys.stdout = sys.stderr
reply = answer(sys.argv[1], sys.argv[2], sys.stdin.buffer.read())
done = isinstance(reply, bytes)
reply = reply if done else reply.reason.encode()
out.write(bytes([done]) + len(reply).to_bytes(8, "big") + reply)
out.flush()
"""


def answer(client_id: str, task: str, payload: bytes, progress: Progress | None = None) -> bytes | ClientFailure:
    with simulated(progress):
        return answer_task(client_id, task, payload)


class LocalFederation:
    """Runs each client's task on this machine (contract `Federation`)."""

    def __init__(self, options: LocalOptions) -> None:
        self.options = options

    def call(
        self, client_ids: Sequence[str], task: str, payload: Callable[[str], bytes], progress: Progress
    ) -> Iterator[tuple[str, bytes | ClientFailure]]:
        """See `Federation.call`. A client that raises yields a ClientFailure; the others continue."""
        with progress.track("clients", len(client_ids), "clients") as done:
            for client_id in client_ids:
                sent = payload(client_id)
                if self.options.isolation == "none":
                    yield client_id, answer(client_id, task, sent, progress)
                else:
                    yield client_id, self._in_child(client_id, task, sent)
                done.advance(1, client_id)

    def _in_child(self, client_id: str, task: str, payload: bytes) -> bytes | ClientFailure:
        theirs, ours = os.pipe()
        try:
            done = subprocess.run(
                [sys.executable, "-c", _CHILD, client_id, task, str(theirs)],
                input=payload,
                capture_output=True,
                timeout=self.options.timeout,
                check=False,
                pass_fds=(theirs,),
            )
        except subprocess.TimeoutExpired as error:
            _show(error.stderr)
            return ClientFailure(client_id, f"no answer within {self.options.timeout:g} s")
        finally:
            os.close(ours)
            os.close(theirs)
        _show(done.stderr)
        if done.returncode != 0:
            return ClientFailure(client_id, f"its process ended with code {done.returncode}")
        length = int.from_bytes(done.stdout[1:9], "big")
        reply = done.stdout[9 : 9 + length]
        if len(done.stdout) < 9 or len(reply) < length:
            return ClientFailure(client_id, "its reply was cut off")
        return reply if done.stdout[0] else ClientFailure(client_id, reply.decode(errors="replace"))


def _show(output: bytes | None) -> None:
    """Show a client's output on this console, which is also the client's. It does not enter any report."""
    if output:
        sys.stderr.write(output.decode(errors="replace"))
