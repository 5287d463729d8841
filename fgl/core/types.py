"""The place of this in fgl 0.1: every name is in `fgl` now, or in `fgl.contracts`."""

from __future__ import annotations

from fgl.core._moved import moved, names

__getattr__, __dir__ = moved(
    __name__,
    {
        **names("fgl.contracts.component", "API_VERSION API_CHANGES FAMILIES Component"),
        **names("fgl.contracts.options", "", ModelUse="ModelRef"),
        **names("fgl.contracts.arrays", "Array Pixels Labels"),
        **names(
            "fgl.contracts.classifier", "TrainedClassifier TrainingHook Checkpoint FitContext", Which="CheckpointName"
        ),
        **names("fgl.contracts.dataset", "ImageSet Subset DatasetInfo LabelledPixels"),
        **names("fgl.contracts.prompts", "Prompt ClientContext"),
        **names(
            "fgl.contracts.generator", "ArraySpec PlanItem Shard", Declaration="UploadSchema", Painted="ImageBatch"
        ),
        **names("fgl.contracts.aggregator", "Rows ClientUpload Conditioning"),
        **names("fgl.contracts.progress", "Progress Announcing ProgressTask", Silent="NullProgress"),
        **names("fgl.contracts.algorithm", "GlobalState LocalJob LocalUpdate"),
        **names("fgl.contracts.events", "StageContext"),
        **names("fgl.contracts.federation", "", Failure="ClientFailure"),
    },
)
