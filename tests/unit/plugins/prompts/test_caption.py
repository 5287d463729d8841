"""Captions by real models of random weights: every kind, resumed, cached, scrubbed, counted."""

from __future__ import annotations

import json
import logging
import shutil
import signal
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from fgl.contracts.dataset import DatasetInfo, Subset
from fgl.contracts.progress import NullProgress
from fgl.errors import BadImageError, DataError, ModelError, StoreError
from fgl.plugins.prompts.caption import Caption
from fgl.plugins.prompts.caption_cache import FILE, CaptionCache, image_digest
from fgl.plugins.prompts.caption_model import Captioner, identity
from fgl.plugins.prompts.options import CaptionOptions
from fgl.testing.contracts import DrawnImages, client_context
from fgl.testing.data import CLASS_NAMES
from tests.helpers import warm
from tests.helpers.captioners import WORDS, save_captioner, save_writer

KINDS = ("blip", "blip-2", "git", "vision-encoder-decoder", "llava")
INFO = DatasetInfo("drawn", CLASS_NAMES, (), "")
LABELS = np.array([0] * 8 + [1] * 5, dtype=np.int64)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return {kind: save_captioner(folder / kind, kind) for kind in KINDS}


@pytest.fixture
def options(captioner):
    return CaptionOptions(model=str(captioner), max_new_tokens=6, batch_size=3)


@pytest.fixture
def context(tmp_path):
    return replace(client_context(DrawnImages(LABELS, None)), private=tmp_path / "private")


def keep(context, options, captions):
    """Put captions where the strategy will find them, as if its model had written them. One an image."""
    cache = CaptionCache(context.private, identity(options, Path(options.model), "cpu"))
    cache.add({image_digest(context.images.image(n)): caption for n, caption in enumerate(captions)})


@pytest.fixture
def counted(monkeypatch):
    """How many images went through the model."""
    sizes = []
    caption = Captioner.caption

    def counting(self, images):
        sizes.append(len(images))
        return caption(self, images)

    monkeypatch.setattr(Captioner, "caption", counting)
    return sizes


# the models


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_model_captions_in_batches_that_change_nothing(models, kind):
    images = [DrawnImages(LABELS, None).image(n) for n in range(5)]
    options = CaptionOptions(model=str(models[kind]), max_new_tokens=6, batch_size=4)
    captioner = Captioner(options, models[kind], "cpu")
    captions = captioner.caption(images[:4]) + captioner.caption(images[4:])
    assert len(set(captions)) > 1, "every picture looks the same to it"
    assert {word for caption in captions for word in caption.split()} <= set(WORDS.split())
    assert captions == [captioner.caption([image])[0] for image in images]
    alone = Captioner(options.model_copy(update={"batch_size": 1}), models[kind], "cpu")
    assert captions == [alone.caption([image])[0] for image in images]
    beams = Captioner(options.model_copy(update={"num_beams": 3}), models[kind], "cpu")
    assert len(beams.caption(images[:4])) == 4


@pytest.mark.parametrize("kind", ["blip", "blip-2", "git", "llava"])
def test_a_prefix_leads_the_caption_and_is_not_repeated(models, kind):
    images = [DrawnImages(LABELS, None).image(n) for n in range(4)]
    plain, led = (
        Captioner(CaptionOptions(model=str(models[kind]), max_new_tokens=6, prefix=prefix), models[kind], "cpu")
        for prefix in ("", "a photo of")
    )
    captions = led.caption(images)
    assert captions != plain.caption(images)
    assert not any(caption.startswith("a photo of") for caption in captions)


def test_a_model_without_words_refuses_a_prefix(models):
    folder = models["vision-encoder-decoder"]
    with pytest.raises(ModelError, match=r"prefix: got 'a photo of', but .* takes no words"):
        Captioner(CaptionOptions(model=str(folder), prefix="a photo of"), folder, "cpu")


