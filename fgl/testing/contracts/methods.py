"""What every method must hold to."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy

from fgl.contracts.component import FAMILIES
from fgl.contracts.method import SECTIONS, Method
from fgl.core.config.resolve import resolve
from fgl.core.plugin_manager import PluginManager
from fgl.core.store.owned import digest_of
from fgl.testing.randomness import global_state_untouched


class MethodContract:
    """A method sets parts of a configuration: installed components, with options that they have."""

    @staticmethod
    def make() -> Method:
        raise NotImplementedError("set `make = staticmethod(lambda: YourMethod(YourOptions()))` in the test class")

    def test_only_what_methods_may_set_is_set(self) -> None:
        configuration = self.make().configuration()
        assert isinstance(configuration, Mapping)
        assert set(configuration) <= set(SECTIONS)

    def test_the_components_that_it_names_are_installed(self) -> None:
        registry = PluginManager.load().registry
        for family, section in self.make().configuration().items():
            if family in FAMILIES:
                assert isinstance(section, Mapping)
                if "name" in section:  # else they are options for whichever component the run has
                    registry.find(family, str(section["name"]))

    def test_its_options_are_those_of_its_components(self) -> None:
        resolve([deepcopy(dict(self.make().configuration()))], PluginManager.load().registry, "the method")

    def test_it_is_the_same_at_each_call(self) -> None:
        method = self.make()
        with global_state_untouched():
            first = digest_of(method.configuration())
        assert digest_of(method.configuration()) == first
        assert digest_of(self.make().configuration()) == first
