"""Aggregation rules that break one promise each."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np

from fgl.contracts.aggregation_rule import WEIGHTS, Ruling
from fgl.plugins.aggregation_rules.mean import Mean
from fgl.testing.contracts import AggregationRuleContract


def other(**members):
    """Mean with other methods."""
    return staticmethod(type("Other", (Mean,), members))


def each(change):
    """A rule that changes every part."""
    return other(apply=lambda self, parts: Ruling({name: change(rows) for name, rows in parts.items()}))


class RefuseEvenNumbers(AggregationRuleContract):
    refused_by = "test_it_refuses_what_it_says_in_words_and_nothing_more"
    make = other(refusal=lambda self, updates: "" if updates % 2 else "an even number of updates")


class RefuseRoundedNumbers(AggregationRuleContract):
    refused_by = "test_names_shapes_and_type_stay"
    make = each(lambda rows: rows.astype(np.float32))


class RefuseOverflow(AggregationRuleContract):
    refused_by = "test_what_it_makes_is_finite"

    @staticmethod
    def make():
        def by_norm(rows):
            with np.errstate(invalid="ignore"):
                return rows / np.linalg.norm(rows, axis=1, keepdims=True)

        return each(by_norm)()


class RefuseRowsThatAreNotThere(AggregationRuleContract):
    refused_by = "test_what_it_says_is_of_rows_and_factors"
    make = other(apply=lambda self, parts: Ruling(parts, left_out=(99,)))


class RefuseAnotherScale(AggregationRuleContract):
    refused_by = "test_updates_that_agree_are_left_as_they_are"
    make = each(lambda rows: rows / 2)


class RefuseOvershooting(AggregationRuleContract):
    refused_by = "test_the_mean_stays_between_zero_and_what_updates_say"
    make = each(lambda rows: 3 * rows)


class RefuseTheFirst(AggregationRuleContract):
    refused_by = "test_the_order_of_clients_does_not_matter"
    make = each(lambda rows: np.broadcast_to(rows[0], rows.shape))


class RefuseMemory(AggregationRuleContract):
    refused_by = "test_the_same_updates_give_the_same_result"

    @staticmethod
    def make():
        class Remembering(Mean):
            def apply(self, parts):
                last, self.last = getattr(self, "last", parts), parts
                return Ruling({name: (rows + last[name]) / 2 for name, rows in parts.items()})

        return Remembering()


def in_place(rows):
    rows += 0
    return rows


class RefuseWritten(AggregationRuleContract):
    refused_by = "test_updates_are_not_written_to"
    make = each(in_place)


class RefuseAllPartsOnly(AggregationRuleContract):
    refused_by = "test_parts_may_be_missing"
    make = other(apply=lambda self, parts: Ruling({**parts, "buffers": parts["buffers"], WEIGHTS: parts[WEIGHTS]}))


class RefuseGlobalDraws(AggregationRuleContract):
    refused_by = "test_it_leaves_global_random_numbers_alone"

    @staticmethod
    def make():
        class Drawing(Mean):
            def apply(self, parts):
                random.random()
                return replace(Ruling(parts), left_out=())

        return Drawing()
