"""Built-in aggregators."""

from __future__ import annotations

from fgl import hookimpl
from fgl.contracts.component import Component


@hookimpl
def fgl_aggregators() -> list[Component]:
    return [
        Component(
            name="union",
            target="fgl.plugins.aggregators.union:Union",
            options="fgl.plugins.aggregators.options:UnionOptions",
            summary="Every client's rows, equal ones once with their weights summed: the paper's aggregation.",
        ),
        Component(
            name="class-mean",
            target="fgl.plugins.aggregators.class_mean:ClassMean",
            options="fgl.plugins.aggregators.options:ClassMeanOptions",
            summary="The weighted mean of each class's rows, over all clients or for each client and domain.",
        ),
    ]
