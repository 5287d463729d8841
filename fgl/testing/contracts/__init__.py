"""What every plugin of a family must hold to, as tests to inherit. Built-ins run the same ones.

    from fgl.testing.contracts import PromptStrategyContract

    class TestMine(PromptStrategyContract):
        make = staticmethod(lambda: Mine(MineOptions()))

Each test builds its plugin with `make()`. Override a fixture to test on data of your own.
"""

from __future__ import annotations

from fgl.testing.contracts.adaptations import AdaptationContract
from fgl.testing.contracts.aggregation_rules import AggregationRuleContract
from fgl.testing.contracts.aggregators import AggregatorContract
from fgl.testing.contracts.algorithms import AlgorithmContract
from fgl.testing.contracts.classifiers import ClassifierContract, ClosedFormContract
from fgl.testing.contracts.codecs import CodecContract
from fgl.testing.contracts.datasets import DatasetContract
from fgl.testing.contracts.executors import ExecutorContract
from fgl.testing.contracts.feature_generators import FeatureGeneratorContract
from fgl.testing.contracts.features import FeatureSpaceContract
from fgl.testing.contracts.federations import FederationContract
from fgl.testing.contracts.generators import GeneratorContract
from fgl.testing.contracts.methods import MethodContract
from fgl.testing.contracts.partitioners import PartitionerContract
from fgl.testing.contracts.prompts import PromptStrategyContract
from fgl.testing.contracts.trackers import TrackerContract
from fgl.testing.contracts.upload_filters import UploadFilterContract
from fgl.testing.data import (
    DrawnImages,
    client_context,
    client_upload,
    encode_by_digest,
    features_context,
    fit_context,
    labelled_arrays,
    labelled_pixels,
)

CONTRACTS = {
    "method": MethodContract,
    "dataset": DatasetContract,
    "partition": PartitionerContract,
    "prompt_strategy": PromptStrategyContract,
    "upload_filter": UploadFilterContract,
    "codec": CodecContract,
    "aggregator": AggregatorContract,
    "generator": GeneratorContract,
    "classifier": ClassifierContract,
    "features": FeatureSpaceContract,
    "algorithm": AlgorithmContract,
    "aggregation_rule": AggregationRuleContract,
    "federation": FederationContract,
    "executor": ExecutorContract,
    "tracker": TrackerContract,
}
"""Configuration key of each plugin family, and the tests that its members must pass."""

__all__ = [
    "CONTRACTS",
    "AdaptationContract",
    "AggregationRuleContract",
    "AggregatorContract",
    "AlgorithmContract",
    "ClassifierContract",
    "ClosedFormContract",
    "CodecContract",
    "DatasetContract",
    "DrawnImages",
    "ExecutorContract",
    "FeatureGeneratorContract",
    "FeatureSpaceContract",
    "FederationContract",
    "GeneratorContract",
    "MethodContract",
    "PartitionerContract",
    "PromptStrategyContract",
    "TrackerContract",
    "UploadFilterContract",
    "client_context",
    "client_upload",
    "encode_by_digest",
    "features_context",
    "fit_context",
    "labelled_arrays",
    "labelled_pixels",
]
