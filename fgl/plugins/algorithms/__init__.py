"""Built-in federated algorithms."""

from __future__ import annotations

from fgl.core.hookspecs import hookimpl
from fgl.core.types import Component


@hookimpl
def fgl_algorithms() -> list[Component]:
    return [
        Component(
            name="fedavg",
            target="fgl.plugins.algorithms.averaging:FedAvg",
            options="fgl.plugins.algorithms.options:FedAvgOptions",
            summary="average of the clients' models, weighted by sample count (McMahan et al. 2017)",
        )
    ]
