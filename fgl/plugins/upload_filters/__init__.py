"""What clients do to their uploads before they are sent."""

from __future__ import annotations

from fgl import hookimpl
from fgl.contracts.component import Component


@hookimpl
def fgl_upload_filters() -> list[Component]:
    return [
        Component(
            name="aggregate",
            target="fgl.plugins.upload_filters.aggregate:Aggregate",
            options="fgl.plugins.upload_filters.options:AggregateOptions",
            summary="Run an aggregator at the client: one mean row per class (OSCAR) in place of every caption's.",
            provides=("arrays",),
        ),
        Component(
            name="clip",
            target="fgl.plugins.upload_filters.clip:Clip",
            options="fgl.plugins.upload_filters.options:ClipOptions",
            summary="Scale rows down to a largest L2 norm.",
            provides=("arrays",),
        ),
        Component(
            name="gaussian-noise",
            target="fgl.plugins.upload_filters.gaussian_noise:GaussianNoise",
            options="fgl.plugins.upload_filters.options:GaussianNoiseOptions",
            summary="Differential privacy: clipping and Gaussian noise, recorded in the client's ledger.",
            provides=("arrays", "noise"),
        ),
        Component(
            name="min-samples",
            target="fgl.plugins.upload_filters.min_samples:MinSamples",
            options="fgl.plugins.upload_filters.options:MinSamplesOptions",
            summary="Send nothing of classes of which the client holds only a few samples.",
        ),
    ]
