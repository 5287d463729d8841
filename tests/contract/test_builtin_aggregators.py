"""The built-in aggregators keep the contract that third parties are tested against."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import pytest

from fgl.contracts.options import Options
from fgl.plugins.aggregators import fgl_aggregators
from fgl.plugins.aggregators.class_mean import ClassMean
from fgl.plugins.aggregators.options import ClassMeanOptions, UnionOptions
from fgl.plugins.aggregators.union import Union
from fgl.testing.contracts import AggregatorContract


class TestUnion(AggregatorContract):
    make = staticmethod(lambda: Union(UnionOptions()))


class TestClassMean(AggregatorContract):
    make = staticmethod(lambda: ClassMean(ClassMeanOptions()))


class TestClassMeanOfEachClient(AggregatorContract):
    make = staticmethod(lambda: ClassMean(ClassMeanOptions(per_client=True)))


class TestClassMeanOfEachClientAndDomain(AggregatorContract):
    make = staticmethod(lambda: ClassMean(ClassMeanOptions(per_client=True, per_domain=True)))


@pytest.mark.parametrize("component", fgl_aggregators(), ids=lambda component: component.name)
def test_what_is_registered_exists(component):
    target, options = (
        getattr(import_module(module), name)
        for module, name in (component.target.split(":"), component.options.split(":"))
    )
    assert issubclass(options, Options)
    assert callable(target(options(**component.defaults)).aggregate)
    assert all(field.description for name, field in options.model_fields.items()), "an option without a description"
    assert component.summary


def test_registering_imports_no_numbers_and_no_pixels():
    code = "import sys, fgl.plugins.aggregators; sys.exit(str({'numpy', 'PIL', 'pydantic'} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == "set()"
