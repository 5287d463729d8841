"""The built-in codecs keep the contract."""

from __future__ import annotations

from fgl.plugins.codecs.floats import Exact, Half
from fgl.plugins.codecs.int8 import Int8
from fgl.testing.contracts import CodecContract


class TestExact(CodecContract):
    make = staticmethod(Exact)
    tolerance = 0.0


class TestHalf(CodecContract):
    make = staticmethod(Half)
    tolerance = 1e-3


class TestInt8(CodecContract):
    make = staticmethod(Int8)
    tolerance = 0.01
