"""Built-in executors."""

from __future__ import annotations

from fgl.core.hookspecs import hookimpl
from fgl.core.types import Component


@hookimpl
def fgl_executors() -> list[Component]:
    return [
        Component(
            name="local",
            target="fgl.plugins.executors.local:Local",
            summary="shards one after another in this process",
        )
    ]
