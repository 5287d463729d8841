"""Classifiers that break one promise each: a sound one of one layer, with other members."""

from __future__ import annotations

import json
import random
from dataclasses import replace

import numpy as np

from fgl.contracts.preparation import Preparation
from fgl.errors import ModelError
from fgl.plugins.classifiers.classifier import TransformersClassifier
from fgl.plugins.classifiers.options import ClassifierOptions
from fgl.testing.contracts import ClassifierContract

# Eight channels: with fewer, torch 2.13 on AVX2 writes beyond its memory in a 1x1 convolution of stride 2
# (channels_last).
OPTIONS = ClassifierOptions(
    architecture="regnet",
    config={"embedding_size": 8, "hidden_sizes": [8], "depths": [1], "groups_width": 8, "layer_type": "x"},
    image_size=16,
    epochs=2,
    batch_size=24,
    optimizer="adamw",
    lr=0.01,
)


class Wrapped:
    """A trained classifier with other members."""

    def __init__(self, model, members):
        self.model, self.members = model, members

    def __getattr__(self, name):
        member = self.members.get(name)
        return getattr(self.model, name) if member is None else lambda *given: member(self.model, *given)


def trained(**members):
    """Trained classifiers with other members."""

    class Other(TransformersClassifier):
        def fit(self, train, validation, context):
            return Wrapped(super().fit(train, validation, context), members)

    return staticmethod(lambda: Other(OPTIONS))


def other(**members):
    kind = type("Other", (TransformersClassifier,), members)
    return staticmethod(lambda: kind(OPTIONS))


def fitting(change):
    """Trains on, or with, something else."""
    return other(
        fit=lambda self, train, validation, context: TransformersClassifier.fit(
            self, *change(train, validation, context)
        )
    )


def refusing(self, context):
    raise ModelError("no such network")


class RefuseCheckOfASoundOne(ClassifierContract):
    refused_by = "test_what_can_be_trained_passes_the_check"
    make = other(check=refusing)


class RefuseSeedOfItsOwn(ClassifierContract):
    refused_by = "test_equal_data_seed_and_options_give_equal_weights"
    make = fitting(lambda t, v, c: (t, v, replace(c, seed=random.SystemRandom().randrange(1 << 30))))


class RefuseRisingLoss(ClassifierContract):
    refused_by = "test_it_learns"
    make = trained(history=lambda model: [{"epoch": 1, "loss": 1.0}, {"epoch": 2, "loss": 2.0}])


class RefuseEpochsOfItsOwn(ClassifierContract):
    refused_by = "test_its_history_has_an_entry_for_each_epoch"
    make = fitting(lambda t, v, c: (t, v, replace(c, epochs=1)))


class RefuseNoMemory(ClassifierContract):
    refused_by = "test_unfinished_training_is_resumed_to_the_same_weights"
    make = fitting(lambda t, v, c: (t, v, replace(c, checkpoint=None)))


class RefuseDeafToHooks(ClassifierContract):
    refused_by = "test_a_hook_is_called_at_each_step_before_the_optimizers"
    make = fitting(lambda t, v, c: (t, v, replace(c, hook=None)))


class RefuseUnmovedByHooks(ClassifierContract):
    refused_by = "test_a_hook_changes_what_is_learnt"
    make = fitting(lambda t, v, c: (t, v, replace(c, hook=None)))


class RefuseSilenceAboutNaN(ClassifierContract):
    refused_by = "test_a_loss_that_is_not_finite_is_a_diverged_error"
    make = fitting(lambda t, v, c: (t, v, replace(c, hook=None)))


class RefuseWrittenImages(ClassifierContract):
    refused_by = "test_images_are_not_written_to"
    make = fitting(lambda t, v, c: (t.pixels.sort(axis=0) or t, v, c))


class RefuseGlobalSeed(ClassifierContract):
    refused_by = "test_training_leaves_global_random_numbers_alone"
    make = fitting(lambda t, v, c: (np.random.seed(c.seed) or t, v, c))


class RefuseAnotherFirstModel(ClassifierContract):
    refused_by = "test_the_first_model_is_the_one_that_training_starts_from"
    make = other(initial=lambda self, context: TransformersClassifier.initial(self, replace(context, seed=99)))


class RefuseRestoredAnew(ClassifierContract):
    refused_by = "test_a_restored_model_is_the_same_model"
    make = other(restore=lambda self, state, context: self.initial(context))


class RefuseUnknownNames(ClassifierContract):
    refused_by = "test_what_is_trained_is_part_of_the_state"
    make = trained(trained=lambda model: ["head.weight"])


class RefuseAnySize(ClassifierContract):
    refused_by = "test_its_size_is_that_of_its_state"
    make = trained(size_bytes=lambda model: 4)


class RefuseClassBeyond(ClassifierContract):
    refused_by = "test_predictions_are_classes"
    make = trained(predict=lambda model, *given: model.predict(*given) + 99)


class RefuseErrorForNoImages(ClassifierContract):
    refused_by = "test_no_images_are_no_predictions"
    make = trained(predict=lambda model, pixels, *given: pixels[[0]] is not None and model.predict(pixels, *given))


class RefuseCentredLogits(ClassifierContract):
    refused_by = "test_an_answer_does_not_depend_on_the_images_beside_it"
    make = trained(logits=lambda model, *given: model.logits(*given) - model.logits(*given).mean(0))


class RefuseOtherLogits(ClassifierContract):
    refused_by = "test_logits_are_what_predictions_are_made_of"
    make = trained(logits=lambda model, *given: -model.logits(*given))


class RefuseMaps(ClassifierContract):
    refused_by = "test_features_are_points"
    make = trained(features=lambda model, *given: model.features(*given)[:, :, None])


def nameless(model, folder, which):
    model.save(folder, which)
    config = json.loads((folder / "config.json").read_text())
    config["id2label"] = {key: f"LABEL_{key}" for key in config["id2label"]}
    (folder / "config.json").write_text(json.dumps(config))


class RefuseNamelessClasses(ClassifierContract):
    refused_by = "test_what_is_saved_names_the_classes_and_holds_weights"
    make = trained(save=nameless)


class RefuseSaveOfNothing(ClassifierContract):
    refused_by = "test_what_is_saved_names_the_classes_and_holds_weights"
    make = trained(save=lambda model, folder, which: folder.mkdir())


class RefuseCropBeyondTheImage(ClassifierContract):
    refused_by = "test_it_says_what_real_images_are_to_become"
    make = other(preparation=lambda self, made: Preparation(16, 32, 16))
