"""How near synthetic images come to single real ones, beside how near other real images come to them.

Every synthetic image's nearest real image in a stated feature space (`fgl.core.stages.quality` has the spaces), and the
same
for as many images of the test split, which no client holds.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fgl.core.report.audit_figures import BothDistances, Memorization, MemorizationCounts
from fgl.core.report.contact_sheet import sheet
from fgl.core.report.figures import QUANTILES, Space, quantiles_of
from fgl.core.report.intervals import wilson
from fgl.core.stages import features, quality
from fgl.core.stages.stage import Done
from fgl.core.store.typed import from_json, to_json
from fgl.core.synthesis.shards import read_plan
from fgl.errors import DataError

if TYPE_CHECKING:
    from fgl.contracts.arrays import Array, Labels, Pixels
    from fgl.contracts.dataset import LabelledPixels
    from fgl.contracts.features import Extractor
    from fgl.core.report.contact_sheet import Pair
    from fgl.core.session import Session
    from fgl.core.stages.features import FeatureTrainingSplit
    from fgl.core.stages.stage import Inputs


STAGE = "audit:memorization"
_CLOSE = ("p01", "p05")
"""Quantiles of the test images' distances that those of synthetic images are held against."""


def measure(session: Session) -> Memorization:
    """The stage: figures, the distances image by image, and a picture of the closest pairs. The real images are those
    of `evaluation.real`: train, what the clients hold, or public. Raises DataError where nothing can be compared."""
    space = features.chosen(session)
    learnt = features.learnt_on(session, space)
    if learnt is not None:
        features.STAGE.run(session, Done())

    def work(_: str) -> tuple[Any, list[Path]]:
        extractor = features.extractor_of(session, space, features.learnt_state(session))
        planned = read_plan(session.run.plan_file)
        ids, labels, pixels = quality.synthetic_set(session, planned)
        found, near = compare(session, extractor, learnt, labels, pixels)
        table, picture = paths(session)
        session.run.write(table, _table(session, ids, near))
        session.run.write(picture, sheet(*_pairs(session, near, pixels)))
        return to_json(found), [table, picture]

    value, _ = session.stage(STAGE, inputs_of(session, learnt), work)
    return from_json(Memorization, value)


def paths(session: Session) -> tuple[Path, Path]:
    """(distances, picture of the closest pairs). Where the picture shows what clients hold, its name says so."""
    if session.config.evaluation.real == "train":
        private = session.run.path("audit", "private")
        return private / "distances.csv", private / "pairs-with-client-images.png"
    return session.run.path("audit", "distances.csv"), session.run.path("audit", "pairs.png")


def inputs_of(session: Session, learnt: FeatureTrainingSplit | None) -> Inputs:
    config, record = session.config, session.run.recorded("synthesize")
    return {
        "synthetic": None if record is None else record["value"]["digest"],
        "dataset": session.info.digest,
        "space": None if learnt is None else features.space_made(session, learnt),
        "real": config.evaluation.real,
        "features": config.features.model_dump(),
        "seed": config.seed,
        "size": session.image_size,
        "partition": config.partition.model_dump(),
        "closest": config.audit.closest,
        "forgotten": session.removed_clients,
        "device": session.device_kind,
        **session.weights("features"),
    }


class NearestNeighbors:
    """Nearest real images. made, test: distances float64 and positions int64 in the real split, of all synthetic images
    and of the test images `rows`; compared: positions of as many synthetic images, class by class."""

    def __init__(
        self, made: tuple[Array, Labels], test: tuple[Array, Labels], rows: Labels, compared: Labels, labels: Labels
    ) -> None:
        self.made, self.test, self.rows, self.compared, self.labels = made, test, rows, compared, labels

    def closest(self, count: int) -> tuple[Labels, Labels]:
        """Positions of the synthetic images, and of the test images among `rows`, that are nearest to a real one."""
        first, second = (np.argsort(each[0], kind="stable")[:count] for each in (self.made, self.test))
        return first, second


