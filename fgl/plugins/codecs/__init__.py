"""Built-in codecs of arrays. The codec text, which sends prompts, is no codec of arrays and is fgl's own."""

from __future__ import annotations

from fgl import hookimpl
from fgl.contracts.component import Component


@hookimpl
def fgl_codecs() -> list[Component]:
    return [
        Component(name="fp16", target="fgl.plugins.codecs.floats:Half", summary="Numbers in 16 bits: the nearest."),
        Component(name="fp32", target="fgl.plugins.codecs.floats:Exact", summary="Numbers in 32 bits: exact."),
        Component(
            name="int8",
            target="fgl.plugins.codecs.int8:Int8",
            summary="Numbers in 8 bits, with a float32 scale for each row and channel.",
        ),
    ]
