"""What an upload says to whoever has it: the prompts behind its embeddings, by looking them up, and a class histogram.

The attacker has the upload, the generator's text encoder and the run's configuration. It encodes texts of its own and
takes the one whose embedding is nearest. No model is trained for it: vec2text (Morris et al. 2023, arXiv 2310.06816)
inverts texts that are in no dictionary too, so what is found here is a lower bound.

Shape legend: n rows of an upload.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fgl.core.client import private_folder
from fgl.core.privacy import candidates, lookup
from fgl.core.report.audit_figures import AllInversions, ClientInversion, Histogram, UploadInversion
from fgl.core.report.intervals import Share, wilson
from fgl.core.server import upload_store
from fgl.core.server import uploads as server_uploads
from fgl.core.stages import clients, partition
from fgl.core.store.owned import file_digest
from fgl.core.store.typed import from_json, to_json
from fgl.core.wire.codecs import TEXT

if TYPE_CHECKING:
    from fgl.contracts.aggregator import ClientUpload
    from fgl.core.privacy.candidates import CandidateTexts
    from fgl.core.privacy.lookup import LookupResult
    from fgl.core.session import Session
    from fgl.core.stages.stage import Inputs


STAGE = "audit:uploads"


def measure(session: Session) -> UploadInversion:
    """The stage: figures by client, and a table of what was found for each row."""
    uploads = dict(session.run.recorded("clients")["value"])  # type: ignore[index]
    names = list(uploads["bytes_per_client"])

    def work(_: str) -> tuple[Any, list[Path]]:
        opened = server_uploads.opened(session, names)
        codecs = {name: _codec(session, name) for name in names}
        texts = {one.client_id: _true_texts(session, one) for one in opened}
        tried = candidates.candidate_texts(session)
        unread = [one for one in opened if codecs[one.client_id] != TEXT]
        found = lookup.look_up(session, unread, tried) if unread else {}
        table = session.run.path("audit", "private", "inversions.csv")
        session.run.write(table, _table(opened, texts, found))
        held = _held(session)
        clients = {
            one.client_id: _inverted(
                session,
                one,
                codecs[one.client_id],
                texts[one.client_id],
                found.get(one.client_id),
                tried,
                held.get(one.client_id),
            )
            for one in opened
        }
        result = UploadInversion(
            clients=clients,
            all_clients=_together(list(clients.values())),
            dictionary=tried.summary(),
            table=session.run.name_of(table),
            own_arrays=_own_arrays(session) or None,
        )
        return to_json(result), [table]

    value, _ = session.stage(STAGE, inputs_of(session, uploads["uploads"]), work)
    return from_json(UploadInversion, value)


def inputs_of(session: Session, uploads: str) -> Inputs:
    """uploads: digest of who sent what."""
    config, file = session.config, session.config.audit.dictionary
    return {
        "uploads": uploads,
        "encoding": dict(session.generator.encoding()),
        "candidates": config.audit.candidates,
        "dictionary": None if file is None else file_digest(Path(file).expanduser()),
        "prompt_strategy": config.prompt_strategy.model_dump(),
        "classes": session.info.class_names,
        **clients.prompt_names(session),
        "domains": list(session.info.domains),
        "strategies": session.manager.registry.names("prompt_strategy"),
        "partition": None if session.remote_clients else partition.partition_inputs(session),
        "device": session.device_kind,
    }


def _own_arrays(session: Session) -> list[str]:
    """Titles of the strategy and the filters whose arrays stand for no text."""
    config, registry = session.config, session.manager.registry
    chosen = [("prompt_strategy", config.prompt_strategy), *(("upload_filter", one) for one in config.upload.chain())]
    entries = [registry.find(family, one.name) for family, one in chosen]
    return [entry.title for entry in entries if "arrays" in entry.component.provides]


def _codec(session: Session, client_id: str) -> str:
    manifest = upload_store.manifest_of(session.run, client_id)
    return "" if manifest is None else manifest.codec


def _true_texts(session: Session, upload: ClientUpload) -> list[str] | None:
    """What a simulated client kept of its prompts; None where clients are elsewhere. Raises StoreError where it is
    damaged: figures of fewer prompts than there were would understate what was found."""
    if session.remote_clients:
        return None
    found = private_folder.texts(session.run.path("clients", upload.client_id, "private"))
    return found if found is not None and len(found) == len(upload) else None


def _held(session: Session) -> dict[str, list[int]]:
    """Client → its samples of each class; empty where clients are elsewhere."""
    record = session.run.recorded("partition")
    return {} if session.remote_clients or record is None else dict(record["value"]["samples"])


# --- figures --------------------------------------------------------------------------------------------------------


def _inverted(
    session: Session,
    upload: ClientUpload,
    codec: str,
    texts: Sequence[str] | None,
    found: LookupResult | None,
    tried: CandidateTexts,
    held: Sequence[int] | None,
) -> ClientInversion:
    """What one upload says.

    Args:
        session: Of the run.
        upload: What the client sent.
        codec: Of the upload.
        texts: Of the client's rows; None where they are not known.
        found: What was looked up; None where the prompts are what was sent.
        tried: The candidates.
        held: Samples of each class that the client holds; None where that is not known.
    """
    count, names = len(upload), session.info.names_in_prompts
    distinct = None if texts is None else len(set(texts))
    sent = histogram(upload, held, len(names))
    if found is None:
        everything = wilson(count, count)
        return ClientInversion(
            codec=codec,
            rows=count,
            texts=distinct,
            recovered=everything,
            classes=everything,
            findable=count,
            found=distinct,
            cosine=None,
            margin=None,
            histogram=sent,
        )
    named = sum(
        tried.class_of(text) == names[class_id]
        for text, class_id in zip(found.texts, upload.class_id.tolist(), strict=True)
    )
    right: list[str] | None = None
    known: dict[str, bool] = {}
    if texts is not None:
        right = [own for own, other in zip(texts, found.texts, strict=True) if own == other]
        known = {text: tried.has(text) for text in set(texts)}
    return ClientInversion(
        codec=codec,
        rows=count,
        texts=distinct,
        recovered=None if right is None else wilson(len(right), count),
        classes=wilson(named, count),
        findable=None if texts is None else sum(known[text] for text in texts),
        found=None if right is None else len(set(right)),
        cosine=round(float(np.median(found.cosine)), 6),
        margin=round(float(np.median(found.margin)), 6),
        histogram=sent,
    )


def histogram(upload: ClientUpload, held: Sequence[int] | None, classes: int) -> Histogram:
    """What class ids and weights say beside what the client holds, samples a class; held: None where that is not
    known."""
    sent = np.bincount(upload.class_id, upload.weight, minlength=classes)
    distance, exact = None, None
    if held is not None:
        true = np.asarray(held, dtype=np.float64)
        both = sent / sent.sum(), true / max(1.0, true.sum())
        distance = round(float(np.abs(both[0] - both[1]).sum() / 2), 6)
        exact = bool(np.abs(sent - true).max() < 1e-6 * max(1.0, true.max()))
    return Histogram(
        sent=sent.round(6).tolist(),
        named=int((sent > 0).sum()),
        held=None if held is None else [int(one) for one in held],
        distance=distance,
        exact=exact,
        alone=int((upload.weight <= 1 + 1e-9).sum()),
    )


def _together(clients: Sequence[ClientInversion]) -> AllInversions:
    """Over all clients; None of what is not known of one of them."""
    findable = [one.findable for one in clients if one.findable is not None]
    return AllInversions(
        rows=sum(one.rows for one in clients),
        recovered=_summed([one.recovered for one in clients]),
        classes=_summed([one.classes for one in clients]),
        findable=sum(findable) if len(findable) == len(clients) else None,
        alone=sum(one.histogram.alone for one in clients),
    )


def _summed(shares: Sequence[Share | None]) -> Share | None:
    known = [one for one in shares if one is not None]
    if len(known) < len(shares):
        return None
    return wilson(sum(one.count for one in known), sum(one.total for one in known))


def _table(
    uploads: Sequence[ClientUpload], texts: Mapping[str, Sequence[str] | None], found: Mapping[str, LookupResult]
) -> bytes:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(("client", "row", "weight", "text", "found", "cosine", "margin"))
    for one in uploads:
        own, other = texts[one.client_id], found.get(one.client_id)
        for row, weight in enumerate(one.weight.tolist()):
            true = "" if own is None else own[row]
            guess = (
                (true, "", "")
                if other is None
                else (other.texts[row], f"{other.cosine[row]:.6f}", f"{other.margin[row]:.6f}")
            )
            writer.writerow((one.client_id, row, f"{weight:g}", true, *guess))
    return out.getvalue().encode()
