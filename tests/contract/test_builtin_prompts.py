"""The built-in prompt strategies keep the contract that third parties are tested against."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import pytest

from fgl.core.options import Options
from fgl.plugins.prompts import fgl_prompt_strategies
from fgl.plugins.prompts.attributes import AttributePrompts
from fgl.plugins.prompts.class_name import ClassName
from fgl.plugins.prompts.domain import Domain
from fgl.plugins.prompts.options import AttributesOptions, ClassNameOptions, DomainOptions
from fgl.testing.contracts import PromptStrategyContract


class TestClassName(PromptStrategyContract):
    make = staticmethod(lambda: ClassName(ClassNameOptions()))


class TestClassNameWithThreeTemplates(PromptStrategyContract):
    make = staticmethod(
        lambda: ClassName(ClassNameOptions(templates=["{label}", "a photo of {a label}", "{label}, seen from above"]))
    )


class TestDomain(PromptStrategyContract):
    make = staticmethod(lambda: Domain(DomainOptions()))


class TestAttributes(PromptStrategyContract):
    make = staticmethod(lambda: AttributePrompts(AttributesOptions()))


class TestAttributesWithOnePromptAClass(PromptStrategyContract):
    make = staticmethod(lambda: AttributePrompts(AttributesOptions(max_prompts=1, include_domain=False)))


@pytest.mark.parametrize("component", fgl_prompt_strategies(), ids=lambda component: component.name)
def test_what_is_registered_exists(component):
    target, options = (
        getattr(import_module(module), name)
        for module, name in (component.target.split(":"), component.options.split(":"))
    )
    assert issubclass(options, Options)
    assert callable(target(options(**component.defaults)).prompts)
    assert all(field.description for name, field in options.model_fields.items()), "an option without a description"
    assert component.summary


def test_registering_imports_no_numbers_and_no_pixels():
    code = "import sys, fgl.plugins.prompts; sys.exit(str({'numpy', 'PIL', 'pydantic'} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == "set()"
