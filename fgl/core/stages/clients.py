"""Collect the clients' uploads, or gather those that came as files."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fgl.core import model_digests
from fgl.core.client import private_folder, site
from fgl.core.server import encoding as server_encoding
from fgl.core.server import forget, refusals, tally, upload_store, uploads
from fgl.core.server.ask import ask
from fgl.core.server.tally import ClientsResult
from fgl.core.stages import foundation_models, partition
from fgl.core.stages.stage import Done, Inputs, Stage, Work
from fgl.core.store.owned import digest_of
from fgl.core.wire import requests, upload
from fgl.errors import UploadError

if TYPE_CHECKING:
    from fgl.contracts.options import ModelRef
    from fgl.core.session import Session


log = logging.getLogger(__name__)


def request_inputs(session: Session, partition_digest: str) -> Inputs:
    """What determines the upload of each client."""
    config = session.config
    files = session.manager.options("prompt_strategy", config.prompt_strategy).files()
    return {
        "partition": partition_digest,
        "prompt_strategy": config.prompt_strategy.model_dump(),
        **prompt_names(session),
        **({"prompt_files": {name: model_digests.of_path(name) for name in files}} if files else {}),
        **({"prompt_models": models} if (models := _prompt_models(session)) else {}),
        "generator": dict(session.generator.encoding()),
        "codec": config.upload.codec,
        **_filters(session),
        "format": upload.VERSION,
        "run_id": config.upload.run_id,
        "seed": config.seed,
        "round": requests.ROUND,
        "device": session.device_kind,
    }


def prompt_names(session: Session) -> Inputs:
    """For the inputs of a stage that writes prompts: what they call the classes, where that is not the class names."""
    names = session.info.prompt_names
    return {"prompt_names": names} if names else {}


def _filters(session: Session) -> Inputs:
    """The upload filters, with the files and models that they name; nothing where there are none."""
    chain = session.config.upload.chain()
    options = [session.manager.options("upload_filter", one) for one in chain]
    files = {name: model_digests.of_path(name) for one in options for name in one.files()}
    models = _commits([use for one in options for use in one.models()])
    return {
        **({"filters": session.config.upload.filters} if chain else {}),
        **({"filter_files": files} if files else {}),
        **({"filter_models": models} if models else {}),
    }


def _prompt_models(session: Session) -> dict[str, str | None]:
    """The commit at which clients here would use each Hub model that writes prompts."""
    return _commits(session.manager.options("prompt_strategy", session.config.prompt_strategy).models())


def _commits(uses: Sequence[ModelRef]) -> dict[str, str | None]:
    from fgl import hub
    from fgl.hub import state

    return {use.model: state.commit(use) for use in uses if not hub.is_local(use.model)}


def clients_inputs(session: Session, partition_digest: str) -> Inputs:
    inputs = {**request_inputs(session, partition_digest), "upload": session.config.upload.inputs()}
    out = session.removed_clients
    return {**inputs, "forgotten": out} if out else inputs


def _collect(session: Session, done: Done, digest: str) -> Work[ClientsResult]:
    """Ask every client for its upload and validate what comes back. Refused uploads are listed; the others go on.

    An upload that an earlier, interrupted run has kept is not asked for again."""
    clients = partition.client_ids(session, done)
    federation = session.manager.create("federation", session.config.federation)
    expected, encoding = server_encoding.expectation(session, clients), server_encoding.Encoding(session)
    asked = [name for name in clients if name not in session.removed_clients]
    _drop_others(session, asked)
    request = digest_of(request_inputs(session, done.made(partition.STAGE)))
    answered = {name: found for name in asked if (found := _answered(session, name, request)) is not None}
    manifests, refused = uploads.validated(session, answered, expected, encoding)

    def ask_for_upload(client_id: str) -> bytes:
        private = upload_store.private_folder(session.run, client_id)
        return requests.prepare_request(
            session.config, client_id, requests.ROUND, private, session.device, session.info.digest
        )

    def accept(client_id: str, reply: bytes) -> None:
        uploads.accept(session, reply, expected, client_id, request, encoding)
        manifests[client_id] = _manifest(session, client_id)

    def refuse(client_id: str, error: UploadError) -> None:
        refused[client_id] = refusals.refuse(session, client_id, error)

    left = [name for name in asked if name not in answered]
    if left:
        foundation_models.check_content(session)
    ask(federation, left, requests.PREPARE, ask_for_upload, accept, refuse, session.progress)
    site.release()
    for client_id in refused:  # what it sent for other inputs is not to stand in for what was refused
        upload_store.drop_upload(session.run, client_id)
    tally.check_enough(session, len(manifests), len(asked), refused)
    return tally.summary(session, manifests, refused), _files(session, manifests)


def _ask_again(session: Session, done: Done) -> None:
    """Have clients answer again whose own record of their upload is damaged: only they can write it."""
    for name in partition.client_ids(session, done):
        names = private_folder.damaged(session.run.path("clients", name, "private"))
        if names:
            log.warning(
                "%s: %s in its private folder is damaged or lost: the client is asked again", name, " and ".join(names)
            )
            session.run.remove(upload_store.upload_path(session.run, name).with_suffix(".json"))


def gather_inputs(session: Session, done: Done) -> Inputs:
    """Of uploads that came as files: who may answer, and what has come."""
    clients = partition.client_ids(session, done)
    return {
        "clients": digest_of(sorted(clients)),
        "upload": session.config.upload.inputs(),
        "generator": dict(session.generator.encoding()),
        "round": requests.ROUND,
        "format": upload.VERSION,
        "classes": session.info.class_names,
        "files": _received(session, _known(session, clients)),
        "refused": sorted(refusals.listed(session.run)),
        **session.config.server.inputs(),
    }


def _received(session: Session, kept: Mapping[str, upload_store.UploadManifest | None]) -> dict[str, str | None]:
    """Client → digest of what its upload gives, None where that is damaged or not there."""
    return {**dict.fromkeys(sorted(kept)), **server_encoding.identities(session, kept)}


def _known(session: Session, clients: Sequence[str]) -> dict[str, upload_store.UploadManifest | None]:
    """Client → the manifest of its upload, None where there is none; without those that were taken out."""
    out = set(session.removed_clients)
    return {name: upload_store.kept(session.run, name) for name in clients if name not in out}


def _foreseen(session: Session, inputs: Inputs) -> str:
    """All that is kept has been accepted once; whether a changed configuration still does is seen when it runs."""
    received = inputs["files"]
    assert isinstance(received, dict)
    return digest_of({name: digest for name, digest in received.items() if digest is not None})


def _gather(session: Session, done: Done, digest: str) -> Work[ClientsResult]:
    """What `fgl server ingest` has accepted, judged again by the configuration as it is now. Raises UploadError for one
    that is damaged or gone: only its client has it."""
    clients = partition.client_ids(session, done)
    received = _received(session, _known(session, clients))
    before = (session.run.recorded("clients") or {"value": {"bytes_per_client": {}}})["value"]["bytes_per_client"]
    for name, made in received.items():
        path = upload_store.upload_path(session.run, name)
        if made is None and (path.exists() or path.with_suffix(".json").exists() or name in before):
            raise UploadError(
                f"the upload of {name} is damaged or gone from where it was kept: ingest its file again, or go on "
                f"without it by fgl server forget --client {name}"
            )
    kept = {name: _manifest(session, name) for name, made in received.items() if made is not None}
    expected, encoding = server_encoding.expectation(session, clients), server_encoding.Encoding(session)
    manifests, refused = uploads.validated(session, kept, expected, encoding)
    refused = {**refusals.listed(session.run), **refused}
    tally.check_enough(session, len(manifests), len(received), refused)
    return tally.summary(session, manifests, refused), _files(session, manifests)


def _end_removal(session: Session, done: Done) -> None:
    """Where taking a client out was interrupted."""
    forget.drop(session.run, session.removed_clients)


_GIVEN = ("clients", "server/uploads", "server/refused.json")

STAGE = Stage(
    name="clients",
    needs=("partition",),
    result=ClientsResult,
    enabled=lambda session: not session.remote_clients and not session.config.votes.rounds,
    inputs=lambda session, done: clients_inputs(session, done.made(partition.STAGE)),
    work=_collect,
    made=lambda session, digest, result: result.uploads,
    before=_ask_again,
    outputs=("server/encoded",),
    given=_GIVEN,
    heading=partition.one_shot_heading,
)
"""Asks the clients that are simulated here."""

FROM_FILES = Stage(
    name="clients",
    needs=("partition",),
    result=ClientsResult,
    enabled=lambda session: session.remote_clients and not session.config.votes.rounds,
    inputs=gather_inputs,
    work=_gather,
    made=lambda session, digest, result: result.uploads,
    foreseen=_foreseen,
    before=_end_removal,
    outputs=("server/encoded",),
    given=_GIVEN,
    heading=partition.one_shot_heading,
)
"""Takes what clients that are elsewhere have sent; for later stages it is the same one."""


def _manifest(session: Session, client_id: str) -> upload_store.UploadManifest:
    found = upload_store.manifest_of(session.run, client_id)
    if found is None:
        raise UploadError(f"the manifest of {client_id}'s upload is gone or damaged: run again")
    return found


def _answered(session: Session, client_id: str, request: str) -> upload_store.UploadManifest | None:
    found = upload_store.kept(session.run, client_id)
    return found if found is not None and found.request == request else None


def _files(session: Session, manifests: Mapping[str, object]) -> list[Path]:
    paths = [upload_store.upload_path(session.run, name) for name in sorted(manifests)]
    return [*paths, *(path.with_suffix(".json") for path in paths)]


def _drop_others(session: Session, clients: Sequence[str]) -> None:
    """Remove what an earlier run in this folder left of clients that are not of this one."""
    run = session.run
    there = {path.stem for kind in ("uploads", "encoded") for path in run.owned("server", kind)}
    there |= {folder.root.parent.name for folder in run.nested_below("clients")}
    forget.drop(run, there - set(clients))
