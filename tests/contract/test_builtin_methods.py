"""The built-in methods keep the contract that third parties are tested against."""

from __future__ import annotations

from fgl.plugins.methods.generative import Learned, OneShot, Rounds
from fgl.plugins.methods.options import LearnedOptions, RoundsOptions
from fgl.testing.contracts import MethodContract


class TestOneShot(MethodContract):
    make = staticmethod(OneShot)


class TestRounds(MethodContract):
    make = staticmethod(lambda: Rounds(RoundsOptions(rounds=3, server_epochs=0)))


class TestLearned(MethodContract):
    make = staticmethod(lambda: Learned(LearnedOptions(rows_per_class=2, guidance_scale=2.0)))
