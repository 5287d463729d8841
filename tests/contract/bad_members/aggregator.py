"""Aggregators that break one promise each."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np

from fgl.contracts.conditioning import unite
from fgl.plugins.aggregators.options import UnionOptions
from fgl.plugins.aggregators.union import Union
from fgl.testing.contracts import AggregatorContract


class Bad(Union):
    """Sound, until `spoil` changes what it makes."""

    def __init__(self, spoil):
        super().__init__(UnionOptions())
        self.spoil = spoil

    def aggregate(self, uploads, generator):
        return self.spoil(super().aggregate(uploads, generator), uploads)


def spoilt(spoil):
    return staticmethod(lambda: Bad(spoil))


class RefuseLostWeight(AggregatorContract):
    refused_by = "test_the_weight_of_each_class_is_conserved"
    make = spoilt(lambda found, _: replace(found, weight=found.weight / 2))


class RefuseEqualIds(AggregatorContract):
    refused_by = "test_ids_are_unique_and_rows_sorted_by_class_and_id"
    make = spoilt(lambda found, _: replace(found, ids=("0" * 64,) * len(found)))


class RefuseOrderOfArrival(AggregatorContract):
    refused_by = "test_the_order_in_which_uploads_arrive_does_not_matter"

    @staticmethod
    def make():
        class First(Union):
            def aggregate(self, uploads, generator):
                return unite(uploads[:1], generator)

        return First(UnionOptions())


class RefuseAnotherResultEachTime(AggregatorContract):
    refused_by = "test_the_same_uploads_give_the_same_rows"
    make = spoilt(lambda found, _: replace(found, weight=found.weight * random.SystemRandom().random()))


class RefuseGlobalDraws(AggregatorContract):
    refused_by = "test_aggregating_leaves_global_random_numbers_alone"
    make = spoilt(lambda found, _: np.random.random() and found)


class RefuseWritten(AggregatorContract):
    refused_by = "test_uploads_are_not_written_to"
    make = spoilt(lambda found, uploads: uploads[0].weight.sort() or found)


class RefuseNumpyAlone(AggregatorContract):
    refused_by = "test_rows_that_are_made_on_demand_are_rows_like_any_other"

    @staticmethod
    def make():
        def scaled(found, uploads):
            uploads[0].arrays["prompt_embeds"].sum()
            return found

        return Bad(scaled)


class RefuseColumnOfAnotherType(AggregatorContract):
    refused_by = "test_every_column_has_an_entry_for_every_row"
    make = spoilt(lambda found, _: replace(found, weight=found.weight.astype(np.float32)))


def without_rows(found, uploads):
    return replace(found, sources=[replace(one, arrays={}, indices={}) for one in found.sources])


class RefuseRowsWithoutArrays(AggregatorContract):
    refused_by = "test_every_row_can_be_gathered_in_the_shape_of_the_uploads"
    make = spoilt(without_rows)


class RefuseTooManyClients(AggregatorContract):
    refused_by = "test_a_row_is_asked_for_by_at_least_one_client_and_at_most_all"
    make = spoilt(lambda found, _: replace(found, clients=found.clients * 100))


class RefuseIdsOfAnyGenerator(AggregatorContract):
    refused_by = "test_another_generator_means_other_ids"

    @staticmethod
    def make():
        class Same(Union):
            def aggregate(self, uploads, generator):
                return super().aggregate(uploads, "2" * 64)

        return Same(UnionOptions())


class RefuseTwoUploadsAtLeast(AggregatorContract):
    refused_by = "test_one_upload_is_enough"
    make = spoilt(lambda found, uploads: found if len(uploads) > 1 else unite([], "0" * 64))


class RefuseNoUploads(AggregatorContract):
    refused_by = "test_no_uploads_give_no_rows"
    make = spoilt(lambda found, uploads: uploads[0] and found)
