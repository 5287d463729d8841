"""What methods of plugins may return, beyond its class: checked where it enters, one function a method.

Each check gets what was returned and its call, and returns the value to go on with; `WrongValueError` becomes a
BrokenPluginError that names the plugin and the method. Numbers of numpy are taken for Python's everywhere. Built-in
components are not checked here: their contract tests do it.
"""

from __future__ import annotations

from collections.abc import Mapping

from fgl.core.returned import data, training, uploads, values
from fgl.core.returned.values import Check

CHECKS: Mapping[str, Check] = {
    "Dataset.info": data.info,
    "ImageSet.labels": data.labels,
    "ImageSet.domains": data.domains,
    "ImageSet.image": data.image,
    "Partitioner.partition": data.partition,
    "Aggregator.aggregate": uploads.conditioning,
    "Generator.declare": uploads.declared,
    "Generator.fingerprint": values.a_text,
    "Generator.encoding": values.identity_json,
    "Generator.rounding": values.identity_json,
    "Generator.describe": values.report_json,
    "Encoder.encode": uploads.encoded,
    "Encoder.truncated": uploads.truncated,
    "Synthesizer.notes": values.report_json,
    "Classifier.fit": training.classes_known,
    "Classifier.initial": training.classes_known,
    "Classifier.restore": training.classes_known,
    "TrainedClassifier.predict": training.predicted,
    "TrainedClassifier.state": values.a_state,
    "TrainedClassifier.trained": training.trained,
    "TrainedClassifier.history": training.history,
    "TrainedClassifier.size_bytes": training.size,
    "TrainedClassifier.save": training.saved,
    "SupportsLogits.logits": training.logits,
    "SupportsFeatures.features": training.features,
    "FeatureSpace.learn": values.a_state,
    "Extractor.describe": values.report_json,
    "Extractor.features": training.features,
    "Extractor.nearest": training.nearest,
    "Extractor.compare": values.report_json,
    "Algorithm.start": training.started,
    "Algorithm.broadcast": values.a_state,
    "Algorithm.local": training.updated,
    "Algorithm.reply": training.replied,
    "Algorithm.aggregate": training.aggregated,
    "AggregationRule.apply": training.ruled,
    "Federation.call": training.answers,
    "Executor.device": values.a_text,
    "Executor.environment": values.report_json,
    "SupportsUsage.usage": values.report_json,
}
"""Protocol.method → the check of what it returns."""