@pytest.mark.parametrize("dtype", ["fp16", "bf16"])
@pytest.mark.parametrize("kind", KINDS)
def test_half_precision_is_asked_for_by_name(models, kind, dtype):
    options = CaptionOptions(model=str(models[kind]), dtype=dtype, max_new_tokens=4, batch_size=2)
    captioner = Captioner(options, models[kind], "cpu")
    assert {"fp16": "torch.float16", "bf16": "torch.bfloat16"}[dtype] in {
        str(parameter.dtype) for parameter in captioner._model.parameters()
    }
    assert len(captioner.caption([Image.new("RGB", (8, 8))])) == 1


def break_nothing(folder):
    shutil.rmtree(folder)


def break_weights(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def break_bytes(folder):
    (folder / "model.safetensors").write_bytes(b"no weights")


def break_tokenizer(folder):
    for path in folder.glob("tokenizer*"):
        path.unlink()


def break_config(folder):
    (folder / "config.json").write_text('{"model_type": "resnet"}')


def break_tensors(folder):
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    save_file({name: weights[name] for name in list(weights)[:10]}, folder / "model.safetensors")


def rename_a_weight(folder):
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    lost = next(name for name in weights if "layer" in name and name.endswith("weight"))
    save_file(
        {f"other.{name}" if name == lost else name: value for name, value in weights.items()},
        folder / "model.safetensors",
        {"format": "pt"},
    )


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (break_nothing, "does not exist"),
        (
            break_weights,
            "no safetensors weights, and fgl opens no others, since pickle can run code; name a `revision`",
        ),
        (break_bytes, "is not a safetensors file"),
        (break_tokenizer, r"the tokenizer of .* has 5 tokens and its weights \d+; expected the tokenizer's files"),
        (break_config, "cannot load .*expected a folder or Hub id of a model that captions images"),
        (break_tensors, r"lacks \d+ of its \d+ weights \(.*, …\); expected all of them"),
    ],
)
def test_a_model_that_cannot_be_used_is_named_with_what_to_do(captioner, context, tmp_path, damage, message):
    folder = tmp_path / "model"
    shutil.copytree(captioner, folder)
    damage(folder)
    with pytest.raises(ModelError, match=message):
        Caption(CaptionOptions(model=str(folder))).prompts(context)
    with pytest.raises(ModelError, match=message):
        Caption(CaptionOptions(model=str(folder))).check(INFO)


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_is_checked_by_its_configuration_and_the_names_of_its_weights(models, kind, tmp_path):
    folder = tmp_path / kind
    shutil.copytree(models[kind], folder)
    Caption(CaptionOptions(model=str(folder))).check(INFO)
    rename_a_weight(folder)
    with pytest.raises(ModelError, match=r"lacks 1 of its \d+ weights"):
        Caption(CaptionOptions(model=str(folder))).check(INFO)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "no-such-kind"}))
    with pytest.raises(ModelError, match=r"cannot load .*no-such-kind"):
        Caption(CaptionOptions(model=str(folder))).check(INFO)


def test_a_configuration_that_no_model_can_be_built_from_is_said(models, tmp_path):
    folder = tmp_path / "blip"
    shutil.copytree(models["blip"], folder)
    config = json.loads((folder / "config.json").read_text())
    config["vision_config"]["num_attention_heads"] = 3
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=r"cannot load .*divisible"):
        Caption(CaptionOptions(model=str(folder))).check(INFO)


