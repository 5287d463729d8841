"""Built-in aggregation rules: what a few hostile updates of a round can do to the result."""

from __future__ import annotations

from fgl import hookimpl
from fgl.contracts.component import Component

_OPTIONS = "fgl.plugins.aggregation_rules.options"


@hookimpl
def fgl_aggregation_rules() -> list[Component]:
    return [
        Component(
            name="mean",
            target="fgl.plugins.aggregation_rules.mean:Mean",
            summary="updates as they are: the algorithm's own average, which one hostile client can move anywhere",
        ),
        Component(
            name="median",
            target="fgl.plugins.aggregation_rules.coordinates:Median",
            summary="median of each number, whatever the clients' weights (Yin et al. 2018)",
        ),
        Component(
            name="trimmed-mean",
            target="fgl.plugins.aggregation_rules.coordinates:TrimmedMean",
            options=f"{_OPTIONS}:TrimmedMeanOptions",
            summary="mean of each number without the largest and smallest ones, unweighted (Yin et al. 2018)",
        ),
        Component(
            name="krum",
            target="fgl.plugins.aggregation_rules.krum:Krum",
            options=f"{_OPTIONS}:KrumOptions",
            summary="the update, or mean of several, that lies nearest to most others (Blanchard et al. 2017)",
        ),
        Component(
            name="norm-clip",
            target="fgl.plugins.aggregation_rules.norm_clip:NormClip",
            options=f"{_OPTIONS}:NormClipOptions",
            summary="updates scaled down to a norm, then averaged by the algorithm's weights (Sun et al. 2019)",
        ),
    ]
