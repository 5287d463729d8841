"""What every prompt strategy must hold to."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from fgl.contracts.dataset import Subset
from fgl.contracts.prompts import ClientContext, Prepared, Prompt, PromptStrategy, SupportsGrammar, spells
from fgl.core.client.prepared import checked_arrays, checked_prompts
from fgl.errors import DataError
from fgl.io import strict_json
from fgl.testing.data import DOMAINS, DrawnImages, client_context
from fgl.testing.randomness import global_state_untouched


class PromptStrategyContract:
    """A prompt strategy writes prompts for the classes that its client holds, and for nothing else."""

    @staticmethod
    def make() -> PromptStrategy:
        raise NotImplementedError("set `make = staticmethod(lambda: YourStrategy(YourOptions()))` in the test class")

    @pytest.fixture
    def context(self, tmp_path: Path) -> ClientContext:
        """A client with 24 images of classes 0, 1 and 3 (it holds no 2), in two domains, and a private folder."""
        labels = np.array([0] * 12 + [1] * 7 + [3] * 5, dtype=np.int64)
        images = DrawnImages(labels, [DOMAINS[index % 2] for index in range(len(labels))])
        return client_context(images, private=tmp_path / "private")

    def test_every_class_that_the_client_holds_gets_a_prompt_and_no_other_does(self, context: ClientContext) -> None:
        asked = {prompt.class_id for prompt in _prompts(self.make(), context)}
        assert asked == set(context.images.labels.tolist())

    def test_the_weights_of_a_class_sum_to_the_samples_that_the_client_holds_of_it(
        self, context: ClientContext
    ) -> None:
        weights: Counter[int] = Counter()
        for prompt in _prompts(self.make(), context):
            assert math.isfinite(prompt.weight), f"weight {prompt.weight} of {prompt.text!r} is not finite"
            assert prompt.weight > 0, f"weight {prompt.weight} of {prompt.text!r} is not positive"
            weights[prompt.class_id] += prompt.weight  # type: ignore[assignment]
        assert dict(weights) == pytest.approx(Counter(context.images.labels.tolist()))

    def test_prompts_are_text(self, context: ClientContext) -> None:
        for prompt in _prompts(self.make(), context):
            assert prompt.text.strip(), f"an empty prompt for class {prompt.class_id}"
            assert prompt.negative is None or prompt.negative.strip(), "no negative prompt is None, not an empty text"
            assert prompt.guidance_scale is None or math.isfinite(prompt.guidance_scale)

    def test_prompts_can_be_written_as_json(self, context: ClientContext) -> None:
        """The client keeps them. numpy's numbers are numbers too, and become plain ones."""
        for prompt in checked_prompts(_prompts(self.make(), context), context.class_names, "the strategy"):
            strict_json.dumps(asdict(prompt))  # raises where JSON does not have a value

    def test_a_domain_is_one_that_the_client_holds(self, context: ClientContext) -> None:
        held = {None, *(context.images.domains or ())}
        assert {prompt.domain for prompt in _prompts(self.make(), context)} <= held

    def test_its_grammar_has_the_texts_that_it_writes(self, context: ClientContext) -> None:
        """Only strategies that can say what they may write have one."""
        strategy = self.make()
        if not isinstance(strategy, SupportsGrammar):
            return
        grammars = list(strategy.grammar(context.class_names, sorted({*(context.images.domains or ())})))
        for prompt in _prompts(self.make(), context) if grammars else ():
            assert any(spells(places, prompt.text) for places in grammars), f"no grammar has {prompt.text!r}"

    def test_arrays_of_its_own_are_what_the_generator_declares(self, context: ClientContext) -> None:
        """Only strategies that return a `Prepared` have any."""
        answer = self.make().prompts(context)
        if isinstance(answer, Prepared) and answer.arrays:
            assert context.declaration is not None
            checked_arrays(answer.prompts, answer.arrays, answer.indices, context.declaration, "the strategy")

    def test_the_same_client_gets_the_same_prompts(self, context: ClientContext) -> None:
        _assert_same(self.make().prompts(context), self.make().prompts(context))

    def test_prompts_leave_global_random_numbers_alone(self, context: ClientContext) -> None:
        with global_state_untouched():
            self.make().prompts(context)

    def test_one_instance_serves_many_clients(self, context: ClientContext) -> None:
        strategy = self.make()
        first = strategy.prompts(context)
        strategy.prompts(replace(context, client_id="client-1", images=Subset(context.images, [20, 21])))
        _assert_same(strategy.prompts(context), first)  # prompts for one client do not change what another gets

    def test_the_names_of_the_samples_stay_at_the_client(self, context: ClientContext) -> None:
        names = [context.images.name(index) for index in range(len(context.images))]
        for prompt in _prompts(self.make(), context):
            for text in (prompt.text, prompt.negative or ""):
                leaked = [part for name in names for part in (name, name.rsplit("/")[-1]) if part in text]
                assert not leaked, f"the prompt {text!r} holds the file name {leaked[0]!r}"

    def test_one_sample_is_enough(self, context: ClientContext) -> None:
        prompts = _prompts(self.make(), replace(context, images=Subset(context.images, [15])))
        assert {prompt.class_id for prompt in prompts} == {1}

    def test_a_client_without_samples_has_no_prompts(self, context: ClientContext) -> None:
        assert _prompts(self.make(), replace(context, images=Subset(context.images, []))) == []

    def test_a_class_name_with_braces_is_text_like_any_other(self, context: ClientContext) -> None:
        odd = ("{x}", "{label}", "{", "100% {}")
        asked = {prompt.class_id for prompt in _prompts(self.make(), replace(context, class_names=odd))}
        assert asked == set(context.images.labels.tolist())

    def test_a_dataset_without_domains_works_or_is_a_data_error(self, context: ClientContext) -> None:
        images = DrawnImages(context.images.labels, None)
        try:
            found = {prompt.domain for prompt in _prompts(self.make(), replace(context, images=images))}
        except DataError as error:
            message = str(error)
        else:
            assert found == {None}
            return
        assert "domain" in message, f"the message does not say that domains are missing: {message}"


def _prompts(strategy: PromptStrategy, context: ClientContext) -> list[Prompt]:
    answer = strategy.prompts(context)
    return list(answer.prompts if isinstance(answer, Prepared) else answer)


def _assert_same(one: Sequence[Prompt] | Prepared, other: Sequence[Prompt] | Prepared) -> None:
    if not isinstance(one, Prepared) or not isinstance(other, Prepared):
        assert one == other
        return
    assert list(one.prompts) == list(other.prompts)
    for ours, theirs in ((one.arrays, other.arrays), (one.indices, other.indices)):
        assert set(ours) == set(theirs)
        for name, array in ours.items():
            np.testing.assert_array_equal(array, theirs[name], err_msg=name)
