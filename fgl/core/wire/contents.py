"""What is in an upload, the update of a round, the answer to a probe and a vote, in words: kinds of `wire.kinds`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from fgl.contracts.dataset import CLIENT_ID
from fgl.core.wire import ballots, container, disclosure, probe_files, replies, updates, upload
from fgl.core.wire.kinds import Contents, FileKind
from fgl.core.wire.signatures import Place
from fgl.errors import UploadFormatError, UploadSizeError
from fgl.io import strict_json
from fgl.text import counted, quoted

if TYPE_CHECKING:
    from fgl.contracts.codec import Codec

_ANY = 10**9  # more images than any client has


def _upload(data: bytes, class_names: Sequence[str] | None, known: Mapping[str, Codec] | None) -> Contents:
    said, rows = disclosure.opened(data, class_names, known)
    arrays = [one.name for one in said.fields if one.name in said.codec_error]
    what = "prompts as text" if said.codec == "text" else f"numbers for each row ({', '.join(arrays)}; {said.codec})"
    named = {one.class_id: one.name or f"number {one.class_id}" for one in said.classes}
    says = [
        f"{counted(said.rows, 'row')}: {what}",
        f"how many images each row stands for, and of which class: {len(said.classes)} classes are named, so that the "
        "file holds the number of images of each",
    ]
    if said.domains:
        says.append(f"names of {len(said.domains)} domains, as they are")
    return Contents(
        place=Place(kind="upload", run=said.run_id, client_id=said.client_id, round=said.round),
        says=says,
        codec=said.codec,
        images=rows.weight.tolist(),
        groups={
            **{f"images of class {named[one.class_id]}": one.samples for one in said.classes},
            **{f"images of domain {name}": count for name, count in said.domains.items()},
        },
        texts=[*said.texts, *said.negative_texts],
        names=list(said.domains),
        upload=rows,
    )


def _update(data: bytes, class_names: Sequence[str] | None, known: Mapping[str, Codec] | None) -> Contents:
    header, status, model, extra = updates.described(data)
    place = Place(kind="update", run=header.run, client_id=header.client_id, round=header.round)
    if re.fullmatch(CLIENT_ID, header.client_id) is None:
        raise UploadFormatError(f"refused: client_id is {quoted(header.client_id)}")
    if status != updates.DONE:
        return Contents(place=place, says=[f"no model: the client states {status!r}"])
    numbers = sum(array.size for array in model.values())
    says = [
        f"a model of {len(model)} arrays and {numbers:,} numbers, trained on {counted(header.samples, 'image')}: "
        "from such updates images can be reconstructed in part, and whether one was trained on can be guessed",
        f"the number of images it was trained on, and the mean loss on them, {header.loss:.4g}",
    ]
    if extra:
        says.append(f"{len(extra)} arrays that the algorithm sends beside it")
    return Contents(place=place, says=says, groups={"images that the model was trained on": float(header.samples)})


def _probe(data: bytes, class_names: Sequence[str] | None, known: Mapping[str, Codec] | None) -> Contents:
    if len(data) > replies.MAX_REPLY:
        raise UploadSizeError(f"refused: a reply of {len(data)} bytes; the cap is {replies.MAX_REPLY}")
    stated = container.parse(data)
    run, request, client_id, classes = (stated.get(key) for key in ("run", "request", "client_id", "per_class"))
    if not isinstance(run, str) or len(run) > 100 or not isinstance(request, str) or not isinstance(classes, dict):
        raise UploadFormatError("refused: not an answer as fgl client probe writes it")
    if not isinstance(client_id, str) or re.fullmatch(CLIENT_ID, client_id) is None:
        raise UploadFormatError(f"refused: client_id is {quoted(client_id)}")
    rest = {key: value for key, value in stated.items() if key not in ("run", "request")}
    scores = replies.validate_scores(
        strict_json.dumps(rest).encode(), client_id, list(classes) or [""], _ANY
    )  # too few images for a class of their own
    says = [
        f"scores of pictures beside {counted(scores.reference, 'image')}: how near they lie, and how many images are "
        "told apart by them; no image and no features of one",
        f"how many images and pictures were compared ({scores.reference}, {scores.compared})",
    ]
    if scores.per_class:
        says.append(f"the same scores for each of {len(scores.per_class)} classes, named")
    return Contents(
        place=Place(kind="probe", run=run, client_id=client_id, round=0),
        says=says,
        groups={"images that the scores are of": float(scores.reference)},
    )


def _vote(data: bytes, class_names: Sequence[str] | None, known: Mapping[str, Codec] | None) -> Contents:
    stated = ballots.stated_in(data)
    votes = stated.votes.tolist()
    exact = all(one >= 0 and one.is_integer() for one in votes)  # whatever it states
    what = (
        "how many images are nearest to it, exactly: there is no noise on them"
        if exact
        else f"how many images are nearest to it, scaled or {stated.noise}: the ledger says what that costs"
    )
    return Contents(
        place=Place(kind="vote", run=stated.run, client_id=stated.client_id, round=stated.round),
        says=[f"{counted(len(votes), 'number')}, one for each candidate of a ballot: {what}"],
        groups={
            f"images that are nearest to candidate {row}": one for row, one in enumerate(votes) if exact and one > 0
        },
        blurred=not exact,
    )


def _is(format_: str, stated: Mapping[str, object]) -> bool:
    return stated.get("format") == format_


UPLOAD = FileKind(lambda stated: _is(upload.FORMAT, stated), _upload)
UPDATE = FileKind(lambda stated: _is(updates.FORMAT, stated), _update)
VOTE = FileKind(lambda stated: _is(ballots.VOTE, stated), _vote)
PROBE = FileKind(lambda stated: set(stated) >= probe_files.ANSWER, _probe)
