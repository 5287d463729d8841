"""A federation: the transport between server and clients. Here simulated clients, one after another."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from fgl import ClientFailure, Options, Progress, answer_task, simulated
from pydantic import Field


class MineOptions(Options):
    """What a user can set under `federation:`."""

    max_megabytes: float = Field(4096, gt=0, description="Largest payload that is carried, in 10^6 bytes.")


class Mine:
    """Carries bytes and looks into none. At a client of its own machine, `answer_task` runs inside `fgl.at_site`."""

    def __init__(self, options: MineOptions) -> None:
        self.options = options

    def call(
        self, client_ids: Sequence[str], task: str, payload: Callable[[str], bytes], progress: Progress
    ) -> Iterator[tuple[str, bytes | ClientFailure]]:
        with progress.track("clients", len(client_ids), "clients") as done:
            for client_id in client_ids:
                sent = payload(client_id)
                if len(sent) > self.options.max_megabytes * 1e6:
                    reason = f"the request has {len(sent) / 1e6:.0f} MB; federation.max_megabytes allows fewer"
                    yield client_id, ClientFailure(client_id, reason)
                    continue
                with simulated(progress):  # left before the reply is handed over: the server's code is no client's
                    reply = answer_task(client_id, task, sent)
                done.advance(1, client_id)
                yield client_id, reply
