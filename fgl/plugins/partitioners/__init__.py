"""Built-in partitioners. Light: nothing here imports numpy."""

from __future__ import annotations

from fgl import hookimpl
from fgl.contracts.component import Component


@hookimpl
def fgl_partitioners() -> list[Component]:
    return [
        Component(
            name="iid",
            target="fgl.plugins.partitioners.iid:IID",
            options="fgl.plugins.partitioners.options:IIDOptions",
            summary="shuffled, then cut into equal parts",
        ),
        Component(
            name="dirichlet",
            target="fgl.plugins.partitioners.dirichlet:Dirichlet",
            options="fgl.plugins.partitioners.options:DirichletOptions",
            summary="skewed classes: each class is divided in Dirichlet(beta) shares (Li et al. 2022)",
        ),
        Component(
            name="domain",
            target="fgl.plugins.partitioners.domain:DomainPartitioner",
            options="fgl.plugins.partitioners.options:DomainOptions",
            summary="one client per domain, or several of equal size",
            requires=("domains",),
        ),
        Component(
            name="listed",
            target="fgl.plugins.partitioners.listed:ListedPartitioner",
            options="fgl.plugins.partitioners.options:ListedOptions",
            summary="assignment from a JSON file, such as the partition.json of a run",
        ),
    ]
