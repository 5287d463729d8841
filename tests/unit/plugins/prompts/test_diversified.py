"""Many prompts from the class name alone: distinct, the same at every client, by a grammar or a real model."""

from __future__ import annotations

import shlex
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError
from safetensors.torch import load_file, save_file

from fgl.contracts.dataset import DatasetInfo
from fgl.core.config.loader import set_option
from fgl.core.config.resolve import resolve
from fgl.core.plugin_manager import PluginManager
from fgl.errors import ModelError
from fgl.plugins.prompts.diversified import Diversified
from fgl.plugins.prompts.grammar import describe
from fgl.plugins.prompts.options import DiversifiedOptions
from fgl.testing.contracts import DrawnImages, client_context
from tests.helpers.captioners import save_captioner, save_writer


def client(labels=(0, 0, 1), **changes):
    return replace(client_context(DrawnImages(np.array(labels, dtype=np.int64), None)), **changes)


def write(context=None, **options):
    return Diversified(DiversifiedOptions(**options)).prompts(context or client())


def test_the_grammar_writes_distinct_prompts_with_the_label():
    prompts = write(prompts_per_class=200)
    assert Counter(p.class_id for p in prompts) == {0: 200, 1: 200}
    assert len({p.text for p in prompts}) == 400
    names = ("river", "airplane")
    assert all(p.text.startswith(f"{names[p.class_id]}, ") for p in prompts)
    assert all(p.text.endswith(", real world images, high resolution") for p in prompts)


def test_all_clients_write_the_same_prompts_and_another_seed_writes_others():
    first = write(client([1], client_id="client-3", seed=1))
    second = write(client([0, 1, 1], client_id="client-4", seed=2))
    assert [p.text for p in first] == [p.text for p in second if p.class_id == 1]
    assert {p.text for p in first} != {p.text for p in write(client([1]), seed=5)}


def test_the_phrases_of_a_list_are_used_about_equally_often():
    parts = [[f"view {n}" for n in range(5)], [f"light {n}" for n in range(7)], [f"place {n}" for n in range(9)]]
    found = describe(parts, 70, np.random.default_rng(0))
    assert len(set(found)) == 70
    for number, part in enumerate(parts):
        counts = Counter(text.split(", ")[number] for text in found)
        assert set(counts) == set(part)
        assert max(counts.values()) - min(counts.values()) <= 4


def test_lists_can_be_replaced_left_out_and_added():
    prompts = write(
        client([0]),
        views=["from a satellite"],
        light=[],
        settings=[],
        composition=[],
        prompts_per_class=2,
        more={"sensor": ["in infrared", "in radar"]},
        template="{a label} {details}",
    )
    assert {p.text for p in prompts} == {"a river from a satellite, in infrared", "a river from a satellite, in radar"}


def test_a_grammar_with_fewer_prompts_than_asked_for_gives_them_all_and_counts(caplog):
    noted = Counter()
    context = client([0, 0, 0, 0], note=lambda kind, count: noted.update({kind: count}))
    prompts = write(context, views=["from above", "from below"], light=[], settings=[], composition=[])
    assert [p.weight for p in prompts] == [2.0, 2.0]
    assert noted == {"prompts_too_few": 18}
    assert "the grammar has 2 prompts per class, and 20 are wanted" in caplog.text


@pytest.mark.parametrize("chat", [False, True])
def test_a_model_writes_distinct_prompts_the_same_for_all_clients(tmp_path, chat):
    folder = save_writer(tmp_path / "model", chat=chat)
    options = {"model": str(folder), "prompts_per_class": 10, "batch_size": 4, "max_new_tokens": 6}
    noted = Counter()
    prompts = write(client(note=lambda kind, count: noted.update({kind: count})), **options)
    assert len({p.text.casefold() for p in prompts}) == len(prompts) == 20
    assert all(p.text.startswith(("river, ", "airplane, ")) for p in prompts)
    assert not noted
    assert prompts == write(client(seed=99), **options), "depends on the client"
    assert prompts != write(**options, seed=1)
    assert prompts != write(**options, temperature=0.5)


