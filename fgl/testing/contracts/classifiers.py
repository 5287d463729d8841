"""What every classifier must hold to."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from fgl.contracts.classifier import (
    CheckpointName,
    Classifier,
    FitContext,
    SupportsFeatures,
    SupportsLogits,
    SupportsPreparation,
    TrainedClassifier,
)
from fgl.contracts.dataset import LabelledPixels
from fgl.contracts.preparation import Preparation
from fgl.contracts.product import LabelledArrays
from fgl.contracts.progress import NullProgress
from fgl.errors import DivergedError
from fgl.io import strict_json
from fgl.testing.data import CLASS_NAMES, features_context, fit_context, labelled_arrays, labelled_pixels
from fgl.testing.randomness import global_state_untouched

if TYPE_CHECKING:
    from fgl.contracts.arrays import Array
    from fgl.contracts.classifier import Checkpoint

_QUIET = NullProgress()
_CHECKPOINTS: tuple[CheckpointName, ...] = ("selected", "last")


class _FittedContract:
    """What holds for every classifier, however it is fitted."""

    @staticmethod
    def make() -> Classifier:
        raise NotImplementedError("set `make = staticmethod(lambda: YourClassifier(YourOptions()))` in the test class")

    @pytest.fixture
    def train(self) -> LabelledPixels:
        """48 images of 32x32 pixels, of four classes."""
        return labelled_pixels()

    @pytest.fixture
    def validation(self) -> LabelledPixels:
        return labelled_pixels(16, seed=1)

    @pytest.fixture
    def context(self) -> FitContext:
        return fit_context(CLASS_NAMES)

    @pytest.fixture
    def model(self, train: LabelledPixels, context: FitContext) -> TrainedClassifier:
        return self.make().fit(train, None, context)

    # --- fitting

    def test_what_can_be_trained_passes_the_check(self, context: FitContext) -> None:
        self.make().check(context)  # raises ModelError where it cannot be built

    def test_equal_data_seed_and_options_give_equal_weights(
        self, model: TrainedClassifier, train: LabelledPixels, context: FitContext
    ) -> None:
        _assert_same(model.state("last"), self.make().fit(train, None, context).state("last"))

    def test_images_are_not_written_to(self, train: LabelledPixels, context: FitContext) -> None:
        values, labels = train.values.copy(), train.labels.copy()
        self.make().fit(train, None, context)
        np.testing.assert_array_equal(train.values, values)
        np.testing.assert_array_equal(train.labels, labels)

    def test_training_leaves_global_random_numbers_alone(self, train: LabelledPixels, context: FitContext) -> None:
        with global_state_untouched():
            self.make().fit(train, None, context).predict(train.values[:4], "last", _QUIET)

    def test_a_restored_model_is_the_same_model(
        self, model: TrainedClassifier, train: LabelledPixels, context: FitContext
    ) -> None:
        carried = {name: np.array(array) for name, array in model.state("last").items()}
        restored = self.make().restore(carried, context)
        _assert_same(restored.state("last"), model.state("last"))
        np.testing.assert_array_equal(
            restored.predict(train.values, "last", _QUIET), model.predict(train.values, "last", _QUIET)
        )

    def test_what_is_trained_is_part_of_the_state(self, model: TrainedClassifier) -> None:
        state, trained = model.state("last"), model.trained()
        assert len(trained) > 0, "no array is trained"
        assert set(trained) <= set(state)
        assert all(np.issubdtype(state[name].dtype, np.floating) for name in trained)
        assert model.state("selected").keys() == state.keys()

    def test_its_size_is_that_of_its_state(self, model: TrainedClassifier) -> None:
        assert model.size_bytes() == sum(array.nbytes for array in model.state("last").values())

    # --- answers

    def test_predictions_are_classes(self, model: TrainedClassifier, train: LabelledPixels) -> None:
        for name in _CHECKPOINTS:
            found = model.predict(train.values, name, _QUIET)
            assert found.dtype == np.int64
            assert found.shape == (len(train),)
            assert ((found >= 0) & (found < len(CLASS_NAMES))).all()

    def test_no_images_are_no_predictions(self, model: TrainedClassifier, train: LabelledPixels) -> None:
        assert model.predict(train.values[:0], "last", _QUIET).shape == (0,)

    def test_an_answer_does_not_depend_on_the_images_beside_it(
        self, model: TrainedClassifier, train: LabelledPixels
    ) -> None:
        if not isinstance(model, SupportsLogits):
            pytest.skip("no method `logits`")
        straight = model.logits(train.values, "last", _QUIET)
        turned = model.logits(train.values[::-1].copy(), "last", _QUIET)[::-1]
        alone = model.logits(train.values[5:6], "last", _QUIET)
        scale = np.abs(straight).max()
        assert np.abs(straight - turned).max() <= 1e-3 * scale
        assert np.abs(straight[5:6] - alone).max() <= 1e-3 * scale

    def test_logits_are_what_predictions_are_made_of(self, model: TrainedClassifier, train: LabelledPixels) -> None:
        if not isinstance(model, SupportsLogits):
            pytest.skip("no method `logits`")
        logits = model.logits(train.values, "last", _QUIET)
        assert logits.dtype == np.float32
        assert logits.shape == (len(train), len(CLASS_NAMES))
        assert np.isfinite(logits).all()
        np.testing.assert_array_equal(logits.argmax(1), model.predict(train.values, "last", _QUIET))

    def test_features_are_points(self, model: TrainedClassifier, train: LabelledPixels) -> None:
        if not isinstance(model, SupportsFeatures):
            pytest.skip("no method `features`")
        points = model.features(train.values, "last", _QUIET)
        assert points.dtype == np.float32
        assert points.shape[0] == len(train)
        assert points.ndim == 2
        assert np.isfinite(points).all()

    # --- what leaves it

    def test_what_is_saved_names_the_classes_and_holds_weights(self, model: TrainedClassifier, tmp_path: Path) -> None:
        model.save(tmp_path / "model", "last")
        config = json.loads((tmp_path / "model" / "config.json").read_text(encoding="utf-8"))
        assert [config["id2label"][str(index)] for index in range(len(CLASS_NAMES))] == list(CLASS_NAMES)
        assert list((tmp_path / "model").glob("*.safetensors")), "no weights were saved"
        assert not [path.name for path in (tmp_path / "model").rglob("*") if path.suffix in (".bin", ".pt", ".pkl")]

    def test_it_says_what_real_images_are_to_become(self) -> None:
        """Optional: without the method, real images become squares of their middle."""
        classifier = self.make()
        if not isinstance(classifier, SupportsPreparation):
            pytest.skip("no method `preparation`")
        for made in ((32, 32), (48, 64)):
            found = classifier.preparation(made)
            assert isinstance(found, Preparation)
            assert 0 < found.crop <= found.train
            assert 0 < found.resize <= found.train


class ClassifierContract(_FittedContract):
    """A classifier learns the same from the same, remembers unfinished work, and is the same when it is restored.

    Give `make` a small network and few epochs, two at least: every test trains it. Override the fixtures `train`,
    `validation` and `context` for a classifier of another product (see `labelled_arrays` in `fgl.testing.data`)."""

    def test_it_learns(self, model: TrainedClassifier, train: LabelledPixels) -> None:
        losses = [entry["loss"] for entry in model.history()]
        assert losses[-1] < losses[0], f"the loss does not fall on images that are easy to tell apart: {losses}"

    def test_its_history_has_an_entry_for_each_epoch(
        self, train: LabelledPixels, validation: LabelledPixels, context: FitContext
    ) -> None:
        history = self.make().fit(train, validation, replace(context, epochs=2)).history()
        assert [entry["epoch"] for entry in history] == [1, 2], "epochs of the context override the options'"
        assert all(math.isfinite(entry["loss"]) for entry in history)
        assert all(entry.keys() > {"epoch", "loss"} for entry in history), "no top-1 on the validation set"
        strict_json.dumps(strict_json.finite(list(history)))

    def test_unfinished_training_is_resumed_to_the_same_weights(
        self, train: LabelledPixels, validation: LabelledPixels, context: FitContext
    ) -> None:
        undisturbed = self.make().fit(train, validation, context)
        place = _Kept(lets_through=1)
        with pytest.raises(_KilledError):
            self.make().fit(train, validation, replace(context, checkpoint=place))
        assert place.load(), "nothing was saved after the first epoch"
        steps: list[int] = []
        resumed = self.make().fit(
            train,
            validation,
            replace(context, checkpoint=_Kept(place.arrays), on_step=lambda step, _: steps.append(step)),
        )
        for name in _CHECKPOINTS:
            _assert_same(resumed.state(name), undisturbed.state(name))
        assert list(resumed.history()) == list(undisturbed.history())
        whole: list[int] = []
        self.make().fit(train, validation, replace(context, on_step=lambda step, _: whole.append(step)))
        assert len(steps) < len(whole), "training began anew in spite of what was saved"

    def test_a_hook_is_called_at_each_step_before_the_optimizers(
        self, train: LabelledPixels, context: FitContext
    ) -> None:
        hook, steps = _Counting(len(CLASS_NAMES)), list[float]()
        self.make().fit(train, None, replace(context, hook=hook, on_step=lambda _, loss: steps.append(loss)))
        assert steps, "on_step was not called"
        assert hook.losses == hook.gradients_seen == len(steps)

    def test_a_hook_changes_what_is_learnt(
        self, model: TrainedClassifier, train: LabelledPixels, context: FitContext
    ) -> None:
        changed = self.make().fit(train, None, replace(context, hook=_Turning()))
        names = model.trained()
        assert any((changed.state("last")[name] != model.state("last")[name]).any() for name in names)

    def test_a_loss_that_is_not_finite_is_a_diverged_error(self, train: LabelledPixels, context: FitContext) -> None:
        with pytest.raises(DivergedError):
            self.make().fit(train, None, replace(context, hook=_Diverging()))

    def test_the_first_model_is_the_one_that_training_starts_from(
        self, model: TrainedClassifier, train: LabelledPixels, context: FitContext
    ) -> None:
        first = self.make().initial(context).state("last")
        _assert_same(first, self.make().initial(context).state("last"))
        _assert_same(model.state("last"), self.make().fit(train, None, replace(context, start=first)).state("last"))


class ClosedFormContract(_FittedContract):
    """A classifier that solves instead of training: neither seeds nor where it starts from change what it finds."""

    @pytest.fixture
    def train(self) -> Any:
        """48 points of 6 features, of four classes."""
        return labelled_arrays()

    @pytest.fixture
    def validation(self) -> Any:
        return labelled_arrays(16, seed=1)

    @pytest.fixture
    def context(self) -> FitContext:
        return features_context(CLASS_NAMES)

    def test_it_tells_classes_apart_that_are_easy_to_tell_apart(self, model: TrainedClassifier, train: Any) -> None:
        assert (model.predict(train.values, "last", _QUIET) == train.labels).mean() > 0.9

    def test_neither_a_seed_nor_a_start_changes_it(
        self, model: TrainedClassifier, train: Any, context: FitContext
    ) -> None:
        first = self.make().initial(context).state("last")
        again = self.make().fit(train, None, replace(context, seed=context.seed + 1, start=first, epochs=1))
        _assert_same(again.state("last"), model.state("last"))

    def test_the_order_of_the_items_does_not_matter(
        self, model: TrainedClassifier, train: Any, context: FitContext
    ) -> None:
        turned = LabelledArrays(train.values[::-1].copy(), train.labels[::-1].copy())
        for name, array in self.make().fit(turned, None, context).state("last").items():
            np.testing.assert_allclose(array, model.state("last")[name], rtol=1e-4, atol=1e-5)


class _KilledError(Exception):
    """Ends training where a process might be killed."""


class _Kept:
    """A place for unfinished training. lets_through: saves before the process dies; None for as many as come."""

    def __init__(self, arrays: Mapping[str, Array] | None = None, lets_through: int | None = None) -> None:
        self.arrays = arrays
        self._left = lets_through

    def load(self) -> Mapping[str, Array] | None:
        return self.arrays

    def save(self, arrays: Mapping[str, Array]) -> None:
        if self._left == 0:
            raise _KilledError
        self.arrays = {name: np.array(array) for name, array in arrays.items()}
        self._left = None if self._left is None else self._left - 1

    def child(self, name: str) -> Checkpoint:
        return _Kept()


class _Counting:
    """A training hook that changes nothing."""

    def __init__(self, classes: int) -> None:
        self.classes, self.losses, self.gradients_seen = classes, 0, 0

    def loss(self, model: Any, images: Any, logits: Any, labels: Any) -> Any:
        assert self.losses == self.gradients_seen, "gradients() is called once after each loss()"
        assert logits.shape == (len(images), self.classes)
        assert len(labels) == len(images)
        self.losses += 1

    def gradients(self, model: Any, lr: float) -> None:
        assert lr > 0
        self.gradients_seen += 1


class _Turning:
    """A training hook that goes uphill."""

    def loss(self, model: Any, images: Any, logits: Any, labels: Any) -> Any:
        return None

    def gradients(self, model: Any, lr: float) -> None:
        for parameter in model.parameters():
            if parameter.grad is not None:
                parameter.grad.neg_()


class _Diverging(_Turning):
    """A training hook whose loss is not a number."""

    def loss(self, model: Any, images: Any, logits: Any, labels: Any) -> Any:
        return logits.sum() * math.nan


def _assert_same(one: Mapping[str, Array], other: Mapping[str, Array]) -> None:
    assert one.keys() == other.keys()
    for name, array in one.items():
        np.testing.assert_array_equal(array, other[name], err_msg=name)
