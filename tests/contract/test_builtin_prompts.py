"""The built-in prompt strategies keep the contract that third parties are tested against."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from typing import ClassVar

import numpy as np
import pytest

from fgl.contracts.options import Options
from fgl.plugins.prompts import fgl_prompt_strategies
from fgl.plugins.prompts.attributes import AttributePrompts
from fgl.plugins.prompts.caption import Caption
from fgl.plugins.prompts.class_name import ClassName
from fgl.plugins.prompts.diversified import Diversified
from fgl.plugins.prompts.domain import DomainPrompts
from fgl.plugins.prompts.learned import LearnedPrompts
from fgl.plugins.prompts.learned_options import LearnedOptions
from fgl.plugins.prompts.options import (
    AttributesOptions,
    CaptionOptions,
    ClassNameOptions,
    DiversifiedOptions,
    DomainOptions,
    PromptsFileOptions,
)
from fgl.plugins.prompts.prompts_file import PromptsFile
from fgl.testing.contracts import PromptStrategyContract
from fgl.testing.data import DOMAINS, DrawnImages, client_context


class TestClassName(PromptStrategyContract):
    make = staticmethod(lambda: ClassName(ClassNameOptions()))


class TestClassNameWithThreeTemplates(PromptStrategyContract):
    make = staticmethod(
        lambda: ClassName(ClassNameOptions(templates=["{label}", "a photo of {a label}", "{label}, seen from above"]))
    )


class TestDomain(PromptStrategyContract):
    make = staticmethod(lambda: DomainPrompts(DomainOptions()))


class TestAttributes(PromptStrategyContract):
    make = staticmethod(lambda: AttributePrompts(AttributesOptions()))


class TestAttributesWithOnePromptAClass(PromptStrategyContract):
    make = staticmethod(lambda: AttributePrompts(AttributesOptions(max_prompts=1, include_domain=False)))


class _Learned(PromptStrategyContract):
    options: ClassVar[dict[str, object]] = {}

    @pytest.fixture
    def context(self, learnable, tmp_path):
        labels = np.array([0] * 12 + [1] * 7 + [3] * 5, dtype=np.int64)
        images = DrawnImages(labels, [DOMAINS[index % 2] for index in range(len(labels))])
        return learnable(client_context(images, private=tmp_path / "private"))

    @pytest.fixture(autouse=True)
    def _make(self):
        options = LearnedOptions(steps=2, batch_size=4, evaluations=1, **self.options)
        self.make = lambda: LearnedPrompts(options)


class TestLearned(_Learned):
    options: ClassVar[dict[str, object]] = {"guidance_scale": 1.0}


class TestLearnedWithAGuidance(_Learned):
    options: ClassVar[dict[str, object]] = {"guidance_scale": 2.0, "rows_per_class": 2, "holdout": 0.5}


class _Captioned(PromptStrategyContract):
    options: ClassVar[dict[str, object]] = {}

    @pytest.fixture(autouse=True)
    def _model(self, captioner):
        options = CaptionOptions(model=str(captioner), max_new_tokens=6, **self.options)
        self.make = lambda: Caption(options)


class TestCaption(_Captioned):
    pass


class TestCaptionWithDomains(_Captioned):
    options: ClassVar = {"template": "{label}, {domain} style, {caption}", "max_per_class": 3, "choose": "clustered"}


class TestCaptionWithOneSampledPromptAClass(_Captioned):
    options: ClassVar = {"max_per_class": 1, "choose": "sampled"}


class TestPromptsFile(PromptStrategyContract):
    @pytest.fixture(autouse=True)
    def _file(self, tmp_path):
        path = tmp_path / "prompts.csv"
        rows = [f"{class_id},prompt {number} of {class_id}" for class_id in range(4) for number in range(3)]
        path.write_text("\n".join(["class,prompt", *rows]) + "\n")
        self.make = lambda: PromptsFile(PromptsFileOptions(path=str(path)))


class TestDiversified(PromptStrategyContract):
    make = staticmethod(lambda: Diversified(DiversifiedOptions()))


class TestDiversifiedByAModel(PromptStrategyContract):
    @pytest.fixture(autouse=True)
    def _model(self, writer):
        options = DiversifiedOptions(
            model=str(writer), prompts_per_class=6, max_new_tokens=5, batch_size=4, max_per_class=3, choose="clustered"
        )
        self.make = lambda: Diversified(options)


@pytest.mark.parametrize("component", fgl_prompt_strategies(), ids=lambda component: component.name)
def test_what_is_registered_exists(component):
    target, options = (
        getattr(import_module(module), name)
        for module, name in (component.target.split(":"), component.options.split(":"))
    )
    assert issubclass(options, Options)
    required = {"path": "prompts.csv"} if component.name == "prompts-file" else {}
    assert callable(target(options(**required, **component.defaults)).prompts)
    assert all(field.description for name, field in options.model_fields.items()), "an option without a description"
    assert component.summary


def test_registering_imports_no_numbers_and_no_pixels():
    code = "import sys, fgl.plugins.prompts; sys.exit(str({'numpy', 'PIL', 'pydantic'} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == "set()"
