"""Captions for training: class, domain and measured attributes, in several wordings, with parts dropped at random."""

from __future__ import annotations

import random
from collections.abc import Sequence

from fgl.plugins.prompts.image_attributes import Attributes

NEGATIVE = "low quality, low resolution"
_QUALITY = ("real world images, high resolution", "real world image", "high resolution", "high quality")
_FRAMES = ("{}", "a picture of {}", "an image of {}", "a photo of {}")
_DOMAINS = ("{} style", "{} style", "drawn in the {} style", "{} emoji")


def caption(label: str, domain: str, found: Attributes, rng: random.Random) -> str:
    """One caption of one image. About 6 % say nothing, or only the negative prompt, for guidance to push away from."""
    draw = rng.random()
    if draw < 0.06:
        return "" if draw < 0.03 else NEGATIVE
    # A little less than half name the class alone, as class-level prompts do.
    parts = [] if rng.random() < 0.45 else _attributes(found, rng)
    if domain and rng.random() < 0.7:
        parts.insert(0, rng.choice(_DOMAINS).format(domain))
    if rng.random() < 0.7:
        parts.append(_QUALITY[0] if rng.random() < 0.8 else rng.choice(_QUALITY))
    frame = "{}" if rng.random() < 0.8 else rng.choice(_FRAMES)
    # Now and then the class is not named, so that the attributes have to carry meaning of their own.
    head = [] if parts and rng.random() < 0.04 else [frame.format(label)]
    return ", ".join(head + parts)


def _attributes(found: Attributes, rng: random.Random) -> list[str]:
    colours = list(found.colours)
    words = [" and ".join(colours), found.brightness, found.texture, found.layout]
    # The prompt strategy names all four in this order; dropping and shuffling teaches each alone.
    if rng.random() < 0.4:
        return words
    kept = [word for word in words if rng.random() < 0.6]
    rng.shuffle(kept)
    return kept


def pool(
    labels: Sequence[str], domains: Sequence[str], found: Sequence[Attributes], size: int, seed: int
) -> list[list[str]]:
    """`size` captions for each image."""
    rng = random.Random(seed)
    triples = list(zip(labels, domains, found, strict=True))
    return [[caption(*triple, rng) for _ in range(size)] for triple in triples]
