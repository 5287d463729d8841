"""The built-in methods keep the contract that third parties are tested against."""

from __future__ import annotations

from fgl.plugins.methods.generative import OneShot, Rounds
from fgl.plugins.methods.options import RoundsOptions
from fgl.testing.contracts import MethodContract


class TestOneShot(MethodContract):
    make = staticmethod(OneShot)


class TestRounds(MethodContract):
    make = staticmethod(lambda: Rounds(RoundsOptions(rounds=3, server_epochs=0)))
