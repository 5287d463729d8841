"""Built-in federated algorithms."""

from __future__ import annotations

from fgl import hookimpl
from fgl.contracts.component import Component

_OPTIONS = "fgl.plugins.algorithms.options"


@hookimpl
def fgl_algorithms() -> list[Component]:
    return [
        Component(
            name="fedavg",
            target="fgl.plugins.algorithms.fedavg:FedAvg",
            options=f"{_OPTIONS}:FedAvgOptions",
            accepts=("noise",),
            summary="average of the clients' models, weighted by sample count (McMahan et al. 2017)",
        ),
        Component(
            name="fedprox",
            target="fgl.plugins.algorithms.fedprox:FedProx",
            options=f"{_OPTIONS}:FedProxOptions",
            accepts=("noise",),
            summary="FedAvg with a pull towards the global model in each local step (Li et al. 2020)",
        ),
        Component(
            name="scaffold",
            target="fgl.plugins.algorithms.scaffold:Scaffold",
            options=f"{_OPTIONS}:ScaffoldOptions",
            summary="local gradients corrected by control variates (Karimireddy et al. 2020)",
        ),
        Component(
            name="fedadam",
            target="fgl.plugins.algorithms.fedadam:FedAdam",
            options=f"{_OPTIONS}:FedAdamOptions",
            accepts=("noise",),
            summary="Adam at the server on the clients' averaged change (Reddi et al. 2021)",
        ),
    ]
