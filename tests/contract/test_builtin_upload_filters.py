"""The built-in upload filters keep the contract."""

from __future__ import annotations

from fgl.plugins.upload_filters.aggregate import Aggregate
from fgl.plugins.upload_filters.clip import Clip
from fgl.plugins.upload_filters.min_samples import MinSamples
from fgl.plugins.upload_filters.options import AggregateOptions, ClipOptions, MinSamplesOptions
from fgl.testing.contracts import UploadFilterContract


class TestAggregate(UploadFilterContract):
    make = staticmethod(lambda: Aggregate(AggregateOptions()))


class TestAggregateUnion(UploadFilterContract):
    make = staticmethod(lambda: Aggregate(AggregateOptions(aggregator="union")))


class TestClip(UploadFilterContract):
    make = staticmethod(lambda: Clip(ClipOptions(max_norm=2.0)))


class TestMinSamples(UploadFilterContract):
    make = staticmethod(lambda: MinSamples(MinSamplesOptions(samples=20)))
