"""Pictures of candidates: painted from texts, or varied from the pictures of a round before."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from fgl.contracts.generator import PlanItem, SupportsVariation
from fgl.contracts.prompt import Prompt
from fgl.core import voting
from fgl.core.seeds import image_seed
from fgl.core.server import own_upload
from fgl.core.synthesis import fill, plan
from fgl.core.synthesis.plan import image_id

if TYPE_CHECKING:
    from fgl.contracts.aggregator import ClientUpload, Conditioning
    from fgl.contracts.arrays import Pixels
    from fgl.core.server.candidates import Candidate
    from fgl.core.session import Session


def from_texts(
    session: Session, candidates: Sequence[Candidate], label: str
) -> Iterator[tuple[list[int], int, Pixels]]:
    """The pictures of candidates, as their text alone has them.

    Classes that may be any of several names have texts in common, and an encoder may cut two texts to the same: one set
    of pictures serves them all."""
    conditioning, row_of = _encoded(session, candidates)
    holders: dict[int, list[int]] = {}
    for place, one in enumerate(candidates):
        holders.setdefault(row_of[one.text], []).append(place)
    count, options = session.config.votes.pictures, session.config.synthesis
    shards = plan.each_row(conditioning, count, session.config.seed, options.shard_size)
    seen: dict[int, int] = {}
    for item, pixels in fill.images(session, shards, conditioning, label):
        number = seen.get(item.conditioning, 0)
        seen[item.conditioning] = number + 1
        yield holders[item.conditioning], number, pixels


def varied(session: Session, candidates: Sequence[Candidate], before: Pixels, strength: float, label: str) -> Pixels:
    """The pictures of candidates that vary others: uint8 [n, p, h, w, 3]. before: those of the round before."""
    generator = session.generator
    assert isinstance(generator, SupportsVariation)
    conditioning, row_of = _encoded(session, candidates)
    made = np.empty((len(candidates), *before.shape[1:]), dtype=np.uint8)
    items: dict[str, PlanItem] = {}
    places: dict[str, list[tuple[int, int]]] = {}
    for place, one in enumerate(candidates):
        row = row_of[one.text]
        for k in range(before.shape[1]):
            name = image_id(f"{conditioning.ids[row]}/{one.pictures}", k)
            seed, class_id = image_seed(session.config.seed, name), int(conditioning.class_id[row])
            item = PlanItem(name, row, conditioning.ids[row], class_id, "", None, seed)
            items.setdefault(name, item)
            places.setdefault(name, []).append((place, k))

    def original(item: PlanItem) -> Pixels:
        place, k = places[item.image_id][0]
        found: Pixels = before[candidates[place].origin, k]
        return found

    shards = plan.cut(list(items.values()), session.config.synthesis.shard_size)
    synthesizer = generator.varying(session.device, original, strength)
    for item, pixels in fill.images(session, shards, conditioning, label, synthesizer):
        for place, k in places[item.image_id]:
            made[place, k] = pixels
    return made


def _encoded(session: Session, candidates: Sequence[Candidate]) -> tuple[Conditioning, dict[str, int]]:
    """(a row for each text of candidates, text -> its row)."""
    first = {one.text: one.class_id for one in reversed(candidates)}
    prompts = [Prompt(class_id, text) for text, class_id in sorted(first.items())]
    upload = own_upload.of_prompts(session, prompts, session.generator.encoder(session.device))
    aggregator = session.manager.registry.create("aggregator", voting.PLAIN_AGGREGATOR, {})
    conditioning: Conditioning = aggregator.aggregate([upload], session.generator.fingerprint())
    keys = {_key(upload, int(place)): row for row, place in enumerate(conditioning.row)}
    return conditioning, {prompt.text: keys[_key(upload, place)] for place, prompt in enumerate(prompts)}


def _key(upload: ClientUpload, row: int) -> tuple[object, ...]:
    """What makes a row of an upload of the server's own: its class and its arrays."""
    own = (np.asarray(upload.arrays[name][row]).tobytes() for name in upload.arrays if name not in upload.indices)
    return int(upload.class_id[row]), *own
