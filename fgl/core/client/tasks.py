"""The tasks that a federation calls at a client: bytes in, bytes out; no message of an error crosses."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from fgl.contracts.boundary import contained, simulation_progress
from fgl.core.client import adapting, evaluation, policy, prepare, private_folder, probe, training, voting
from fgl.core.client.private_folder import ERROR
from fgl.core.wire.requests import opened
from fgl.errors import ClientFailedError, FGLError, UploadFormatError, public_message
from fgl.io import strict_json

log = logging.getLogger(__name__)


def answer_prepare(payload: bytes) -> bytes:
    """`prepare`, as a federation calls it."""
    asked = strict_json.loads(payload)
    return guarded(
        lambda: prepare.prepare(payload, simulation_progress()), asked["client_id"], policy.private_folder(asked)
    )


def guarded(work: Callable[[], bytes], client_id: str, private: Path | None) -> bytes:
    """A client's work, as a federation calls it. What this raises crosses to the server: ClientFailedError, which says
    of what class the client's error was and nothing more. Its message, which may name files, goes to the client's log
    and private folder, where there is one."""

    def failed(error: BaseException) -> bytes:
        log.error("%s: %s", client_id, error if isinstance(error, FGLError) else repr(error))
        if private is not None:
            with suppress(OSError, FGLError):  # a full disk is not to hide what happened
                text = "".join(traceback.format_exception(error))
                private_folder.private_files(private).write(private / ERROR, text.encode(errors="replace"))
        where = "" if private is None else f" and its private {ERROR}"
        raise ClientFailedError(f"{public_message(error)}; the message is in the client's log{where}") from None

    return contained(work, failed)


def answer_train(payload: bytes) -> bytes:
    """`train`, as a federation calls it."""
    return _answer_round(payload, training.train)


def answer_adapt(payload: bytes) -> bytes:
    """`adapt`, as a federation calls it."""
    return _answer_round(payload, adapting.adapt)


def _answer_round(payload: bytes, work: Callable[[Mapping[str, object], memoryview], bytes]) -> bytes:
    length = int.from_bytes(payload[:8], "little")
    if len(payload) < 8 + length:
        raise UploadFormatError("the request of a round was cut off")
    asked, message = strict_json.loads(payload[8 : 8 + length]), memoryview(payload)[8 + length :]
    return guarded(lambda: work(asked, message), asked["client_id"], policy.private_folder(asked))


def answer_evaluate(payload: bytes) -> bytes:
    """`evaluate`, as a federation calls it."""
    asked = opened(payload)[0]
    return guarded(lambda: evaluation.evaluate(payload), asked["client_id"], policy.private_folder(asked))


def answer_probe(payload: bytes) -> bytes:
    """`probe`, as a federation calls it."""
    asked = opened(payload)[0]
    return guarded(lambda: probe.probe(payload), asked["client_id"], policy.private_folder(asked))


def answer_vote(payload: bytes) -> bytes:
    """`vote`, as a federation calls it."""
    asked = opened(payload)[0]
    return guarded(lambda: voting.vote(payload), asked["client_id"], policy.private_folder(asked))
