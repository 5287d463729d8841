"""What the built-in upload filters do to the rows of a client."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from fgl import ClientUpload, ConfigError, FilterContext, Prepared, Prompt
from fgl.plugins.aggregators.class_mean import ClassMean
from fgl.plugins.aggregators.options import ClassMeanOptions
from fgl.plugins.upload_filters.aggregate import Aggregate
from fgl.plugins.upload_filters.clip import Clip
from fgl.plugins.upload_filters.min_samples import MinSamples
from fgl.plugins.upload_filters.options import AggregateOptions, ClipOptions, MinSamplesOptions

NAMES = ("river", "road", "sea")
PROMPTS = [
    Prompt(0, "a river", "blurred", "photo", 2.0),
    Prompt(2, "the sea", "blurred", "photo"),
    Prompt(0, "a creek", "blurred", "sketch", 6.0),
    Prompt(1, "a road", "blurred", "photo", 0.5),
    Prompt(1, "a road", "blurred", "photo", 0.5),
]


@pytest.fixture
def given() -> Prepared:
    rows = np.random.default_rng(0).standard_normal((5, 4, 8), dtype=np.float32)
    return Prepared(
        PROMPTS, {"rows": rows, "negative": np.ones((1, 4), np.float32)}, {"negative": np.zeros(5, np.int32)}
    )


def applied(filter_, given, note=None):
    context = FilterContext("client-00", 0, 3, NAMES, note=note or (lambda kind, count: None))
    return filter_.apply(given.arrays, given.indices, given.prompts, context)


def test_rows_beyond_the_norm_are_scaled_to_it_and_others_stay_as_they_are_to_the_bit(given):
    norms = np.linalg.norm(given.arrays["rows"].reshape(5, -1), axis=1)
    bound = float(np.median(norms))
    noted = []
    answer = applied(Clip(ClipOptions(max_norm=bound)), given, lambda *note: noted.append(note))
    clipped = np.linalg.norm(answer.arrays["rows"].reshape(5, -1), axis=1)
    np.testing.assert_allclose(clipped, np.minimum(norms, bound), rtol=1e-6)
    np.testing.assert_array_equal(answer.arrays["rows"][norms <= bound], given.arrays["rows"][norms <= bound])
    np.testing.assert_array_equal(answer.arrays["negative"], given.arrays["negative"])
    assert noted == [("rows_clipped", 2)]


def test_arrays_to_clip_are_named_or_it_is_an_error_that_lists_them(given):
    answer = applied(Clip(ClipOptions(max_norm=1.0, arrays=["negative"])), given)
    np.testing.assert_allclose(np.linalg.norm(answer.arrays["negative"]), 1.0, rtol=1e-6)
    with pytest.raises(ConfigError, match=r"filters\.clip\.arrays: got latents; expected names .* rows, negative"):
        applied(Clip(ClipOptions(max_norm=1.0, arrays=["latents"])), given)


def test_classes_of_few_samples_are_withheld_with_all_their_rows(given):
    noted = []
    answer = applied(MinSamples(MinSamplesOptions(samples=2)), given, lambda *note: noted.append(note))
    assert [prompt.text for prompt in answer.prompts] == ["a river", "a creek"]
    np.testing.assert_array_equal(answer.arrays["rows"], given.arrays["rows"][[0, 2]])
    assert noted == [("classes_withheld", 2)]


def test_shares_that_sum_to_the_threshold_are_enough(given):
    assert len(applied(MinSamples(MinSamplesOptions(samples=1)), given).prompts) == 5


def test_the_rows_are_those_that_the_aggregator_makes_of_the_upload(given):
    answer = applied(Aggregate(AggregateOptions(aggregator="class-mean")), given)
    upload = ClientUpload(
        client_id="client-00",
        round=0,
        encoder="",
        arrays=given.arrays,
        indices=given.indices,
        class_id=np.array([prompt.class_id for prompt in PROMPTS]),
        weight=np.array([prompt.weight for prompt in PROMPTS]),
        domain=tuple(str(prompt.domain) for prompt in PROMPTS),
        guidance_scale=np.full(5, np.nan),
    )
    expected = ClassMean(ClassMeanOptions()).aggregate([upload], "")
    np.testing.assert_array_equal(answer.arrays["rows"], np.stack(expected.gather("rows", range(3))))
    assert answer.arrays["negative"].shape == (1, 4)
    assert [(prompt.class_id, prompt.weight, prompt.domain) for prompt in answer.prompts] == [
        (0, 8.0, None),
        (1, 1.0, "photo"),
        (2, 1.0, "photo"),
    ]
    assert [prompt.text for prompt in answer.prompts] == ["river", "a road", "the sea"]


def test_an_option_of_the_aggregator_is_passed_on_and_checked(given):
    by_domain = Aggregate(AggregateOptions(options={"per_domain": True}))
    assert len(applied(by_domain, given).prompts) == 4
    with pytest.raises(ValidationError, match="did you mean 'class-mean'"):
        AggregateOptions(aggregator="class-men")
    with pytest.raises(
        ValidationError, match=r"aggregator\.per_domian: got true; unknown option: did you mean 'per_domain'"
    ):
        AggregateOptions(options={"per_domian": True})
