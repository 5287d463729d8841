"""What every adaptation of a generator must hold to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from fgl.contracts.adaptation import Adaptation, AdaptContext, Adapted, CaptionedImages
from fgl.contracts.prompts import Prompt
from fgl.errors import DataError, ModelError
from fgl.io import strict_json
from fgl.testing.data import labelled_pixels
from fgl.testing.randomness import global_state_untouched

if TYPE_CHECKING:
    from fgl.contracts.arrays import Array
    from fgl.contracts.classifier import Checkpoint, CheckpointName
    from fgl.contracts.generator import Generator

_CLASSES = 4
_Entry = tuple[Mapping[str, float], Mapping[str, "Array"]]


class AdaptationContract:
    """A generator learns the same from the same, remembers unfinished work, and what it saves is what it is.

    Give `generator` a small model, and `make` an adaptation of it: every test trains it for some steps."""

    @staticmethod
    def generator() -> Generator:
        raise NotImplementedError("set `generator = staticmethod(lambda: Yours(YourOptions()))` in the test class")

    def make(self) -> Adaptation:
        raise NotImplementedError("override `make`: return self.generator().adaptation(AdapterSpec(…))")

    @pytest.fixture(scope="class")
    @classmethod
    def _shared(cls) -> dict[tuple[str, str], Any]:
        """What several tests look at and none changes, by its name and the parameters of the tests."""
        return {}

    @pytest.fixture
    def images(self, request: pytest.FixtureRequest, _shared: dict[tuple[str, str], Any]) -> CaptionedImages:
        """24 images of four classes, one caption each."""
        key = ("images", _parameters(request))
        if key not in _shared:
            _shared[key] = self._images()
        return _shared[key]  # type: ignore[no-any-return]

    def _images(self) -> CaptionedImages:
        height, width = self.make().image_size()
        square = labelled_pixels(24, max(height, width), _CLASSES)
        prompts = [Prompt(index, f"class {index}") for index in range(_CLASSES)]
        arrays, _ = self.generator().encoder("cpu").encode(prompts)
        names = {spec.name for spec in self.generator().declare().arrays if not spec.shared}
        return CaptionedImages(
            pixels=square.pixels[:, :height, :width],
            labels=square.labels,
            arrays={name: np.asarray(array, np.float32) for name, array in arrays.items() if name in names},
            groups=square.labels,
            choices=[np.array([index]) for index in range(_CLASSES)],
            weights=np.ones(_CLASSES),
        )

    @pytest.fixture
    def context(self) -> AdaptContext:
        return AdaptContext(seed=3, device="cpu", steps=4, evaluate_every=2)

    @pytest.fixture
    def training(
        self,
        request: pytest.FixtureRequest,
        _shared: dict[tuple[str, str], Any],
        images: CaptionedImages,
        context: AdaptContext,
    ) -> _Training:
        """A whole training, done once: the tests of its result need no more than one."""
        key = ("training", _parameters(request))
        if key not in _shared:
            entries: list[_Entry] = []
            context = replace(context, on_entry=lambda entry, now: entries.append((entry, dict(now.state("last")))))
            _shared[key] = _Training(self.make().fit(images, images, context), entries)
        return _shared[key]  # type: ignore[no-any-return]

    @pytest.fixture
    def adapted(self, training: _Training) -> Adapted:
        return training.adapted

    def test_what_can_be_adapted_passes_the_check(self) -> None:
        self.make().check()

    def test_it_describes_itself_in_json(self) -> None:
        strict_json.dumps(dict(self.make().settings()))
        strict_json.dumps(dict(self.make().base()))

    def test_it_changes_what_it_says_it_trains_and_gives_nothing_else(
        self, adapted: Adapted, context: AdaptContext
    ) -> None:
        before, after = self.make().initial(context).state("last"), adapted.state("last")
        assert set(adapted.trained()) == set(before) == set(after)
        assert all(array.dtype == np.float32 for array in after.values())
        assert any(not np.array_equal(before[name], after[name]) for name in after)
        assert adapted.size_bytes() == sum(array.nbytes for array in after.values())

    def test_its_history_starts_with_the_generator_as_it_was_and_the_lowest_held_out_loss_is_selected(
        self, training: _Training
    ) -> None:
        history = training.adapted.history()
        assert [entry["step"] for entry in history] == [0, 2, 4]
        assert all("held_out_loss" in entry for entry in history)
        assert all("loss" in entry for entry in history[1:])
        assert [dict(entry) for entry, _ in training.entries] == [dict(entry) for entry in history]
        lowest = min(training.entries, key=lambda each: each[0]["held_out_loss"])
        _assert_same(training.adapted.state("selected"), lowest[1])

    def test_killed_or_shorter_training_resumes_to_the_weights_of_an_uninterrupted_one(
        self, adapted: Adapted, images: CaptionedImages, context: AdaptContext
    ) -> None:
        def die(entry: Mapping[str, float], now: Adapted) -> None:
            if entry["step"] == 4:
                raise KeyboardInterrupt

        killed, shorter = _Kept(), _Kept()
        with pytest.raises(KeyboardInterrupt):
            self.make().fit(images, images, replace(context, checkpoint=killed, on_entry=die))
        self.make().fit(images, images, replace(context, steps=2, checkpoint=shorter))
        names: tuple[CheckpointName, ...] = ("selected", "last")
        for kept in (killed, shorter):
            resumed = self.make().fit(images, images, replace(context, checkpoint=kept))
            for which in names:
                _assert_same(resumed.state(which), adapted.state(which))
            assert [entry["step"] for entry in resumed.history()] == [0, 2, 4]

    def test_a_restored_state_is_the_same_adapter_and_that_of_another_one_is_refused(
        self, adapted: Adapted, context: AdaptContext
    ) -> None:
        state = adapted.state("last")
        _assert_same(self.make().restore(state, context).state("last"), state)
        name = adapted.trained()[0]
        less, wider = dict(state), {**state, name: np.zeros((*state[name].shape, 1), np.float32)}
        del less[name]
        for other in (less, wider):
            with pytest.raises(ModelError):
                self.make().restore(other, context)

    def test_no_images_are_an_error(self, images: CaptionedImages, context: AdaptContext) -> None:
        none = replace(images, pixels=images.pixels[:0], labels=images.labels[:0], groups=images.groups[:0])
        with pytest.raises(DataError):
            self.make().fit(none, None, context)

    def test_a_hook_sees_every_step_and_global_random_state_is_left_alone(
        self, images: CaptionedImages, context: AdaptContext
    ) -> None:
        hook = _Counting()
        with global_state_untouched():
            self.make().fit(images, None, replace(context, steps=2, hook=hook))
        assert hook.losses == hook.gradient_steps == 2

    def test_what_it_saves_is_for_an_option_of_the_generator_and_the_same_bytes_each_time(
        self, adapted: Adapted, tmp_path: Path
    ) -> None:
        written = []
        for name in ("first", "second"):
            (tmp_path / name).mkdir()
            ((option, place),) = adapted.save(tmp_path / name, "last").items()
            assert (tmp_path / name / place).exists()
            assert option in type(self.generator().options).model_fields  # type: ignore[attr-defined]
            files = (path for path in (tmp_path / name).rglob("*") if path.is_file())
            written.append({path.relative_to(tmp_path / name): path.read_bytes() for path in files})
        assert written[0] == written[1]


@dataclass(frozen=True, slots=True)
class _Training:
    """A training and what it said as it went on."""

    adapted: Adapted
    entries: list[_Entry]
    """Each entry of the history, with the last weights of then."""


def _parameters(request: pytest.FixtureRequest) -> str:
    """What tells a test from the same one with other parameters, which may be of another model."""
    call = getattr(request.node, "callspec", None)
    return "" if call is None else str(call.id)


class _Counting:
    def __init__(self) -> None:
        self.losses = self.gradient_steps = 0

    def loss(self, model: Any, images: Any, logits: Any, labels: Any) -> Any:
        assert len(images) == len(logits) == len(labels)
        self.losses += 1

    def gradients(self, model: Any, lr: float) -> None:
        assert lr > 0
        self.gradient_steps += 1


class _Kept:
    """A checkpoint in memory."""

    def __init__(self) -> None:
        self.arrays: Mapping[str, Array] | None = None

    def load(self) -> Mapping[str, Array] | None:
        return self.arrays

    def save(self, arrays: Mapping[str, Array]) -> None:
        self.arrays = {name: np.array(array) for name, array in arrays.items()}

    def child(self, name: str) -> Checkpoint:
        return _Kept()


def _assert_same(first: Mapping[str, Array], second: Mapping[str, Array]) -> None:
    assert set(first) == set(second)
    for name, array in first.items():
        np.testing.assert_array_equal(array, second[name], err_msg=name)
