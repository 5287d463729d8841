"""What a partitioner says is checked before an id becomes a file name and a position a sample."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from fgl.contracts.component import Component
from fgl.core.config.resolve import resolve
from fgl.core.partitioning import divide
from fgl.core.plugin_manager import PluginManager
from fgl.core.registry import Entry
from fgl.errors import BrokenPluginError, PartitionError
from fgl.testing.contracts import DrawnImages

ANSWER: dict[str, Any] = {"value": None}


class Told:
    def partition(self, labels: Any, domains: Any, seed: int) -> Any:
        if isinstance(ANSWER["value"], Exception):
            raise ANSWER["value"]
        return ANSWER["value"]


@dataclass
class Asked:
    manager: PluginManager
    config: Any

    def __call__(self, value: Any) -> dict[str, list[int]]:
        ANSWER["value"] = value
        return divide(self.manager, self.config, DrawnImages(np.zeros(6, dtype=np.int64), None))


@pytest.fixture
def ask() -> Asked:
    manager = PluginManager.load()
    manager.registry.add(Entry("partition", Component("told", f"{__name__}:Told"), "told", "fgl-told"))
    return Asked(manager, resolve([{"partition": "told"}], manager.registry))


def test_a_division_is_taken_as_it_is_and_its_positions_sorted(ask: Asked) -> None:
    assert ask({"a": [2, 0], "b": np.array([1])}) == {"a": [0, 2], "b": [1]}


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"../../escaped": [0]}, r"the client id '\.\./\.\./escaped'; .* an id becomes a file name"),
        ({"": [0]}, "the client id ''"),
        ({3: [0]}, "the client id '3'"),
        ({"a\n": [0]}, "the client id"),
        ({"a": [0], "b": [0]}, "gave the sample at 0 to a and b"),
        ({"a": [1, 1]}, "gave the sample at 1 twice to a"),
        ({"a": [-1]}, r"gave a the position -1; expected 0 to 5"),
        ({"a": [6]}, r"gave a the position 6; expected 0 to 5"),
        ({"a": [0.5]}, "expected a list of whole numbers"),
        ({"a": "01"}, "expected a list of whole numbers"),
        ([[0, 1]], "returned list; expected a mapping"),
        (None, "returned None; expected a mapping"),
        (ZeroDivisionError("by zero"), "raised ZeroDivisionError: by zero"),
    ],
)
def test_what_is_no_division_names_the_plugin(ask: Asked, value: Any, said: str) -> None:
    with pytest.raises(BrokenPluginError, match=rf"partitioner 'told' of fgl-told.*{said}"):
        ask(value)


def test_what_cannot_be_divided_is_the_partitioners_to_say(ask: Asked) -> None:
    with pytest.raises(PartitionError, match="too few"):
        ask(PartitionError("too few"))