def compare(
    session: Session, space: Extractor, learnt: FeatureTrainingSplit | None, labels: Labels, pixels: Pixels
) -> tuple[Memorization, NearestNeighbors]:
    """Distances of synthetic images (int64 [m], uint8 [m, h, w, 3]) to the nearest real ones, beside those of test
    images: as many of each class. `identical`: how many are their nearest real image, pixel by pixel. `closer`: how
    many are nearer than all but a hundredth, or a twentieth, of the test images; any image is so with that chance."""
    name = session.config.evaluation.real
    real, test = session.pixels(name), session.pixels("test")
    reference = features.measured(session, name, learnt)
    rows, compared = _as_many(test.labels, labels, session.config.seed)
    if not len(reference) or not len(rows):
        raise DataError(
            f"memorization: {len(reference)} real images to come near to, and {len(rows)} test images of the synthetic "
            "images' classes; it takes one of each"
        )
    progress = session.progress
    points = space.features(real.pixels[reference], progress)
    made = space.nearest(space.features(pixels, progress), points)
    held_out = space.nearest(space.features(test.pixels[rows], progress), points)
    near = NearestNeighbors(
        (made[0], reference[made[1]]), (held_out[0], reference[held_out[1]]), rows, compared, labels
    )
    limits = {key: float(np.quantile(held_out[0], QUANTILES[key])) for key in _CLOSE}
    of_class = real.labels[near.made[1]] == labels
    same = (pixels == real.pixels[near.made[1]]).reshape(len(pixels), -1).all(axis=1)
    table, picture = paths(session)
    found = Memorization(
        space=from_json(Space, features.described(session, space, learnt)),
        real=name,
        real_is=features.TITLES[name],
        counts=MemorizationCounts(synthetic=len(labels), compared=len(compared), test=len(rows), real=len(reference)),
        distance=BothDistances(synthetic=quantiles_of(made[0][compared]), test=quantiles_of(held_out[0])),
        closer={key: wilson(int((made[0][compared] < limit).sum()), len(compared)) for key, limit in limits.items()},
        closer_test={key: float((held_out[0] < limit).mean()) for key, limit in limits.items()},
        identical=int(same.sum()),
        same_class=wilson(int(of_class.sum()), len(of_class)),
        table=session.run.name_of(table),
        pairs=session.run.name_of(picture),
    )
    return found, near


def _as_many(test: Labels, made: Labels, seed: int) -> tuple[Labels, Labels]:
    """(positions of test images, of synthetic ones): of each class as many of the one as of the other, by lot."""
    first, second = [np.empty(0, dtype=np.int64)], [np.empty(0, dtype=np.int64)]
    for class_id in np.intersect1d(test, made).tolist():
        draw = np.random.default_rng([seed, class_id, 5])
        both = [draw.permutation(np.flatnonzero(labels == class_id)) for labels in (test, made)]
        count = min(map(len, both))
        first.append(both[0][:count])
        second.append(both[1][:count])
    return np.sort(np.concatenate(first)), np.sort(np.concatenate(second))


def _table(session: Session, ids: Sequence[str], near: NearestNeighbors) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    name, names = session.config.evaluation.real, session.info.class_names
    real, test = session.split(name), session.split("test")
    writer.writerow(("kind", "image", "class", "distance", f"nearest_in_{name}", "its_class"))
    kinds = (
        ("synthetic", ids, near.labels, near.made),
        ("test", near.rows.tolist(), test.labels[near.rows], near.test),
    )
    for kind, images, labels, (distances, positions) in kinds:
        for place in np.argsort(distances, kind="stable").tolist():
            row = int(positions[place])
            own, other = names[int(labels[place])], names[int(real.labels[row])]
            writer.writerow((kind, images[place], own, f"{distances[place]:.6g}", row, other))
    return text.getvalue().encode()


def _pairs(session: Session, near: NearestNeighbors, pixels: Pixels) -> tuple[list[Pair], list[Pair]]:
    """Pairs of a synthetic image and the nearest real one, and of a test image and its nearest: the closest ones."""
    real: LabelledPixels = session.pixels(session.config.evaluation.real)
    test: LabelledPixels = session.pixels("test")
    names = session.info.class_names

    def caption(label: int, distance: float, nearest: int) -> tuple[str, str]:
        own, other = names[label], names[int(real.labels[nearest])]
        return own if own == other else f"{own} / {other}", f"distance {distance:.3g}"

    made, held_out = near.closest(session.config.audit.closest)
    left = []
    for place in made.tolist():
        nearest = int(near.made[1][place])
        words = caption(int(near.labels[place]), float(near.made[0][place]), nearest)
        left.append((pixels[place], real.pixels[nearest], words))
    right = []
    for place in held_out.tolist():
        row, nearest = int(near.rows[place]), int(near.test[1][place])
        words = caption(int(test.labels[row]), float(near.test[0][place]), nearest)
        right.append((test.pixels[row], real.pixels[nearest], words))
    return left, right
