"""What every upload filter must hold to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fgl.contracts.prompts import Prepared, Prompt
from fgl.contracts.upload_filter import FilterContext, UploadFilter
from fgl.core.client.prepared import prepared
from fgl.io import strict_json
from fgl.testing.data import CLASS_NAMES, DOMAINS, SCHEMA, encode_by_digest
from fgl.testing.randomness import global_state_untouched


class UploadFilterContract:
    """An upload filter turns what a client is about to send into something else that can be sent."""

    reproducible = True
    """Whether the same upload and seed give the same result. False: noise comes from a cryptographic source."""

    @staticmethod
    def make() -> UploadFilter:
        raise NotImplementedError("set `make = staticmethod(lambda: YourFilter(YourOptions()))` in the test class")

    @pytest.fixture
    def given(self) -> Prepared:
        """Eight rows of classes 0, 1 and 3 with their arrays; two rows have no negative prompt."""
        prompts = [
            Prompt(class_id, f"{CLASS_NAMES[class_id]} {row}", None, DOMAINS[row % 2], weight)
            for row, (class_id, weight) in enumerate(
                [(0, 12.0), (0, 2.5), (0, 1.0), (1, 30.0), (1, 1.0), (3, 7.0), (3, 0.5), (3, 20.0)]
            )
        ]
        negative = encode_by_digest([Prompt(0, "blurred"), Prompt(0, "cropped")])["prompt_embeds"]
        arrays = {"prompt_embeds": encode_by_digest(prompts)["prompt_embeds"], "negative_prompt_embeds": negative}
        index = np.array([0, 0, 1, -1, 0, 1, -1, 1], dtype=np.int32)
        return Prepared(prompts, arrays, {"negative_prompt_embeds": index})

    @pytest.fixture
    def context(self, tmp_path: Path) -> FilterContext:
        """A client of a run with four classes, and a private folder."""
        return FilterContext("client-0", 0, 7, CLASS_NAMES, SCHEMA, tmp_path / "private")

    def test_what_it_returns_is_what_the_generator_declares(self, given: Prepared, context: FilterContext) -> None:
        answer = _sound(_applied(self.make(), given, context))
        assert answer.prompts, "no row is left of eight"

    def test_classes_are_those_of_the_run(self, given: Prepared, context: FilterContext) -> None:
        classes = {prompt.class_id for prompt in _sound(_applied(self.make(), given, context)).prompts}
        assert classes <= set(range(len(context.class_names)))
        assert classes, "no class is left of three"

    def test_the_same_upload_and_seed_give_the_same_result(self, given: Prepared, context: FilterContext) -> None:
        if self.reproducible:
            _assert_same(_applied(self.make(), given, context), _applied(self.make(), given, context))

    def test_one_instance_serves_many_clients(self, given: Prepared, context: FilterContext) -> None:
        if not self.reproducible:
            return
        filter_ = self.make()
        first = _applied(filter_, given, context)
        other = Prepared(given.prompts[3:5], {name: array[3:5] for name, array in _own(given).items()})
        _applied(filter_, other, replace(context, client_id="client-1", seed=8))
        _assert_same(_applied(filter_, given, context), first)

    def test_the_given_arrays_are_not_written_to(self, given: Prepared, context: FilterContext) -> None:
        for array in (*given.arrays.values(), *given.indices.values()):
            array.setflags(write=False)
        before = list(given.prompts)
        _applied(self.make(), given, context)
        assert list(given.prompts) == before

    def test_it_leaves_global_random_numbers_alone(self, given: Prepared, context: FilterContext) -> None:
        with global_state_untouched():
            _applied(self.make(), given, context)

    def test_its_account_of_itself_is_json(self) -> None:
        does = self.make().describe()
        assert isinstance(does, Mapping)
        strict_json.dumps(strict_json.finite(dict(does)))

    def test_arrays_without_any_shared_one_are_enough(self, given: Prepared, context: FilterContext) -> None:
        _sound(_applied(self.make(), Prepared(given.prompts, _own(given)), context))


def _own(given: Prepared) -> dict[str, np.ndarray]:
    """The arrays that rows do not share."""
    return {name: array for name, array in given.arrays.items() if name not in given.indices}


def _applied(filter_: UploadFilter, given: Prepared, context: FilterContext) -> Prepared:
    return filter_.apply(given.arrays, given.indices, given.prompts, context)


def _sound(answer: Prepared) -> Prepared:
    return prepared(answer, SCHEMA, CLASS_NAMES, "the filter")


def _assert_same(one: Prepared, other: Prepared) -> None:
    one, other = _sound(one), _sound(other)
    assert list(one.prompts) == list(other.prompts)
    for ours, theirs in ((one.arrays, other.arrays), (one.indices, other.indices)):
        assert set(ours) == set(theirs)
        for name, array in ours.items():
            np.testing.assert_array_equal(array, theirs[name], err_msg=name)
