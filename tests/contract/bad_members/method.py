"""Methods that break one promise each."""

from __future__ import annotations

import itertools

from fgl.testing.contracts import MethodContract

NUMBERS = itertools.count(1)


def returning(make):
    class Bad:
        def configuration(self):
            return make()

    return staticmethod(Bad)


class RefuseNoMapping(MethodContract):
    refused_by = "test_only_what_methods_may_set_is_set"
    make = returning(lambda: [("rounds", {"count": 5})])


class RefuseADataset(MethodContract):
    refused_by = "test_only_what_methods_may_set_is_set"
    make = returning(lambda: {"dataset": {"name": "bundled"}})


class RefuseASeed(MethodContract):
    refused_by = "test_only_what_methods_may_set_is_set"
    make = returning(lambda: {"seed": 3})


class RefuseAComponentThatIsNotInstalled(MethodContract):
    refused_by = "test_the_components_that_it_names_are_installed"
    make = returning(lambda: {"generator": {"name": "no-such-generator"}})


class RefuseANameInsteadOfASection(MethodContract):
    refused_by = "test_the_components_that_it_names_are_installed"
    make = returning(lambda: {"generator": "tiny"})


class RefuseAnUnknownOption(MethodContract):
    refused_by = "test_its_options_are_those_of_its_components"
    make = returning(lambda: {"rounds": {"cuont": 5}})


class RefuseAValueOfAnotherType(MethodContract):
    refused_by = "test_its_options_are_those_of_its_components"
    make = returning(lambda: {"synthesis": {"images_per_class": "many"}})


class RefuseAnotherConfigurationEachTime(MethodContract):
    refused_by = "test_it_is_the_same_at_each_call"
    make = returning(lambda: {"rounds": {"count": next(NUMBERS)}})
