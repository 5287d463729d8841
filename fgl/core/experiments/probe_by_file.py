"""A probe of clients on machines of their own: pictures go out in one file, scores come back in files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fgl.core.config import fit
from fgl.core.experiments import probe
from fgl.core.report.figures import Space
from fgl.core.report.scores import BytesBothWays
from fgl.core.server import senders
from fgl.core.server.refusals import Refusal
from fgl.core.store.typed import from_json, to_json
from fgl.core.wire import envelopes, probe_files, replies, requests
from fgl.errors import ConfigError, Problem, StoreError, UploadError, UploadReplayError, UploadSenderError
from fgl.io.files import open_regular
from fgl.text import plain

if TYPE_CHECKING:
    from pyrage.x25519 import Identity

    from fgl.core.report.probe import ProbeFigures
    from fgl.core.session import Session
    from fgl.core.wire.envelopes import Envelope
    from fgl.core.wire.probe_files import ProbeRequest
    from fgl.core.wire.replies import ProbeScores


def ask(session: Session, per_class: int, learn_images: int) -> bytes:
    """The file that goes to all clients: features of `per_class` pictures of each class, and the space where it learnt.
    Raises FGLError."""
    if not 1 <= per_class <= probe_files.MAX_PER_CLASS:
        problem = Problem("--per-class", str(per_class), f"expected 1 to {probe_files.MAX_PER_CLASS}")
        raise ConfigError([problem], "the command line")
    fit.check_unpriced(session.config, session.manager.registry, "a probe")
    made = probe.made_here(session, per_class, learn_images, pool_clients=False)
    request = probe_files.ProbeRequest(
        run=session.config.upload.run_id,
        per_class=per_class,
        size=session.image_size,
        space=session.config.features.name,
        arrays=made.arrays,
        about={"space": to_json(made.space)},
    )
    return probe_files.encode(request, session.info.class_names)


def opened(session: Session, file: Path) -> ProbeRequest:
    """The server's own request. Raises UploadError and StoreError."""
    config = session.config
    data = read(file, probe_files.MAX_REQUEST)
    return probe_files.read(data, config.upload.run_id, session.info.class_names, config.features.name)


def answered(session: Session, file: Path, replies_: Sequence[Path], identity: Identity | None = None) -> ProbeFigures:
    """What the answers to the request in `file` come to. One that breaks a rule is named and left out. identity: the
    server's private key, which opens sealed answers. Raises FGLError."""
    request = opened(session, file)
    made = probe.Made(request.arrays, from_json(Space, request.about["space"]), None)
    known, names = session.config.upload.clients, session.info.class_names
    answers: dict[str, ProbeScores] = {}
    refused: dict[str, Refusal] = {}
    up = 0
    for path in replies_:
        try:
            envelope = _opened(path, identity)
            data = envelope.data
            sender = senders.judge(
                session.config.server, data, envelope.block, kind="probe", run=request.run, round=requests.ROUND
            )
            client_id = probe_files.sender_of(data)
            senders.check_name(sender, client_id)
            if known is not None and client_id not in known:
                raise UploadSenderError("refused: it is of no client of this run (upload.clients)")
            if client_id in answers:
                raise UploadReplayError(f"refused: {client_id} has answered already")
            answers[client_id] = probe_files.read_reply(data, client_id, request, names)
            up += len(data)
        except UploadError as error:
            refused[plain(str(path), 200)] = Refusal(rule=error.rule, reason=str(error))
    down = file.stat().st_size * len(answers)
    return probe.figures(session, made, request.per_class, answers, refused, (BytesBothWays(down=down, up=up), 0.0))


def _opened(path: Path, identity: Identity | None) -> Envelope:
    """An answer with its signatures, at most a byte more than is allowed. Raises StoreError and UploadError."""
    try:
        found = envelopes.raw(path, replies.MAX_REPLY)
    except OSError as error:
        raise StoreError(f"cannot read {plain(str(path), 200)}: {error.strerror or error}") from error
    return envelopes.opened(found, replies.MAX_REPLY, identity)


def read(file: Path, most: int) -> bytes:
    """At most a byte more than is allowed, for whoever reads it to refuse. Raises StoreError."""
    try:
        with open_regular(file) as opened_file:
            return opened_file.read(most + 1)
    except OSError as error:
        raise StoreError(f"cannot read {plain(str(file), 200)}: {error.strerror or error}") from error
