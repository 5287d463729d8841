"""The built-in aggregation rules keep the contract that third parties are tested against."""

from __future__ import annotations

from fgl.plugins.aggregation_rules.coordinates import Median, TrimmedMean
from fgl.plugins.aggregation_rules.krum import Krum
from fgl.plugins.aggregation_rules.mean import Mean
from fgl.plugins.aggregation_rules.norm_clip import NormClip
from fgl.plugins.aggregation_rules.options import KrumOptions, NormClipOptions, TrimmedMeanOptions
from fgl.testing.contracts import AggregationRuleContract


class TestMean(AggregationRuleContract):
    make = staticmethod(Mean)


class TestMedian(AggregationRuleContract):
    make = staticmethod(Median)


class TestTrimmedMean(AggregationRuleContract):
    make = staticmethod(lambda: TrimmedMean(TrimmedMeanOptions(trim=2)))


class TestKrum(AggregationRuleContract):
    make = staticmethod(lambda: Krum(KrumOptions(hostile=2)))


class TestMultiKrum(AggregationRuleContract):
    make = staticmethod(lambda: Krum(KrumOptions(hostile=2, keep=5)))


class TestNormClip(AggregationRuleContract):
    make = staticmethod(lambda: NormClip(NormClipOptions()))
