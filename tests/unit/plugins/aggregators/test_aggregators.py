"""What counts as the same row, and what is averaged with what."""

from __future__ import annotations

import time
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from fgl.contracts.aggregator import ClientUpload
from fgl.contracts.conditioning import conditioning_id, row_ids
from fgl.errors import UploadError
from fgl.plugins.aggregators.class_mean import CLIENT_ID, ClassMean
from fgl.plugins.aggregators.options import ClassMeanOptions, UnionOptions
from fgl.plugins.aggregators.union import Union
from fgl.testing.contracts import client_upload

GENERATOR = "g" * 64


def upload(client_id, rows, *, classes=None, weight=None, negative=None, pointers=None, domain=None, guidance=None):
    """An upload with prompt_embeds `rows`, [n, s, d]."""
    rows = np.asarray(rows)
    n = len(rows)
    arrays, indices = {"prompt_embeds": rows}, {}
    if negative is not None:
        arrays["negative_prompt_embeds"] = np.asarray(negative, dtype=rows.dtype)
        indices["negative_prompt_embeds"] = np.asarray([0] * n if pointers is None else pointers, dtype=np.int32)
    return ClientUpload(
        client_id=client_id,
        round=0,
        encoder="e",
        arrays=arrays,
        indices=indices,
        class_id=np.asarray([0] * n if classes is None else classes, dtype=np.int64),
        weight=np.asarray([1.0] * n if weight is None else weight),
        domain=tuple([""] * n if domain is None else domain),
        guidance_scale=np.asarray([np.nan] * n if guidance is None else guidance, dtype=np.float64),
    )


def union(*uploads):
    return Union(UnionOptions()).aggregate(uploads, GENERATOR)


def mean(*uploads, **options):
    return ClassMean(ClassMeanOptions(**options)).aggregate(uploads, GENERATOR)


ROW = np.arange(6, dtype=np.float16).reshape(1, 2, 3)


# union


def test_equal_rows_of_two_clients_are_one_with_the_sum_of_weights():
    result = union(upload("a", ROW, weight=[3]), upload("b", ROW.copy(), weight=[4]))
    assert len(result) == 1
    assert (result.weight[0], result.clients[0]) == (7.0, 2)


def test_equal_rows_of_one_client_count_it_once():
    result = union(upload("a", np.repeat(ROW, 3, axis=0)))
    assert (len(result), result.weight[0], result.clients[0]) == (1, 3.0, 1)


@pytest.mark.parametrize(
    "other",
    [
        upload("b", ROW + 1),
        upload("b", ROW.astype(np.float32)),
        upload("b", ROW.reshape(1, 3, 2)),
        upload("b", ROW, classes=[1]),
        upload("b", ROW, guidance=[2.0]),
        upload("b", ROW, negative=ROW),
    ],
    ids=["values", "dtype", "shape", "class", "guidance", "negative"],
)
def test_rows_that_differ_in_a_parameter_stay_two(other):
    assert len(union(upload("a", ROW), other)) == 2


def test_a_shared_row_counts_by_what_it_holds_and_not_by_where_it_lies():
    one = upload("a", ROW, negative=[*(ROW + 5), *ROW], pointers=[1])
    other = upload("b", ROW, negative=ROW, pointers=[0])
    assert len(union(one, other)) == 1
    assert len(union(one, upload("c", ROW, negative=ROW + 5))) == 2


def test_a_missing_array_and_a_row_that_points_nowhere_are_the_same():
    assert len(union(upload("a", ROW), upload("b", ROW, negative=ROW, pointers=[-1]))) == 1


def test_a_domain_is_a_label_and_the_first_client_by_id_gives_it():
    late, early = upload("b", ROW, domain=["sketch"]), upload("a", ROW, domain=["real"])
    for result in (union(late, early), union(early, late)):
        assert result.domain == ("real",)


def test_union_copies_nothing():
    result = union(upload("a", ROW, negative=ROW + 5))
    found = result.gather("prompt_embeds", [0])[0]
    assert np.shares_memory(found, result.sources[0].arrays["prompt_embeds"])


def test_ids_do_not_depend_on_the_memory_layout():
    rows = np.random.default_rng(0).standard_normal((4, 3, 5)).astype(np.float32)
    expected = row_ids(upload("a", rows), GENERATOR)
    assert row_ids(upload("a", np.asfortranarray(rows)), GENERATOR) == expected
    assert row_ids(upload("a", rows.astype(">f4")), GENERATOR) == expected
    assert row_ids(upload("a", np.repeat(rows, 2, axis=0)[::2]), GENERATOR) == expected


