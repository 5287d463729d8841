"""Upload filters that break one promise each."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np

from fgl import Prepared
from fgl.testing.contracts import UploadFilterContract


class Bad:
    """Returns what it was given, spoilt."""

    def __init__(self, spoil, does=None):
        self.spoil, self.does = spoil, does

    def apply(self, arrays, indices, prompts, context):
        return self.spoil(Prepared(prompts, arrays, indices), context)

    def describe(self):
        return self.does or {}


def spoilt(spoil):
    return staticmethod(lambda: Bad(spoil))


def noised(given, noise):
    return Prepared(
        given.prompts, {**given.arrays, "prompt_embeds": given.arrays["prompt_embeds"] + noise}, given.indices
    )


class RefuseLostRows(UploadFilterContract):
    refused_by = "test_what_it_returns_is_what_the_generator_declares"
    make = spoilt(lambda given, _: Prepared(given.prompts[1:], given.arrays, given.indices))


class RefuseStrangeClass(UploadFilterContract):
    refused_by = "test_classes_are_those_of_the_run"
    make = spoilt(
        lambda given, _: Prepared([replace(one, class_id=9) for one in given.prompts], given.arrays, given.indices)
    )


class RefuseUnseededNoise(UploadFilterContract):
    refused_by = "test_the_same_upload_and_seed_give_the_same_result"
    make = spoilt(lambda given, _: noised(given, np.float32(np.random.default_rng().random())))


class RefuseMemoryOfTheLastClient(UploadFilterContract):
    refused_by = "test_one_instance_serves_many_clients"

    @staticmethod
    def make():
        calls = []
        return Bad(lambda given, _: calls.append(1) or noised(given, np.float32(len(calls))))


class RefuseInPlace(UploadFilterContract):
    refused_by = "test_the_given_arrays_are_not_written_to"

    @staticmethod
    def make():
        def double(given, _):
            given.arrays["prompt_embeds"][:] *= 2
            return given

        return Bad(double)


class RefuseGlobalDraws(UploadFilterContract):
    refused_by = "test_it_leaves_global_random_numbers_alone"
    make = spoilt(lambda given, _: random.random() and given)


class RefuseObjectInItsAccount(UploadFilterContract):
    refused_by = "test_its_account_of_itself_is_json"
    make = staticmethod(lambda: Bad(lambda given, _: given, {"noise": object()}))


class RefuseWithoutNegatives(UploadFilterContract):
    refused_by = "test_arrays_without_any_shared_one_are_enough"
    make = spoilt(lambda given, _: given.indices["negative_prompt_embeds"].size and given)
