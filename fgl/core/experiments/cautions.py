"""Warnings about data that can be read: worth a look before a run, but none of them prevents it."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from fgl.core.encoding import doubtful_names
from fgl.core.store.typed import json_field
from fgl.text import escaped

if TYPE_CHECKING:
    from PIL import Image

    from fgl.contracts.dataset import DatasetInfo, ImageSet


_SKEW = 5
"""Ratio of the largest class to the smallest from which a warning is given."""
_FEW = {"train": 10, "test": 20}
"""Images of a class below which a warning is given."""
_SHOWN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitCounts:
    """Images of a split."""

    images: int
    """How many there are."""
    by_class: dict[str, int]
    """Class → its images; 0 where it has none."""
    by_domain: dict[str, dict[str, int]] | None = json_field(omit_none=True)
    """Domain → class → images; not there where the split has no domains."""


class Place(NamedTuple):
    split: str
    label: int
    sample: int


@dataclass
class Twins:
    """Images with identical pixels, collected as they are read."""

    places: defaultdict[bytes, list[Place]] = field(default_factory=lambda: defaultdict(list))

    def add(self, image: Image.Image, split: str, label: int, sample: int) -> None:
        digest = hashlib.blake2b(f"{image.width} {image.height} ".encode(), digest_size=16)
        digest.update(image.tobytes())
        self.places[digest.digest()].append(Place(split, label, sample))

    def cautions(self, splits: Mapping[str, ImageSet], class_names: Sequence[str]) -> list[str]:
        several = [places for places in self.places.values() if len(places) > 1]

        def name(place: Place) -> str:
            return splits[place.split].name(place.sample)

        warnings = []
        for split, other in (("train", "test"), ("public", "train"), ("public", "test")):
            both = [places for places in several if {split, other} <= {place.split for place in places}]
            if both:
                count = sum(place.split == other for places in both for place in places)
                first, second = (next(name(p) for p in both[0] if p.split == which) for which in (other, split))
                why = ": what is tested on them is memory; remove them from one" if other == "test" else ""
                many = _many(count, f"{other} image")
                warnings.append(f"{many} in {split} too, pixel by pixel, such as {first} = {second}{why}")
        for split in ("train", "test"):
            groups = [group for places in several if len(group := [p for p in places if p.split == split]) > 1]
            if groups:
                extra = sum(len(group) - 1 for group in groups)
                example = f"{name(groups[0][0])} = {name(groups[0][1])}"
                warnings.append(f"{_many(extra, 'image')} of {split} there more than once, such as {example}")
        crossed = [places for places in several if len({place.label for place in places}) > 1]
        if crossed:
            a = crossed[0][0]
            b = next(place for place in crossed[0] if place.label != a.label)
            example = " = ".join(f"{name(place)} ('{escaped(class_names[place.label])}')" for place in (a, b))
            warnings.append(f"{_many(len(crossed), 'image')} in several classes, such as {example}")
        return warnings


def cautions(
    info: DatasetInfo, splits: Mapping[str, ImageSet], counts: Mapping[str, SplitCounts], twins: Twins
) -> list[str]:
    """counts: of each split."""
    warnings = [*info.notes, *_counts(counts), *twins.cautions(splits, info.class_names)]
    doubtful = doubtful_names(info)
    return [*warnings, doubtful] if doubtful else warnings


def suggest_domains(info: DatasetInfo) -> str:
    """A hint for data whose partition nobody has chosen; "" where it has no domains."""
    if len(info.domains) < 2:
        return ""
    shown = ", ".join(map(escaped, info.domains[:_SHOWN])) + (", …" if len(info.domains) > _SHOWN else "")
    return f"this data has {len(info.domains)} domains ({shown}): --partition domain makes each a client"


def _counts(splits: Mapping[str, SplitCounts]) -> list[str]:
    warnings = []
    by_class = {split: counts.by_class for split, counts in splits.items()}
    held = {name: count for name, count in by_class.get("train", {}).items() if count}
    if held:
        most, least = max(held, key=lambda name: held[name]), min(held, key=lambda name: held[name])
        if held[most] >= _SKEW * held[least]:
            share = held[most] / sum(held.values())
            warnings.append(
                f"classes are out of balance: '{escaped(most)}' has {held[most] / held[least]:,.0f} times the training "
                f"images of '{escaped(least)}' ({held[most]:,} and {held[least]:,}); whoever always guesses "
                f"'{escaped(most)}' is right in {share:.0%} of them, so look at the accuracy of each class"
            )
    for split, least_wanted in _FEW.items():
        few = {name: count for name, count in by_class.get(split, {}).items() if 0 < count < least_wanted}
        if few:
            shown = ", ".join(f"'{escaped(name)}' {count}" for name, count in list(few.items())[:_SHOWN])
            why = (
                "one image moves a class's accuracy by 5 points or more" if split == "test" else "a client holds fewer"
            )
            warnings.append(
                f"{_many(len(few), 'class', 'classes')} with fewer than {least_wanted} {split} images: {shown}"
                f"{', …' if len(few) > _SHOWN else ''}; {why}"
            )
    return warnings


def _many(count: int, singular: str, plural: str = "") -> str:
    return f"{count:,} {singular if count == 1 else plural or singular + 's'}"


__all__ = ["SplitCounts", "Twins", "cautions", "suggest_domains"]