def test_the_id_of_a_row_is_that_of_its_arrays():
    sent = client_upload("a", seed=3)
    for row, row_id in enumerate(row_ids(sent, GENERATOR)):
        arrays = {"prompt_embeds": sent.arrays["prompt_embeds"][row]}
        if sent.indices["negative_prompt_embeds"][row] >= 0:
            arrays["negative_prompt_embeds"] = sent.arrays["negative_prompt_embeds"][0]
        assert row_id == conditioning_id(arrays, int(sent.class_id[row]), float(sent.guidance_scale[row]), GENERATOR)


def test_the_id_is_the_one_that_earlier_runs_recorded():
    # Image ids and seeds derive from it: a change makes every earlier run unresumable, so it must be meant.
    found = conditioning_id({"prompt_embeds": ROW[0]}, 3, float("nan"), GENERATOR)
    assert found == "cb164307a5f7354a0128f464279fc3568d2ebca52679b1c149b4a9ae3cb6aa71"


def test_ten_thousand_rows_are_indexed_in_seconds_without_a_copy():
    # Windows that start one element apart: 10,000 different rows in little memory.
    width, count = 77 * 64, 100
    pool = np.random.default_rng(0).integers(0, 2**14, width * count + 100, dtype=np.uint16).view(np.float16)
    uploads = [upload(f"c{k:03d}", pool[k : k + width * count].reshape(count, 77, 64)) for k in range(100)]
    tracemalloc.start()
    start = time.perf_counter()
    result = union(*uploads)
    seconds = time.perf_counter() - start
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(result) == 10_000
    assert seconds < 30
    assert peak < 32 * 2**20, "ten thousand rows hold 94 MiB: an index must stay far below"


# class-mean


def test_a_mean_weighs_each_row_by_its_samples():
    result = mean(upload("a", ROW, weight=[3]), upload("b", ROW + 4, weight=[1]))
    assert (len(result), result.weight[0], result.clients[0]) == (1, 4.0, 2)
    (row,) = result.gather("prompt_embeds", [0])
    assert row.dtype == np.float32
    np.testing.assert_allclose(row, ROW[0] + 1)
    assert result.sources[0].client_id == CLIENT_ID


def test_a_common_negative_prompt_is_taken_as_it_is():
    negative = np.float16([[[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]]])
    uploads = [upload(name, ROW + k, weight=[k + 1 / 3], negative=negative) for k, name in enumerate("abc")]
    (row,) = mean(*uploads).gather("negative_prompt_embeds", [0])
    np.testing.assert_array_equal(row, negative[0].astype(np.float32))


def test_different_negative_prompts_are_averaged():
    result = mean(upload("a", ROW, negative=ROW), upload("b", ROW, negative=ROW + 2))
    np.testing.assert_allclose(result.gather("negative_prompt_embeds", [0])[0], ROW[0] + 1)


def test_rows_with_and_without_a_negative_prompt_are_not_mixed():
    result = mean(upload("a", ROW, negative=ROW), upload("b", ROW + 2))
    assert sorted(row is None for row in result.gather("negative_prompt_embeds", [0, 1])) == [False, True]


def test_rows_of_different_guidance_are_not_mixed():
    result = mean(upload("a", ROW, guidance=[2.0]), upload("b", ROW + 2), upload("c", ROW + 4))
    guided = result.guidance_scale == 2.0
    assert (len(result), guided.sum(), result.weight[~guided][0]) == (2, 1, 2.0)


def test_clients_and_domains_can_be_kept_apart():
    uploads = [
        upload("a", [*ROW, *(ROW + 1)], domain=["real", "sketch"]),
        upload("b", [*(ROW + 2), *(ROW + 3)], domain=["real", "sketch"]),
    ]
    assert [len(mean(*uploads)), len(mean(*uploads, per_client=True))] == [1, 2]
    assert set(mean(*uploads, per_domain=True).domain) == {"real", "sketch"}
    assert len(mean(*uploads, per_client=True, per_domain=True)) == 4


def test_a_mean_over_domains_has_none_unless_they_agree():
    assert mean(upload("a", ROW, domain=["real"]), upload("b", ROW + 1, domain=["sketch"])).domain == ("",)
    assert mean(upload("a", ROW, domain=["real"]), upload("b", ROW + 1, domain=["real"])).domain == ("real",)


def test_equal_means_of_two_clients_are_one_row():
    result = mean(upload("a", ROW), upload("b", ROW), per_client=True)
    assert (len(result), result.clients[0], result.weight[0]) == (1, 2, 2.0)


def test_a_mask_that_differs_cannot_be_averaged():
    def masked(client_id, mask):
        sent = upload(client_id, ROW)
        return replace(sent, arrays={**sent.arrays, "prompt_attention_mask": np.array([mask], dtype=np.int64)})

    same = mean(masked("a", [1, 1]), masked("b", [1, 1]))
    assert same.gather("prompt_attention_mask", [0])[0].dtype == np.int64
    with pytest.raises(UploadError, match=r"'prompt_attention_mask' of dtype int64.*use the aggregator 'union'"):
        mean(masked("a", [1, 1]), masked("b", [1, 0]))
