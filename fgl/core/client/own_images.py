"""Which images a client's answers are about, and the ledger of what was answered about them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fgl.core.client.spending import Limit, PrivacyLedger, Protected

if TYPE_CHECKING:
    from fgl.contracts.dataset import ImageSet
    from fgl.core.config.schema import RunConfig


def identity(images: ImageSet) -> Protected:
    """By their decoded pixels alone: labels, names of files and classes, order and format of storage leave no trace,
    so an image is the same under every configuration. Decodes each once. Raises BadImageError."""
    return Protected.of([_digest(images, index) for index in range(len(images))])


def _digest(images: ImageSet, index: int) -> bytes:
    image = images.image(index).convert("RGB")
    return hashlib.sha256(f"{image.width}x{image.height}:".encode() + image.tobytes()).digest()


def ledger_of(asked: Mapping[str, Any], config: RunConfig) -> PrivacyLedger:
    """asked: a request that is allowed (`policy.allowed`), which says where this client keeps its ledger. config: as
    the site resolved it, so that its own limit is in it."""
    return PrivacyLedger(Path(asked["ledger"]), Limit(config.privacy.max_epsilon, config.privacy.delta))
