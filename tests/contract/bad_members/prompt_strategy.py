"""Prompt strategies that break one promise each."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np

from fgl import Prepared
from fgl.plugins.prompts.class_name import ClassName
from fgl.plugins.prompts.options import ClassNameOptions
from fgl.testing.contracts import PromptStrategyContract


class Bad(ClassName):
    """Sound, until `spoil` changes its prompts."""

    def __init__(self, spoil):
        super().__init__(ClassNameOptions())
        self.spoil = spoil

    def prompts(self, context):
        return self.spoil(super().prompts(context), context)


def spoilt(spoil):
    return staticmethod(lambda: Bad(spoil))


def each(**changes):
    """Every prompt with other fields."""
    return spoilt(lambda found, _: [replace(prompt, **changes) for prompt in found])


class RefuseForgottenClass(PromptStrategyContract):
    refused_by = "test_every_class_that_the_client_holds_gets_a_prompt_and_no_other_does"
    make = spoilt(lambda found, _: found[1:])


class RefuseLostWeight(PromptStrategyContract):
    refused_by = "test_the_weights_of_a_class_sum_to_the_samples_that_the_client_holds_of_it"
    make = each(weight=1.0)


class RefuseEmptyText(PromptStrategyContract):
    refused_by = "test_prompts_are_text"
    make = each(text=" ")


class RefuseObject(PromptStrategyContract):
    refused_by = "test_prompts_can_be_written_as_json"
    make = each(domain=object())


class RefuseStrangeDomain(PromptStrategyContract):
    refused_by = "test_a_domain_is_one_that_the_client_holds"
    make = each(domain="engraving")


class RefuseGrammarOfOtherTexts(PromptStrategyContract):
    refused_by = "test_its_grammar_has_the_texts_that_it_writes"
    make = each(text="something else")


class RefuseUndeclaredArray(PromptStrategyContract):
    refused_by = "test_arrays_of_its_own_are_what_the_generator_declares"
    make = spoilt(lambda found, context: Prepared(found, {**context.encode(found), "latents": np.zeros(len(found))}))


class RefuseAnotherTextEachTime(PromptStrategyContract):
    refused_by = "test_the_same_client_gets_the_same_prompts"
    make = spoilt(lambda found, _: [replace(one, text=f"{one.text} {random.SystemRandom().random()}") for one in found])


class RefuseGlobalDraws(PromptStrategyContract):
    refused_by = "test_prompts_leave_global_random_numbers_alone"
    make = spoilt(lambda found, _: sorted(found, key=lambda one: random.random()))


class RefuseMemoryOfTheLastClient(PromptStrategyContract):
    refused_by = "test_one_instance_serves_many_clients"

    @staticmethod
    def make():
        asked = []
        return Bad(lambda found, _: asked.append(1) or [replace(one, text=f"{one.text} {len(asked)}") for one in found])


class RefuseFileName(PromptStrategyContract):
    refused_by = "test_the_names_of_the_samples_stay_at_the_client"
    make = spoilt(lambda found, context: [replace(one, text=f"{one.text} {context.images.name(0)}") for one in found])


class RefuseTwoSamplesAtLeast(PromptStrategyContract):
    refused_by = "test_one_sample_is_enough"
    make = spoilt(lambda found, context: found if len(context.images) > 1 else [])


class RefusePromptOfNobody(PromptStrategyContract):
    refused_by = "test_a_client_without_samples_has_no_prompts"

    @staticmethod
    def make():
        kept = []
        return Bad(lambda found, context: kept.append(found) or found or [context.images.name(0)])


class RefuseFormattedName(PromptStrategyContract):
    refused_by = "test_a_class_name_with_braces_is_text_like_any_other"
    make = spoilt(lambda found, context: [replace(one, text=context.class_names[0].format()) for one in found])


class RefuseInventedDomain(PromptStrategyContract):
    refused_by = "test_a_dataset_without_domains_works_or_is_a_data_error"
    make = each(domain="photo")
