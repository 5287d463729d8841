"""A plugin that was written for fgl 0.1 still finds what it imports, and is told what to write instead."""

from __future__ import annotations

import importlib
from typing import ClassVar

import numpy as np
import pytest

import fgl
from fgl.contracts.component import Component
from fgl.contracts.generator import ImageBatch
from fgl.contracts.options import Options

# All public names of these modules in fgl 0.1, and what is called otherwise today.
OLD = {
    "types": "API_VERSION API_CHANGES FAMILIES Component ModelUse ImageSet Subset DatasetInfo Prompt ArraySpec "
    "Declaration Rows ClientUpload Conditioning PlanItem Shard LabelledPixels Painted Progress Announcing ProgressTask "
    "Silent TrainedClassifier TrainingHook ClientContext Checkpoint FitContext GlobalState LocalJob LocalUpdate "
    "StageContext Failure Which Array Pixels Labels",
    "contracts": "Dataset Partitioner PromptStrategy Encoder Synthesizer Generator Aggregator Classifier Extractor "
    "FeatureSpace Algorithm Federation Executor",
    "errors": "FGLError Problem ConfigError PolicyError PluginError UnknownPluginError PluginClashError "
    "BrokenPluginError MissingExtraError DataError BadImageError ClassListError PartitionError UploadError "
    "ClientFailedError UploadSizeError UploadFormatError UploadChecksumError UploadSenderError UploadRoundError "
    "UploadReplayError UploadEncoderError UploadClassesError UploadShapeError UploadValueError UploadWeightError "
    "UploadNormError ClientDivergedError KeptLostError TooFewUploadsError ModelError DivergedError StoreError told",
    "options": "is_revision Revision Options",
    "boundary": "simulated is_simulated contained",
    "preparing": "RESAMPLING Preparation square cropped",
    "policy": "Policy at_site split",
    "text": "plain counted line lines markdown fenced html quoted without_secrets first_line kind_and_line escaped "
    "is_unseen",
}
RENAMED = {
    "ModelUse": "ModelRef",
    "Declaration": "UploadSchema",
    "Painted": "ImageBatch",
    "Silent": "NullProgress",
    "Which": "CheckpointName",
    "Failure": "ClientFailure",
    "told": "public_message",
}


@pytest.mark.parametrize(("module", "name"), [(module, name) for module in OLD for name in OLD[module].split()])
def test_an_old_name_is_the_new_thing_and_says_where_it_is(module: str, name: str) -> None:
    old, now = importlib.import_module(f"fgl.core.{module}"), RENAMED.get(name, name)
    with pytest.warns(DeprecationWarning, match=rf"fgl\.core\.{module}\.{name} is fgl[a-z.]*\.{now} since fgl 0.2"):
        value = getattr(old, name)
    assert getattr(value, "__name__", now) in (now, "Annotated", "Literal", "ndarray") or now.isupper()
    if now in fgl.__all__:
        assert value is getattr(fgl, now)


@pytest.mark.parametrize("module", OLD)
def test_what_never_was_there_is_missing(module: str) -> None:
    old = importlib.import_module(f"fgl.core.{module}")
    assert dir(old) == sorted(OLD[module].split())
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        old.nothing  # noqa: B018


def test_old_fields_are_taken_by_their_old_names() -> None:
    with pytest.warns(DeprecationWarning, match="Component.needs=…. is called requires"):
        assert Component("x", "m:X", needs=("domains",)).requires == ("domains",)
    with pytest.warns(DeprecationWarning, match="tied_defaults"):
        assert Component("x", "m:X", bound={"model": ("revision",)}).tied_defaults == {"model": ("revision",)}
    with pytest.warns(DeprecationWarning, match="continuation_defaults"):
        assert Component("x", "m:X", continued={"lr": 1}).continuation_defaults == {"lr": 1}
    with pytest.warns(DeprecationWarning, match="rejected"):
        assert ImageBatch(np.zeros((2, 4, 4, 3), dtype=np.uint8), blanked=(1,)).rejected == (1,)


def test_an_old_class_variable_of_options_is_taken() -> None:
    with pytest.warns(DeprecationWarning, match="fixed_in_rounds"):

        class Old(Options):
            not_in_rounds: ClassVar[dict[str, str]] = {"size": "fixed"}

    assert Old.fixed_in_rounds == {"size": "fixed"}
