"""Seeds derived from the run's: one client's, one image's, one round's."""

from __future__ import annotations

import hashlib


def client_seed(run_seed: int, client_id: str, round_number: int) -> int:
    digest = hashlib.sha256(f"{run_seed}/client/{client_id}/{round_number}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def image_seed(run_seed: int, image: str, draw: int = 0) -> int:
    """Seed of an image's generator, 0 to 2^63 - 1."""
    digest = hashlib.sha256(f"{run_seed}/{image}/{draw}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def round_seed(seed: int, number: int, client: str = "") -> int:
    """A seed for a round, or for a client in a round, below 2^63."""
    return int.from_bytes(hashlib.sha256(f"{seed}/rounds/{number}/{client}".encode()).digest()[:8], "big") >> 1
