"""Built-in executors."""

from __future__ import annotations

from fgl import hookimpl
from fgl.contracts.component import Component


@hookimpl
def fgl_executors() -> list[Component]:
    return [
        Component(
            name="local",
            target="fgl.plugins.executors.local:LocalExecutor",
            summary="shards one after another in this process",
        )
    ]