def test_the_grammar_tops_up_what_a_model_cannot_write_and_it_is_counted(tmp_path, caplog):
    folder = save_writer(tmp_path / "model", words="dog cat")
    noted = Counter()
    context = client([0], note=lambda kind, count: noted.update({kind: count}))
    prompts = write(context, model=str(folder), prompts_per_class=12, batch_size=4, max_new_tokens=1)
    assert len({p.text for p in prompts}) == 12
    assert noted["prompts_by_grammar"] >= 10
    assert "the grammar wrote" in caplog.text


def test_what_cannot_write_is_a_model_error(tmp_path, writer):
    with pytest.raises(ModelError, match=r"cannot load .*expected a folder or Hub id of a causal language model"):
        write(model=str(save_captioner(tmp_path / "blip")))
    with pytest.raises(ModelError, match="does not exist"):
        write(model=str(tmp_path / "none"))
    (tmp_path / "pickled").mkdir()
    (tmp_path / "pickled" / "pytorch_model.bin").write_bytes(b"x")
    with pytest.raises(ModelError, match=r"no safetensors weights.*pickle can run code"):
        write(model=str(tmp_path / "pickled"))
    with pytest.raises(ModelError, match=r"does not write.*room for the instruction and max_new_tokens"):
        write(model=str(writer), instruction="{label} " + "dog " * 200)


def test_models_are_named_for_pulling():
    assert DiversifiedOptions().models() == ()
    (use,) = DiversifiedOptions(model="some/model", revision="abc").models()
    assert (use.model, use.revision) == ("some/model", "abc")
    assert use.files == use.client_files
    assert not any("bin" in pattern or pattern == "*" for pattern in use.files)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"views": [], "light": [], "settings": [], "composition": []}, "the grammar has no phrases"),
        ({"template": "{details}"}, r"lacks \{label\}"),
        ({"template": "{label}"}, r"lacks \{details\}"),
        ({"views": ["a", "a"]}, "listed twice"),
        ({"more": {"sensor": []}}, "at least 1 item"),
        ({"prompts_per_class": 0}, "greater than or equal to 1"),
    ],
)
def test_wrong_options_are_refused_with_a_reason(options, message):
    with pytest.raises(ValidationError, match=message):
        DiversifiedOptions(**options)


def test_a_model_is_checked_by_its_configuration_and_the_names_of_its_weights(writer, captioner, tmp_path):
    info = DatasetInfo("drawn", ("river",), (), "")
    folder = tmp_path / "writer"
    shutil.copytree(writer, folder)
    Diversified(DiversifiedOptions(model=str(folder))).check(info)
    weights = load_file(folder / "model.safetensors")
    lost = next(name for name in weights if "h.0.attn" in name)
    save_file({name: value for name, value in weights.items() if name != lost}, folder / "model.safetensors")
    with pytest.raises(ModelError, match=r"lacks 1 of its \d+ weights .*h\.0\.attn"):
        Diversified(DiversifiedOptions(model=str(folder))).check(info)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    Diversified(DiversifiedOptions()).check(info)
    with pytest.raises(ModelError, match=r"cannot load .*a causal language model"):
        Diversified(DiversifiedOptions(model=str(captioner))).check(info)
    for path in folder.glob("tokenizer*"):
        path.unlink()
    with pytest.raises(ModelError, match="tokenizer"):
        Diversified(DiversifiedOptions(model=str(folder))).check(info)


def test_the_documented_setting_fits_the_built_in_generator():
    page = (Path(__file__).parents[4] / "docs" / "prompts.md").read_text(encoding="utf-8")
    command = next(line for line in page.splitlines() if line.startswith("fgl run --prompt-strategy diversified"))
    words = shlex.split(command)
    layer = {"prompt_strategy": {"name": "diversified"}, "generator": {"name": "tiny"}}
    for place, word in enumerate(words):
        if word == "--set":
            set_option(layer, words[place + 1])
    manager = PluginManager.load()
    config = resolve([layer], manager.registry)
    encoder = manager.create("generator", config.generator).encoder("cpu")
    names = ("annual crop land", "herbaceous vegetation", "residential buildings", "T-shirt or top")
    context = replace(client(range(len(names))), class_names=names)
    prompts = manager.create("prompt_strategy", config.prompt_strategy).prompts(context)
    assert len(prompts) == 20 * len(names)
    assert encoder.truncated(prompts) == 0
    default = resolve([{"prompt_strategy": "diversified"}], manager.registry)
    assert encoder.truncated(manager.create("prompt_strategy", default.prompt_strategy).prompts(context)) > 0
