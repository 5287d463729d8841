"""OSCAR keeps the contract of prompt strategies, and sends what the paper says: one mean row per class and client."""

from __future__ import annotations

from importlib.metadata import entry_points
from pathlib import Path

import fgl
import numpy as np
import pytest
from fgl.testing.contracts import MethodContract, PromptStrategyContract
from pydantic import ValidationError

from fgl_oscar.method import OscarMethod
from fgl_oscar.options import OscarMethodOptions, OscarOptions
from fgl_oscar.strategy import Oscar

ROOT = Path(__file__).parents[1]


def oscar(captions="attributes", **options):
    return Oscar(OscarOptions(captions=captions, **options))


class TestOscar(PromptStrategyContract):
    make = staticmethod(oscar)

    def test_each_class_has_the_mean_of_the_embeddings_of_its_images(self, context):
        captions = fgl.create("prompt_strategy", "attributes").prompts(context)
        encoded = context.encode(captions)["prompt_embeds"].astype(np.float64)
        answer = oscar().prompts(context)
        assert [prompt.class_id for prompt in answer.prompts] == [0, 1, 3]
        for row, prompt in zip(answer.arrays["prompt_embeds"], answer.prompts, strict=True):
            members = [i for i, caption in enumerate(captions) if caption.class_id == prompt.class_id]
            weights = [captions[i].weight for i in members]
            np.testing.assert_allclose(row, np.average(encoded[members], axis=0, weights=weights), rtol=1e-5, atol=1e-6)

    def test_captions_are_not_among_what_the_client_keeps_as_rows(self, context):
        assert [prompt.text for prompt in oscar().prompts(context).prompts] == ["river", "airplane", "wrist watch"]


class TestByDomain(PromptStrategyContract):
    make = staticmethod(lambda: oscar("domain", per_domain=True))

    def test_a_class_has_a_row_for_each_domain(self, context):
        answer = self.make().prompts(context)
        assert len(answer.prompts) == 6
        assert {prompt.domain for prompt in answer.prompts} == {"photo", "sketch"}


class TestMethod(MethodContract):
    make = staticmethod(lambda: OscarMethod(OscarMethodOptions(captions="attributes")))

    def test_it_has_the_settings_of_the_paper(self):
        assert self.make().configuration()["generator"] == {"guidance_scale": 7.5, "num_inference_steps": 50}


def test_the_options_of_the_captions_are_checked_with_the_others():
    with pytest.raises(ValidationError, match="did you mean 'caption'"):
        OscarOptions(captions="captoin")
    with pytest.raises(ValidationError, match=r"max_words: got 0; expected 1 or more"):
        OscarOptions(options={"max_words": 0})


def test_the_captioning_model_is_pulled_and_named_like_that_of_the_strategy_itself():
    (model,) = OscarOptions(captions="caption-small").models()
    assert model.model == "Salesforce/blip-image-captioning-base"


def test_a_strategy_with_arrays_of_its_own_has_no_captions():
    from fgl.testing.contracts import DrawnImages, client_context

    nested = oscar()
    nested._captions = oscar()
    with pytest.raises(fgl.ConfigError, match="expected a prompt strategy that writes texts"):
        nested.prompts(client_context(DrawnImages(np.array([0, 1]), None)))


def test_it_runs_and_sends_one_row_for_each_class_and_client(tmp_path):
    """The upload filter `aggregate` after the same captions gives the same set, digest for digest."""
    common = {
        "dataset": {"name": "bundled", "max_per_class": 10},
        "partition": {"name": "iid", "clients": 2},
        "upload": {"codec": "fp32"},
        "synthesis": {"images_per_class": 1},
        "generator": {"name": "tiny", "num_inference_steps": 1},
        "classifier": {"name": "small", "epochs": 1},
        "baselines": "none",
    }
    reports = {}
    for name, changes in {
        "oscar": {"prompt_strategy": {"name": "oscar", "captions": "attributes"}},
        "filter": {"prompt_strategy": "attributes", "upload": {"codec": "fp32", "filters": ["aggregate"]}},
    }.items():
        reports[name] = fgl.run({**common, **changes}, out=tmp_path / name, progress=False)
    assert reports["oscar"]["synthetic"]["digest"] == reports["filter"]["synthetic"]["digest"]
    assert all(rows == 10 for rows in reports["oscar"]["upload"]["prompts"].values())
    assert not list((tmp_path / "oscar" / "server").rglob("*.txt"))


def test_texts_cannot_carry_it_and_that_is_said_before_anything_runs(tmp_path):
    config = {"prompt_strategy": {"name": "oscar", "captions": "attributes"}, "upload": {"codec": "text"}}
    with pytest.raises(fgl.ConfigError, match="'oscar' of fgl-oscar sends arrays of its own"):
        fgl.run({**config, "dataset": {"name": "bundled", "max_per_class": 10}}, out=tmp_path / "run", progress=False)


def test_the_example_configuration_names_options_that_exist():
    import yaml

    config = yaml.safe_load((ROOT / "oscar.yaml").read_text(encoding="utf-8"))
    for family in ("prompt_strategy", "generator", "partition"):
        section = dict(config[family])
        fgl.options_of(family, section.pop("name"), **section)


def test_it_is_installed():
    assert entry_points(group="fgl")["oscar"].value == "fgl_oscar"
