"""What every aggregator must hold to."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fgl.contracts.aggregator import Aggregator, ClientUpload, Conditioning
from fgl.plugins.codecs.int8 import Quantized, quantize
from fgl.testing.data import GENERATOR, client_upload
from fgl.testing.randomness import global_state_untouched


class AggregatorContract:
    """An aggregator maps the rows of uploads to rows to generate from, and loses no sample and no class."""

    @staticmethod
    def make() -> Aggregator:
        raise NotImplementedError("set `make = staticmethod(lambda: YourAggregator(YourOptions()))` in the test class")

    @pytest.fixture
    def uploads(self) -> list[ClientUpload]:
        """Four clients, sorted by id, that share some rows."""
        return [client_upload(f"client-{k}", seed=k) for k in range(4)]

    def test_the_weight_of_each_class_is_conserved(self, uploads: list[ClientUpload]) -> None:
        sent: dict[int, float] = {}
        for upload in uploads:
            for class_id, weight in zip(upload.class_id.tolist(), upload.weight.tolist(), strict=True):
                sent[class_id] = sent.get(class_id, 0.0) + weight
        result = self.make().aggregate(uploads, GENERATOR)
        assert (result.weight > 0).all()
        kept = {
            class_id: float(result.weight[result.class_id == class_id].sum())
            for class_id in set(result.class_id.tolist())
        }
        assert kept == pytest.approx(sent)

    def test_ids_are_unique_and_rows_sorted_by_class_and_id(self, uploads: list[ClientUpload]) -> None:
        result = self.make().aggregate(uploads, GENERATOR)
        assert len(set(result.ids)) == len(result)
        order = list(zip(result.class_id.tolist(), result.ids, strict=True))
        assert order == sorted(order)

    def test_the_order_in_which_uploads_arrive_does_not_matter(self, uploads: list[ClientUpload]) -> None:
        straight = self.make().aggregate(uploads, GENERATOR)
        for order in (uploads[::-1], uploads[2:] + uploads[:2]):
            _assert_same(straight, self.make().aggregate(order, GENERATOR))

    def test_the_same_uploads_give_the_same_rows(self, uploads: list[ClientUpload]) -> None:
        aggregator = self.make()
        _assert_same(aggregator.aggregate(uploads, GENERATOR), aggregator.aggregate(uploads, GENERATOR))

    def test_aggregating_leaves_global_random_numbers_alone(self, uploads: list[ClientUpload]) -> None:
        with global_state_untouched():
            self.make().aggregate(uploads, GENERATOR)

    def test_uploads_are_not_written_to(self, uploads: list[ClientUpload]) -> None:
        for upload in uploads:
            arrays = [np.asarray(array) for array in upload.arrays.values()]
            for array in (*arrays, *upload.indices.values(), upload.class_id, upload.weight):
                array.setflags(write=False)
        self.make().aggregate(uploads, GENERATOR)

    def test_rows_that_are_made_on_demand_are_rows_like_any_other(self, uploads: list[ClientUpload]) -> None:
        """As the codec int8 has them: an index makes the float32 row that 8 bits and a scale stand for."""
        made, plain = [], []
        for upload in uploads:
            arrays = {name: Quantized(*quantize(np.asarray(array))) for name, array in upload.arrays.items()}
            made.append(replace(upload, arrays=arrays))
            plain.append(replace(upload, arrays={name: np.asarray(array) for name, array in arrays.items()}))
        _assert_same(self.make().aggregate(made, GENERATOR), self.make().aggregate(plain, GENERATOR))

    def test_every_column_has_an_entry_for_every_row(self, uploads: list[ClientUpload]) -> None:
        result = self.make().aggregate(uploads, GENERATOR)
        assert len(result) > 0
        for name, dtype in (
            ("class_id", np.int64),
            ("weight", np.float64),
            ("guidance_scale", np.float64),
            ("source", np.int64),
            ("row", np.int64),
            ("clients", np.int64),
        ):
            column = getattr(result, name)
            assert column.shape == (len(result),), f"{name} has shape {column.shape}"
            assert column.dtype == dtype, f"{name} has dtype {column.dtype}, expected {np.dtype(dtype)}"
        assert len(result.domain) == len(result)

    def test_every_row_can_be_gathered_in_the_shape_of_the_uploads(self, uploads: list[ClientUpload]) -> None:
        result = self.make().aggregate(uploads, GENERATOR)
        for row in result.gather("prompt_embeds", range(len(result))):
            assert row is not None, "a row without prompt_embeds, which every upload has"
            assert row.shape == uploads[0].arrays["prompt_embeds"].shape[1:]
            assert np.isfinite(row).all()
        for row in result.gather("negative_prompt_embeds", range(len(result))):
            assert row is None or row.shape == uploads[0].arrays["negative_prompt_embeds"].shape[1:]

    def test_a_row_is_asked_for_by_at_least_one_client_and_at_most_all(self, uploads: list[ClientUpload]) -> None:
        clients = self.make().aggregate(uploads, GENERATOR).clients
        assert clients.min() >= 1
        assert clients.max() <= len(uploads)

    def test_another_generator_means_other_ids(self, uploads: list[ClientUpload]) -> None:
        ours = self.make().aggregate(uploads, GENERATOR).ids
        assert not set(ours) & set(self.make().aggregate(uploads, "1" * 64).ids)

    def test_one_upload_is_enough(self, uploads: list[ClientUpload]) -> None:
        result = self.make().aggregate(uploads[:1], GENERATOR)
        assert set(result.class_id.tolist()) == set(uploads[0].class_id.tolist())

    def test_no_uploads_give_no_rows(self) -> None:
        assert len(self.make().aggregate([], GENERATOR)) == 0


def _assert_same(one: Conditioning, other: Conditioning) -> None:
    assert one.ids == other.ids
    assert one.domain == other.domain
    for name in ("class_id", "weight", "guidance_scale", "clients"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)
    for name in sorted({name for upload in one.sources for name in upload.arrays}):
        pairs = zip(one.gather(name, range(len(one))), other.gather(name, range(len(other))), strict=True)
        for ours, theirs in pairs:
            np.testing.assert_array_equal(
                np.array([]) if ours is None else ours, np.array([]) if theirs is None else theirs, err_msg=name
            )