def test_a_model_of_the_hub_is_not_asked_for_by_a_check(monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    Caption(CaptionOptions()).check(INFO)
    with pytest.raises(ModelError, match=r"model: \./no-such does not exist; expected a folder or a Hub id"):
        Caption(CaptionOptions(model="./no-such")).check(INFO)


def test_a_language_model_does_not_caption(context, tmp_path):
    caption = Caption(CaptionOptions(model=str(save_writer(tmp_path / "gpt2"))))
    for attempt in (lambda: caption.prompts(context), lambda: caption.check(INFO)):
        with pytest.raises(ModelError, match="model that captions images"):
            attempt()


def test_models_are_named_for_pulling_without_pickle():
    (use,) = CaptionOptions().models()
    assert (use.model, use.revision) == ("Salesforce/blip2-opt-2.7b", None)
    assert use.files == use.client_files
    assert not any(pattern == "*" or "bin" in pattern.split(".") for pattern in use.files)
    (small,) = CaptionOptions(model="Salesforce/blip-image-captioning-base").models()
    assert small.revision == "refs/pr/50"
    assert CaptionOptions(model="Salesforce/blip-image-captioning-base", revision="main").models()[0].revision == "main"


# the prompts


def test_the_default_text_is_the_papers(context, options):
    keep(context, options, ["a boat under a bridge", "a boat under a bridge", *["a bird in the sky"] * 11])
    prompts = Caption(options).prompts(context)
    assert [(p.class_id, p.text, p.weight) for p in prompts] == [
        (0, "river, a bird in the sky, real world images, high resolution.", 6.0),
        (0, "river, a boat under a bridge, real world images, high resolution.", 2.0),
        (1, "airplane, a bird in the sky, real world images, high resolution.", 5.0),
    ]
    assert {(p.negative, p.domain) for p in prompts} == {("low quality, low resolution", None)}


def test_a_template_with_the_domain_sends_it(context, options):
    options = options.model_copy(update={"template": "{label}, {domain} style, {caption}"})
    domains = ["photo", "sketch"] * 6 + ["photo"]
    context = replace(context, images=DrawnImages(LABELS, domains))
    keep(context, options, ["a bird"] * len(LABELS))
    prompts = Caption(options).prompts(context)
    assert [(p.text, p.domain, p.weight) for p in prompts][:2] == [
        ("river, photo style, a bird", "photo", 4.0),
        ("river, sketch style, a bird", "sketch", 4.0),
    ]
    with pytest.raises(DataError, match="no domains"):
        Caption(options).prompts(replace(context, images=DrawnImages(LABELS, None)))


def test_what_is_scrubbed_is_counted_and_nowhere_quoted(context, options, caplog):
    caplog.set_level(logging.INFO)
    noted = Counter()
    captions = ["a boat named bluebird", "call 555 1234", "a man with jane@example.org", *["a bird in the sky"] * 10]
    keep(context, options, captions)
    prompts = Caption(options).prompts(replace(context, note=lambda kind, n: noted.update({kind: n})))
    assert noted == {"captions": 13, "scrubbed_names": 1, "scrubbed_numbers": 1, "scrubbed_emails": 1}
    assert "scrubbed from 13 captions: 1 emails, 1 names, 1 numbers" in caplog.text
    said = caplog.text + " ".join(p.text for p in prompts)
    assert not any(secret in said for secret in ("bluebird", "555", "jane", "example"))
    off = Caption(options.model_copy(update={"scrub": []})).prompts(context)
    assert any("bluebird" in p.text for p in off)


def test_images_without_a_caption_get_the_class_level_prompt_and_are_counted(context, options, caplog):
    noted = Counter()
    keep(context, options, ["", "...", "xyzzy", *["a bird in the sky"] * 10])
    prompts = Caption(options).prompts(replace(context, note=lambda kind, n: noted.update({kind: n})))
    assert ("river, real world images, high resolution", 3.0) in [(p.text, p.weight) for p in prompts]
    assert noted == {"captions": 13, "captions_missing": 2, "captions_scrubbed_away": 1, "scrubbed_rare": 1}
    assert "no caption for 2 of 13 images (the model wrote nothing); they get the class-level prompt" in caplog.text
    assert "no caption for 1 of 13 images (nothing was left after scrubbing)" in caplog.text


def test_a_model_that_says_nothing_at_all_is_an_error(context, tmp_path):
    folder = save_captioner(tmp_path / "mute", words="")
    with pytest.raises(
        ModelError, match=r"wrote nothing about any of the 13 images; expected a model that was trained"
    ):
        Caption(CaptionOptions(model=str(folder))).prompts(context)


def test_an_unreadable_image_is_named_and_what_was_done_is_kept(context, options, counted):
    class Broken(DrawnImages):
        def image(self, index):
            if index == 7:
                raise BadImageError(f"{self.name(index)}: cannot be decoded")
            return super().image(index)

    with pytest.raises(BadImageError, match=r"patient-0007\.png: cannot be decoded"):
        Caption(options).prompts(replace(context, images=Broken(LABELS, None)))
    assert counted == [3, 3]
    Caption(options).prompts(context)
    assert sum(counted) == 13


def test_a_budget_holds_for_captions(context, options):
    for choose in ("frequent", "sampled", "clustered"):
        prompts = Caption(options.model_copy(update={"max_per_class": 2, "choose": choose})).prompts(context)
        assert max(Counter(p.class_id for p in prompts).values()) <= 2
        assert sum(p.weight for p in prompts if p.class_id == 0) == pytest.approx(8)


# the cache


def test_captions_are_kept_by_pixels_and_found_again(context, options, counted):
    first = Caption(options).prompts(context)
    assert counted == [3, 3, 3, 3, 1]
    lines = (context.private / FILE).read_text().splitlines()
    assert len(lines) == 13
    assert set(json.loads(lines[0])) == {"model", "image", "caption", "check"}
    assert Caption(options).prompts(context) == first
    assert Caption(options).prompts(replace(context, images=Subset(context.images, range(12, -1, -1)))) == first
    assert sum(counted) == 13, "captioned again"
    assert Caption(options).prompts(replace(context, private=None)) == first, "without a folder it is another"


def test_equal_pictures_are_captioned_once(context, options, counted):
    class Same(DrawnImages):
        def image(self, index):
            return super().image(index % 2)

    Caption(options).prompts(replace(context, images=Same(LABELS, None)))
    assert counted == [2]


@pytest.mark.parametrize(
    "change", [{"num_beams": 2}, {"max_new_tokens": 5}, {"prefix": "a"}, {"dtype": "bf16"}, {"batch_size": 5}]
)
def test_what_changes_a_caption_makes_it_anew(context, options, counted, change):
    Caption(options).prompts(context)
    Caption(options.model_copy(update=change)).prompts(context)
    assert sum(counted) == 26


def test_another_model_captions_anew_and_scrubbing_does_not(context, options, counted, tmp_path):
    first = Caption(options).prompts(context)
    Caption(options.model_copy(update={"scrub": [], "max_words": 2, "template": "{caption} {label}"})).prompts(context)
    assert sum(counted) == 13
    folder = tmp_path / "model"
    shutil.copytree(options.model, folder)
    moved = options.model_copy(update={"model": str(folder)})
    assert Caption(moved).prompts(context) == first
    assert sum(counted) == 13, "the same files elsewhere are the same model"
    save_captioner(folder, seed=1)
    assert Caption(moved).prompts(context) != first
    assert sum(counted) == 26


def test_lines_that_are_damaged_or_torn_are_as_if_not_there(context, options, counted):
    first = Caption(options).prompts(context)
    path = context.private / FILE
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:4], b'{"model": 3}\n', b"\xff\xfe nonsense\n", lines[4][: len(lines[4]) // 2]]))
    assert Caption(options).prompts(context) == first
    assert sum(counted) == 13 + 9
    assert Caption(options).prompts(context) == first
    assert sum(counted) == 13 + 9, "what was written behind the torn line is lost"


def test_a_flipped_letter_of_a_kept_caption_does_not_become_another_prompt(tmp_path):
    CaptionCache(tmp_path, "model").add({"one": "a boat", "two": "a road"})
    path = tmp_path / FILE
    data = path.read_bytes()
    for place in range(data.index(b"\n")):
        path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        found = CaptionCache(tmp_path, "model")
        assert "one" not in found or found["one"] == "a boat"
        assert found["two"] == "a road"
    path.write_text('{"model": "model", "image": "one", "caption": "a boat"}\n')  # of an earlier version
    assert "one" not in CaptionCache(tmp_path, "model")


def test_half_of_a_character_is_cleaned_away_before_it_is_kept(context, options, counted):
    captions = ["a boat \ud83d under a bridge"] * 8 + ["a bird \udc00in the sky"] * 5
    keep(context, options, captions)
    data = (context.private / FILE).read_text(encoding="utf-8")
    assert "?" not in data
    assert "\\u" not in data
    assert [p.text for p in Caption(options).prompts(context)] == [
        "river, a boat under a bridge, real world images, high resolution.",
        "airplane, a bird in the sky, real world images, high resolution.",
    ]
    assert counted == []
    cache = CaptionCache(None, "model")
    cache.add({"image": "a\ud800dog"})
    assert cache["image"] == "a dog", "a run that goes on would read another text than the one that wrote it"


def test_a_folder_that_cannot_be_written_is_said(context, options, tmp_path):
    context.private.mkdir()
    (context.private / FILE).mkdir()
    with pytest.raises(StoreError, match=r"cannot read .*captions\.jsonl"):
        Caption(options).prompts(context)
    (tmp_path / "file").write_text("")
    cache = CaptionCache(None, "model")
    cache._path = tmp_path / "file" / FILE
    with pytest.raises(StoreError, match=r"what is in it is kept: free some space, or make the folder writable"):
        cache.add({"image": "a dog"})


_CHILD = """
import os, signal, sys
from dataclasses import replace
from pathlib import Path
import numpy as np
from fgl.plugins.prompts.caption import Caption
from fgl.plugins.prompts.options import CaptionOptions
from fgl.testing.contracts import DrawnImages, client_context

class Deadly(DrawnImages):
    def image(self, index):
        if path.exists() and path.read_bytes().count(b"\\n") >= 6:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().image(index)

model, path = sys.argv[1], Path(sys.argv[2])
context = client_context(Deadly(np.array([0] * 8 + [1] * 5), None))
Caption(CaptionOptions(model=model, max_new_tokens=6, batch_size=3)).prompts(replace(context, private=path.parent))
"""


def test_a_killed_run_goes_on_after_its_last_batch_and_ends_the_same(context, options, counted):
    path = context.private / FILE
    assert warm.run(_CHILD, options.model, str(path)).returncode == -signal.SIGKILL
    done = path.read_bytes()
    kept = done.count(b"\n")
    assert 6 <= kept < 13
    resumed = Caption(options).prompts(context)
    assert sum(counted) == 13 - kept, "a finished batch was captioned again"
    assert path.read_bytes().startswith(done)
    assert resumed == Caption(options).prompts(replace(context, private=None))


def test_progress_counts_every_image_once(context, options):
    class Counting(NullProgress):
        seen = 0

        def advance(self, count=1, note=""):
            Counting.seen += count

    Caption(options).prompts(replace(context, progress=Counting()))
    assert Counting.seen == 13


def test_no_more_than_a_batch_of_images_is_held(context, options):
    alive = set()
    most = 0

    class Tracked(Image.Image):
        def __del__(self):
            alive.discard(id(self))

    class Tracking(DrawnImages):
        def image(self, index):
            nonlocal most
            image = super().image(index)
            image.__class__ = Tracked
            alive.add(id(image))
            most = max(most, len(alive))
            return image

    Caption(options).prompts(replace(context, images=Tracking(LABELS, None)))
    assert most <= options.batch_size + 2


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"template": "{label}"}, r"lacks \{caption\}"),
        ({"template": "{caption}"}, r"lacks \{label\}"),
        ({"template": "{label} {capton}"}, r"unknown placeholder \{capton\}"),
        ({"fallback_template": "{label} {domain}"}, r"fallback_template has \{domain\}, and template has not"),
        ({"scrub": ["phones"]}, "emails"),
        ({"scrub": ["names", "names"]}, "listed twice"),
        ({"choose": "best"}, "frequent"),
        ({"max_per_class": 0}, "greater than or equal to 1"),
        ({"dtype": "int8"}, "fp16"),
    ],
)
def test_wrong_options_are_refused_with_a_reason(values, message):
    with pytest.raises(ValidationError, match=message):
        CaptionOptions(**values)
