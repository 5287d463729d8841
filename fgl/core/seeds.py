"""Seeds derived from the run's: one client's, one image's, one round's. All lie below 2^63."""

from __future__ import annotations

import hashlib


def derive(seed: int, *names: object) -> int:
    """A seed that follows from another one and from names, such as those of a purpose, a client and a round.

    Results of earlier runs rest on it: the text that is hashed and the bits that are kept must not change."""
    text = "/".join(map(str, (seed, *names)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def client_seed(run_seed: int, client_id: str, round_number: int) -> int:
    return derive(run_seed, "client", client_id, round_number)


def filter_seed(run_seed: int, client_id: str, round_number: int, place: int) -> int:
    """Seed of the upload filter at this place of the chain, from 0."""
    digest = hashlib.sha256(f"{run_seed}/client/{client_id}/{round_number}/filter/{place}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def image_seed(run_seed: int, image: str, draw: int = 0) -> int:
    """Seed of an image's generator."""
    return derive(run_seed, image, draw)


def round_seed(seed: int, number: int, client: str = "") -> int:
    """A seed for a round, or for a client in a round."""
    return derive(seed, "rounds", number, client)
