"""fgl: federated generative learning as a plugin framework.

Clients turn labelled images into prompt embeddings and upload only those; a server synthesizes a labelled training
set from them with a diffusion model and trains a classifier on it. `fgl.run(config)` is the whole method, and there are
functions for the other commands (`fgl.api`).

A plugin's author imports everything from here: `from fgl import hookimpl, Component, Options, Prompt, ClientContext`.
Names are loaded when they are first used, so that `import fgl` stays light; docs/plugins.md has what they are for.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if os.name != "posix":  # locks, atomic renames and modes of files are POSIX's
    raise ImportError(f"fgl runs on POSIX systems (Linux, macOS, WSL), and this is {os.name!r}")

from fgl import _environment
from fgl.contracts.component import Component
from fgl.core.hookspecs import hookimpl
from fgl.errors import FGLError

if TYPE_CHECKING:
    from fgl.api import adapt, audit, compare, partition, probe, quality, resume, run
    from fgl.contracts.adaptation import (
        Adaptation,
        AdaptContext,
        Adapted,
        AdapterSpec,
        CaptionedImages,
        SupportsAdaptation,
    )
    from fgl.contracts.aggregation_rule import AggregationRule, Ruling
    from fgl.contracts.aggregator import Aggregator, ClientUpload, Conditioning, Rows
    from fgl.contracts.algorithm import Algorithm, GlobalState, LocalJob, LocalUpdate
    from fgl.contracts.arrays import Array, Labels, Pixels
    from fgl.contracts.boundary import simulated
    from fgl.contracts.classifier import (
        Checkpoint,
        CheckpointName,
        Classifier,
        FitContext,
        SupportsFeatures,
        SupportsLogits,
        SupportsPreparation,
        TrainedClassifier,
        TrainingHook,
    )
    from fgl.contracts.codec import Codec, SupportsBoundCheck
    from fgl.contracts.dataset import Dataset, DatasetInfo, ImageSet, LabelledPixels, Partitioner, Subset, SupportsKinds
    from fgl.contracts.events import RunContext, StageContext
    from fgl.contracts.executor import Executor, ShardJob, SupportsUsage, fill_shard, fill_shards
    from fgl.contracts.features import Extractor, FeatureSpace
    from fgl.contracts.federation import ClientFailure, Federation
    from fgl.contracts.generator import (
        ArraySpec,
        Denoiser,
        Encoder,
        Footprint,
        Generator,
        ImageBatch,
        PlanItem,
        Shard,
        SupportsDenoiser,
        SupportsFootprint,
        SupportsVariation,
        SupportsWordVectors,
        Synthesizer,
        UploadSchema,
        WordVectors,
    )
    from fgl.contracts.method import Method
    from fgl.contracts.options import ModelRef, Options
    from fgl.contracts.preparation import Preparation
    from fgl.contracts.product import ArrayBatch, ImageFeatures, LabelledArrays, Product, SupportsProduct
    from fgl.contracts.progress import NullProgress, Progress, ProgressTask
    from fgl.contracts.prompts import (
        ClientContext,
        Encoded,
        Grammar,
        Prepared,
        Prompt,
        PromptStrategy,
        SupportsCheck,
        SupportsGrammar,
        SupportsTexts,
    )
    from fgl.contracts.tasks import answer_task
    from fgl.contracts.tracker import Event, Tracker
    from fgl.contracts.upload_filter import FilterContext, UploadFilter
    from fgl.core.client.policy import at_site
    from fgl.core.client.site_policy import site_policy
    from fgl.core.creating import create, options_of
    from fgl.errors import (
        BadImageError,
        BrokenPluginError,
        ClassListError,
        ConfigError,
        DataError,
        DivergedError,
        ModelError,
        PartitionError,
        PluginError,
        PolicyError,
        Problem,
        StoreError,
        UploadError,
    )
    from fgl.plugins.datasets.decode import load_image

__version__ = "0.2.0"
__all__ = [
    "AdaptContext",
    "Adaptation",
    "Adapted",
    "AdapterSpec",
    "AggregationRule",
    "Aggregator",
    "Algorithm",
    "Array",
    "ArrayBatch",
    "ArraySpec",
    "BadImageError",
    "BrokenPluginError",
    "CaptionedImages",
    "Checkpoint",
    "CheckpointName",
    "ClassListError",
    "Classifier",
    "ClientContext",
    "ClientFailure",
    "ClientUpload",
    "Codec",
    "Component",
    "Conditioning",
    "ConfigError",
    "DataError",
    "Dataset",
    "DatasetInfo",
    "Denoiser",
    "DivergedError",
    "Encoded",
    "Encoder",
    "Event",
    "Executor",
    "Extractor",
    "FGLError",
    "FeatureSpace",
    "Federation",
    "FilterContext",
    "FitContext",
    "Footprint",
    "Generator",
    "GlobalState",
    "Grammar",
    "ImageBatch",
    "ImageFeatures",
    "ImageSet",
    "LabelledArrays",
    "LabelledPixels",
    "Labels",
    "LocalJob",
    "LocalUpdate",
    "Method",
    "ModelError",
    "ModelRef",
    "NullProgress",
    "Options",
    "PartitionError",
    "Partitioner",
    "Pixels",
    "PlanItem",
    "PluginError",
    "PolicyError",
    "Preparation",
    "Prepared",
    "Problem",
    "Product",
    "Progress",
    "ProgressTask",
    "Prompt",
    "PromptStrategy",
    "Rows",
    "Ruling",
    "RunContext",
    "Shard",
    "ShardJob",
    "StageContext",
    "StoreError",
    "Subset",
    "SupportsAdaptation",
    "SupportsBoundCheck",
    "SupportsCheck",
    "SupportsDenoiser",
    "SupportsFeatures",
    "SupportsFootprint",
    "SupportsGrammar",
    "SupportsKinds",
    "SupportsLogits",
    "SupportsPreparation",
    "SupportsProduct",
    "SupportsTexts",
    "SupportsUsage",
    "SupportsVariation",
    "SupportsWordVectors",
    "Synthesizer",
    "Tracker",
    "TrainedClassifier",
    "TrainingHook",
    "UploadError",
    "UploadFilter",
    "UploadSchema",
    "WordVectors",
    "__version__",
    "adapt",
    "answer_task",
    "at_site",
    "audit",
    "compare",
    "create",
    "fill_shard",
    "fill_shards",
    "hookimpl",
    "load_image",
    "options_of",
    "partition",
    "probe",
    "quality",
    "resume",
    "run",
    "simulated",
    "site_policy",
]

_environment.mend()

_HOMES = {
    "fgl.api": ("adapt", "audit", "compare", "partition", "probe", "quality", "resume", "run"),
    "fgl.contracts.adaptation": (
        "AdaptContext",
        "Adaptation",
        "Adapted",
        "AdapterSpec",
        "CaptionedImages",
        "SupportsAdaptation",
    ),
    "fgl.contracts.boundary": ("simulated",),
    "fgl.contracts.tasks": ("answer_task",),
    "fgl.core.client.policy": ("at_site",),
    "fgl.core.client.site_policy": ("site_policy",),
    "fgl.contracts.aggregation_rule": ("AggregationRule", "Ruling"),
    "fgl.contracts.aggregator": ("Aggregator", "ClientUpload", "Conditioning", "Rows"),
    "fgl.contracts.algorithm": ("Algorithm", "GlobalState", "LocalJob", "LocalUpdate"),
    "fgl.contracts.arrays": ("Array", "Labels", "Pixels"),
    "fgl.contracts.classifier": (
        "Checkpoint",
        "CheckpointName",
        "Classifier",
        "FitContext",
        "TrainedClassifier",
        "TrainingHook",
        "SupportsFeatures",
        "SupportsLogits",
        "SupportsPreparation",
    ),
    "fgl.contracts.codec": ("Codec", "SupportsBoundCheck"),
    "fgl.contracts.dataset": (
        "Dataset",
        "DatasetInfo",
        "ImageSet",
        "LabelledPixels",
        "Partitioner",
        "Subset",
        "SupportsKinds",
    ),
    "fgl.contracts.events": ("RunContext", "StageContext"),
    "fgl.contracts.features": ("Extractor", "FeatureSpace"),
    "fgl.contracts.executor": ("Executor", "ShardJob", "SupportsUsage", "fill_shard", "fill_shards"),
    "fgl.contracts.federation": ("ClientFailure", "Federation"),
    "fgl.contracts.generator": (
        "ArraySpec",
        "Denoiser",
        "Encoder",
        "Footprint",
        "Generator",
        "ImageBatch",
        "PlanItem",
        "Shard",
        "SupportsDenoiser",
        "SupportsFootprint",
        "SupportsVariation",
        "SupportsWordVectors",
        "Synthesizer",
        "UploadSchema",
        "WordVectors",
    ),
    "fgl.contracts.method": ("Method",),
    "fgl.contracts.options": ("ModelRef", "Options"),
    "fgl.contracts.preparation": ("Preparation",),
    "fgl.contracts.product": ("ArrayBatch", "ImageFeatures", "LabelledArrays", "Product", "SupportsProduct"),
    "fgl.contracts.progress": ("NullProgress", "Progress", "ProgressTask"),
    "fgl.contracts.prompts": (
        "ClientContext",
        "Encoded",
        "Grammar",
        "Prepared",
        "Prompt",
        "PromptStrategy",
        "SupportsCheck",
        "SupportsGrammar",
        "SupportsTexts",
    ),
    "fgl.contracts.tracker": ("Event", "Tracker"),
    "fgl.contracts.upload_filter": ("FilterContext", "UploadFilter"),
    "fgl.core.creating": ("create", "options_of"),
    "fgl.errors": (
        "BadImageError",
        "BrokenPluginError",
        "ClassListError",
        "ConfigError",
        "DataError",
        "DivergedError",
        "ModelError",
        "PartitionError",
        "PluginError",
        "PolicyError",
        "Problem",
        "StoreError",
        "UploadError",
    ),
    "fgl.plugins.datasets.decode": ("load_image",),
}
"""Module → the public names that are imported from it when they are first used."""
_LAZY = {name: module for module, names in _HOMES.items() for name in names}


if not TYPE_CHECKING:  # else mypy takes any name for one that is there

    def __getattr__(name: str) -> Any:
        if name in _LAZY:
            from importlib import import_module

            value = globals()[name] = getattr(import_module(_LAZY[name]), name)
            return value
        raise AttributeError(f"module 'fgl' has no attribute {name!r}")

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
