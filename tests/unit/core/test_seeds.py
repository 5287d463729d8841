"""Seeds are part of the identity of images and rounds: these numbers are those of every version so far."""

from __future__ import annotations

from fgl.core import seeds


def test_seeds_are_those_that_earlier_versions_derived() -> None:
    assert seeds.client_seed(0, "client-00", 1) == 640450575481385945
    assert seeds.image_seed(7, "0f", 2) == 1540430623580509203
    assert seeds.round_seed(3, 4, "client-01") == 8055828774830577475
    assert seeds.round_seed(3, 4) == 2276894229999421207


def test_seeds_for_different_purposes_differ() -> None:
    derived = [seeds.derive(0, "client", name, number) for name in "ab" for number in range(5)]
    assert len({*derived, seeds.derive(1, "client", "a", 0), seeds.derive(0, "rounds", "a", 0)}) == 12
