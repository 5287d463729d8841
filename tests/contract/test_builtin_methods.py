"""The built-in methods keep the contract that third parties are tested against."""

from __future__ import annotations

from fgl.plugins.methods.generative import Adapted, Learned, OneShot, Rounds
from fgl.plugins.methods.options import AdaptedOptions, LearnedOptions, RoundsOptions
from fgl.testing.contracts import MethodContract


class TestOneShot(MethodContract):
    make = staticmethod(OneShot)


class TestRounds(MethodContract):
    make = staticmethod(lambda: Rounds(RoundsOptions(rounds=3, server_epochs=0)))


class TestLearned(MethodContract):
    make = staticmethod(lambda: Learned(LearnedOptions(rows_per_class=2, guidance_scale=2.0)))


class TestAdapted(MethodContract):
    make = staticmethod(lambda: Adapted(AdaptedOptions(rounds=2, rank=4)))
