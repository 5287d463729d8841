"""Partitioners that break one promise each."""

from __future__ import annotations

import numpy as np

from fgl.errors import PartitionError
from fgl.plugins.partitioners.iid import IID
from fgl.plugins.partitioners.options import IIDOptions
from fgl.testing.contracts import PartitionerContract


class Bad(IID):
    """Sound, until `spoil` says otherwise."""

    def __init__(self, spoil):
        super().__init__(IIDOptions(clients=3))
        self.spoil = spoil

    def partition(self, labels, domains, seed):
        return self.spoil(dict(super().partition(labels, domains, seed)), labels, domains)


def spoilt(spoil):
    return staticmethod(lambda: Bad(spoil))


class RefusePathAsId(PartitionerContract):
    refused_by = "test_ids_can_be_names_of_files"
    make = spoilt(lambda found, *_: {f"../{name}": rows for name, rows in found.items()})


class RefusePositionsOutOfOrder(PartitionerContract):
    refused_by = "test_positions_are_whole_numbers_of_samples_in_order"
    make = spoilt(lambda found, *_: {name: rows[::-1] for name, rows in found.items()})


class RefuseNegativePositions(PartitionerContract):
    refused_by = "test_positions_are_whole_numbers_of_samples_in_order"
    make = spoilt(lambda found, *_: {name: [row - 1 for row in rows] for name, rows in found.items()})


class RefuseSampleOfTwo(PartitionerContract):
    refused_by = "test_no_sample_is_given_twice"
    make = spoilt(lambda found, *_: {name: sorted({*rows, 0}) for name, rows in found.items()})


class RefuseSampleOfNobody(PartitionerContract):
    refused_by = "test_every_sample_is_somebodys"
    make = spoilt(lambda found, *_: {name: rows[1:] for name, rows in found.items()})


class RefuseAnotherDivisionEachTime(PartitionerContract):
    refused_by = "test_everyone_computes_the_same_division"

    @staticmethod
    def make():
        draw = np.random.default_rng()
        return Bad(lambda found, labels, _: {"a": sorted(draw.permutation(len(labels))[:100].tolist())})


class RefuseSortedLabels(PartitionerContract):
    refused_by = "test_labels_are_not_written_to"
    make = spoilt(lambda found, labels, _: labels.sort() or found)


class RefuseTypeErrorWithoutDomains(PartitionerContract):
    refused_by = "test_a_dataset_without_domains_is_divided_or_is_a_partition_error"
    make = spoilt(lambda found, _, domains: domains[0] and found)


class RefuseUnhelpfulError(PartitionerContract):
    refused_by = "test_too_few_samples_are_divided_or_are_a_partition_error"

    @staticmethod
    def make():
        class Terse(IID):
            def partition(self, labels, domains, seed):
                if len(labels) < 3:
                    raise PartitionError("")
                return super().partition(labels, domains, seed)

        return Terse(IIDOptions(clients=3))


class RefuseGlobalDraws(PartitionerContract):
    refused_by = "test_dividing_leaves_global_random_numbers_alone"
    make = spoilt(lambda found, *_: np.random.random() and found)
