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
        ),
        Component(
            name="processes",
            target="fgl.plugins.executors.processes:ProcessesExecutor",
            options="fgl.plugins.executors.options:ProcessesOptions",
            summary="a process on each device, which loads the model once and takes shards as it can",
        ),
    ]
