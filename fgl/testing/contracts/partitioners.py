"""What every partitioner must hold to."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray

from fgl.contracts.dataset import CLIENT_ID, Partitioner
from fgl.errors import PartitionError
from fgl.testing.data import DOMAINS
from fgl.testing.randomness import global_state_untouched


class PartitionerContract:
    """A partitioner gives each sample to one client, and the same division to everyone who computes it."""

    leaves_out: ClassVar[bool] = False
    """Whether samples may be nobody's."""

    @staticmethod
    def make() -> Partitioner:
        raise NotImplementedError("set `make = staticmethod(lambda: YourPartitioner(YourOptions()))` in the test class")

    @pytest.fixture
    def labels(self) -> NDArray[np.int64]:
        """240 samples of four classes, one of which is rare."""
        return np.random.default_rng(5).permutation([0] * 90 + [1] * 80 + [2] * 60 + [3] * 10)

    @pytest.fixture
    def domains(self, labels: NDArray[np.int64]) -> Sequence[str] | None:
        """The domain of each sample; None for a dataset without."""
        return [DOMAINS[index % 3 == 0] for index in range(len(labels))]

    @pytest.fixture
    def divided(self, labels: NDArray[np.int64], domains: Sequence[str] | None) -> Mapping[str, list[int]]:
        return self.make().partition(labels, domains, 7)

    def test_ids_can_be_names_of_files(self, divided: Mapping[str, list[int]]) -> None:
        assert divided, "no clients"
        for client in divided:
            assert isinstance(client, str)
            assert re.fullmatch(CLIENT_ID, client), f"the client id {client!r}"

    def test_positions_are_whole_numbers_of_samples_in_order(
        self, divided: Mapping[str, list[int]], labels: NDArray[np.int64]
    ) -> None:
        for client, rows in divided.items():
            for row in rows:
                assert isinstance(row, int | np.integer), f"{client} holds {row!r}"
                assert not isinstance(row, bool), f"{client} holds {row!r}"
                assert 0 <= row < len(labels), f"{client} holds {row} of {len(labels)} samples"
            assert list(rows) == sorted(rows), f"positions of {client} are not sorted"

    def test_no_sample_is_given_twice(self, divided: Mapping[str, list[int]]) -> None:
        rows = [row for held in divided.values() for row in held]
        assert len(rows) == len(set(rows))

    def test_every_sample_is_somebodys(self, divided: Mapping[str, list[int]], labels: NDArray[np.int64]) -> None:
        if self.leaves_out:
            pytest.skip("this partitioner may leave samples out")
        assert {row for held in divided.values() for row in held} == set(range(len(labels)))

    def test_everyone_computes_the_same_division(
        self, divided: Mapping[str, list[int]], labels: NDArray[np.int64], domains: Sequence[str] | None
    ) -> None:
        """Each client computes it anew, and the server too."""
        partitioner = self.make()
        for again in (partitioner.partition(labels, domains, 7), partitioner.partition(labels, domains, 7)):
            assert list(again) == list(divided), "the order of the clients differs"
            assert {name: list(rows) for name, rows in again.items()} == {
                name: list(rows) for name, rows in divided.items()
            }

    def test_labels_are_not_written_to(self, labels: NDArray[np.int64], domains: Sequence[str] | None) -> None:
        before = labels.copy()
        self.make().partition(labels, domains, 7)
        np.testing.assert_array_equal(labels, before)

    def test_a_dataset_without_domains_is_divided_or_is_a_partition_error(self, labels: NDArray[np.int64]) -> None:
        message = "domain"
        try:
            self.make().partition(labels, None, 7)
        except PartitionError as error:
            message = str(error)
        assert "domain" in message, f"the message does not say that domains are missing: {message}"

    def test_too_few_samples_are_divided_or_are_a_partition_error(
        self, labels: NDArray[np.int64], domains: Sequence[str] | None
    ) -> None:
        for count in (0, 1):
            try:
                divided = self.make().partition(labels[:count], None if domains is None else domains[:count], 7)
            except PartitionError as error:
                divided, message = {}, str(error)
            else:
                message = "no error"
            assert message.strip(), "the error does not say which option to change"
            assert {row for held in divided.values() for row in held} <= set(range(count))

    def test_dividing_leaves_global_random_numbers_alone(
        self, labels: NDArray[np.int64], domains: Sequence[str] | None
    ) -> None:
        with global_state_untouched():
            self.make().partition(labels, domains, 7)
