"""The place of this in fgl 0.1: every name is in `fgl` now, or in `fgl.contracts`."""

from __future__ import annotations

from fgl.core._moved import moved, names

__getattr__, __dir__ = moved(
    __name__,
    {
        **names("fgl.contracts.dataset", "Dataset Partitioner"),
        **names("fgl.contracts.prompts", "PromptStrategy"),
        **names("fgl.contracts.generator", "Encoder Synthesizer Generator"),
        **names("fgl.contracts.aggregator", "Aggregator"),
        **names("fgl.contracts.classifier", "Classifier"),
        **names("fgl.contracts.features", "Extractor FeatureSpace"),
        **names("fgl.contracts.algorithm", "Algorithm"),
        **names("fgl.contracts.federation", "Federation"),
        **names("fgl.contracts.executor", "Executor"),
    },
)
