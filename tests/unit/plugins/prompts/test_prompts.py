"""What the built-in prompt strategies write, to the letter."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from fgl.contracts.progress import NullProgress
from fgl.errors import BadImageError, DataError
from fgl.plugins.prompts.attributes import AttributePrompts, keep_most_frequent
from fgl.plugins.prompts.class_name import ClassName
from fgl.plugins.prompts.domain import DomainPrompts
from fgl.plugins.prompts.options import AttributesOptions, ClassNameOptions, DomainOptions
from fgl.plugins.prompts.template import check_template, fill, with_article
from fgl.testing.contracts import DrawnImages, client_context


def client(labels, domains=None, class_names=("airplane", "clock")):
    return client_context(DrawnImages(np.array(labels, dtype=np.int64), domains), class_names)


class Closed(DrawnImages):
    """Images that must not be opened."""

    def image(self, index):
        raise BadImageError(f"{self.name(index)} was opened")


# class-name


def test_the_default_class_prompt_is_the_papers():
    first, second = ClassName(ClassNameOptions()).prompts(client([1, 0, 0]))
    assert first.text == "airplane, real world images, high resolution"
    assert first.negative == "low quality, low resolution"
    assert (first.weight, second.weight) == (2.0, 1.0)
    assert (second.class_id, second.domain) == (1, None)


def test_several_templates_share_the_samples_of_a_class():
    strategy = ClassName(ClassNameOptions(templates=["{label}", "a photo of {a label}"]))
    prompts = strategy.prompts(client([0, 0, 0]))
    assert [(p.text, p.weight) for p in prompts] == [("airplane", 1.5), ("a photo of an airplane", 1.5)]


@pytest.mark.parametrize("none", [None, ""])
def test_no_negative_prompt_is_none(none):
    assert ClassName(ClassNameOptions(negative_prompt=none)).prompts(client([0]))[0].negative is None


def test_class_and_domain_prompts_open_no_image():
    images = Closed(np.array([0, 1]), ["sketch", "real"])
    for strategy in (ClassName(ClassNameOptions()), DomainPrompts(DomainOptions())):
        assert len(strategy.prompts(client_context(images))) == 2


def test_a_label_without_a_class_name_is_an_error():
    with pytest.raises(DataError, match="labelled 5, but there are 2 class names: expected labels from 0 to 1"):
        ClassName(ClassNameOptions()).prompts(client([0, 5]))


# domain


@pytest.mark.parametrize(
    ("domain", "text", "negative"),
    [
        (
            "clipart",
            "airplane, clippart, cartoon style, single object.",
            "low quality, low resolution",
        ),
        (
            "infograph",
            "airplane, infograph images with only one object in the picture, including text descriptions of the "
            "object's components.",
            "low quality, low resolution",
        ),
        (
            "painting",
            "airplane, painting with only one object in the picture, high resolution",
            "low quality, low resolution",
        ),
        ("quickdraw", "a black and white drawing of an airplane", "colorful, painting"),
        (
            "real",
            "airplane, real world images, high resolution, only one object in the picture",
            "low quality, low resolution",
        ),
        ("sketch", "airplane, Sketch drawing with only one object in the picture", "low quality, low resolution"),
        ("noto", "airplane, noto style, real world images, high resolution", "low quality, low resolution"),
    ],
)
def test_each_domain_has_its_template_and_negative(domain, text, negative):
    (prompt,) = DomainPrompts(DomainOptions()).prompts(client([0], [domain]))
    assert (prompt.text, prompt.negative, prompt.domain) == (text, negative, domain)


def test_samples_are_counted_by_class_and_domain():
    prompts = DomainPrompts(DomainOptions()).prompts(client([0, 0, 0, 1], ["real", "sketch", "real", "real"]))
    assert [(p.class_id, p.domain, p.weight) for p in prompts] == [(0, "real", 2), (0, "sketch", 1), (1, "real", 1)]


def test_a_domains_negative_prompt_can_be_switched_off():
    options = DomainOptions(negative_prompts={"real": None})
    prompts = DomainPrompts(options).prompts(client([0, 0], ["real", "quickdraw"]))
    assert {p.domain: p.negative for p in prompts} == {"real": None, "quickdraw": "low quality, low resolution"}


def test_a_dataset_without_domains_points_to_class_name():
    with pytest.raises(DataError, match=r"this dataset has no domains.*'class-name'"):
        DomainPrompts(DomainOptions()).prompts(client([0]))


def test_a_sample_without_a_domain_is_named():
    with pytest.raises(DataError, match=r"patient-0001\.png: the sample has no domain"):
        DomainPrompts(DomainOptions()).prompts(client([0, 0], ["real", ""]))


# attributes


class Plain(DrawnImages):
    """Images of one colour: dark green for the first half, white for the others."""

    def image(self, index):
        return Image.new("RGB", (40, 40), (35, 65, 40) if index < len(self) / 2 else (250, 250, 250))


def test_attribute_prompts_say_what_was_measured():
    context = client_context(Plain(np.array([0, 0, 0]), None))
    prompts = AttributePrompts(AttributesOptions()).prompts(context)
    assert [(p.text, p.weight) for p in prompts] == [
        ("river, dark green, dark, flat, uniform, real world images, high resolution", 2.0),
        ("river, white, very bright, flat, uniform, real world images, high resolution", 1.0),
    ]


def test_only_the_chosen_attributes_are_named_in_the_chosen_order():
    options = AttributesOptions(attributes=["layout", "colours"], template="{a label}: {attributes}")
    prompts = AttributePrompts(options).prompts(client_context(Plain(np.array([1]), None)))
    assert prompts[0].text == "an airplane: uniform, dark green"


def test_the_domain_is_named_where_there_is_one_unless_switched_off():
    context = client_context(Plain(np.array([0, 0]), ["noto", "twemoji"]))
    named = AttributePrompts(AttributesOptions(attributes=["texture"])).prompts(context)
    assert [(p.text, p.domain) for p in named] == [
        ("river, noto style, flat, real world images, high resolution", "noto"),
        ("river, twemoji style, flat, real world images, high resolution", "twemoji"),
    ]
    unnamed = AttributePrompts(AttributesOptions(attributes=["texture"], include_domain=False)).prompts(context)
    assert [(p.text, p.domain, p.weight) for p in unnamed] == [
        ("river, flat, real world images, high resolution", None, 2.0)
    ]


def test_at_most_max_prompts_stay_and_no_sample_is_lost():
    context = client([0] * 40 + [1] * 9)
    prompts = AttributePrompts(AttributesOptions(max_prompts=3)).prompts(context)
    assert max(Counter(p.class_id for p in prompts).values()) == 3
    assert sum(p.weight for p in prompts if p.class_id == 0) == 40
    assert sum(p.weight for p in prompts if p.class_id == 1) == 9


def test_dropped_descriptions_count_for_the_most_similar_kept_one():
    counts = Counter(
        {
            ("green and slate", "dark"): 5,
            ("white", "bright"): 4,
            ("slate", "bright"): 1,  # one word with each: to the more frequent
            ("white and slate", "bright"): 2,  # two words with the white one
            ("pink", "medium bright"): 1,  # none with any: to the most frequent
        }
    )
    assert keep_most_frequent(counts, 2) == {("green and slate", "dark"): 7, ("white", "bright"): 6}


def test_the_order_of_the_images_does_not_matter():
    counts = [(("white",), 1), (("black",), 1), (("grey",), 1)]
    results = [list(keep_most_frequent(Counter(dict(order)), 2).items()) for order in (counts, counts[::-1])]
    assert results[0] == results[1] == [(("black",), 2), (("grey",), 1)]


def test_an_unreadable_image_is_named():
    with pytest.raises(BadImageError, match=r"patient-0000\.png"):
        AttributePrompts(AttributesOptions()).prompts(client_context(Closed(np.array([0]), None)))


def test_progress_counts_every_image():
    class Counting(NullProgress):
        seen = 0

        def advance(self, count=1, note=""):
            Counting.seen += count

    AttributePrompts(AttributesOptions()).prompts(replace(client([0, 1, 1]), progress=Counting()))
    assert Counting.seen == 3


# templates


@pytest.mark.parametrize(
    ("options", "values", "message"),
    [
        (ClassNameOptions, {"templates": ["{lable}"]}, r"unknown placeholder \{lable\}: expected one of \{label\}"),
        (ClassNameOptions, {"templates": ["{label}, {domain}"]}, r"unknown placeholder \{domain\}"),
        (ClassNameOptions, {"templates": ["{label!r}"]}, r"unknown placeholder \{label!r\}"),
        (ClassNameOptions, {"templates": ["{}"]}, r"unknown placeholder \{\}"),
        (ClassNameOptions, {"templates": ["{label"]}, r"a single '\{': write '\{\{'"),
        (ClassNameOptions, {"templates": ["a photo"]}, r"lacks \{label\}"),
        (ClassNameOptions, {"templates": ["{label}", "{label}"]}, "listed twice"),
        (ClassNameOptions, {"templates": []}, "at least 1 item"),
        (ClassNameOptions, {"template": "{label}"}, "Extra inputs"),
        (DomainOptions, {"templates": {"real": "{attributes}"}}, r"unknown placeholder \{attributes\}"),
        (DomainOptions, {"default_template": "{domain}"}, r"lacks \{label\}"),
        (AttributesOptions, {"template": "{label}"}, r"lacks \{attributes\}"),
        (AttributesOptions, {"domain_template": "{label}, {attributes}"}, r"lacks \{domain\}"),
        (AttributesOptions, {"attributes": ["colors"]}, "colours"),
        (AttributesOptions, {"attributes": ["texture", "texture"]}, "listed twice"),
        (AttributesOptions, {"max_prompts": 0}, "greater than or equal to 1"),
    ],
)
def test_wrong_options_are_refused_with_a_reason(options, values, message):
    with pytest.raises(ValidationError, match=message):
        options(**values)


def test_what_is_filled_in_is_never_read_as_a_template():
    values = {"label": "{domain} {x} {{", "domain": "real"}
    assert fill("{{{label}}} in {domain}", values) == "{{domain} {x} {{} in real"


def test_a_label_with_its_article_counts_as_the_label():
    assert check_template("{a label}", ("label", "a label")) == "{a label}"


@pytest.mark.parametrize(
    ("label", "text"),
    [
        ("clock", "a clock"),
        ("airplane", "an airplane"),
        ("axe", "an axe"),
        ("hourglass", "an hourglass"),
        ("house", "a house"),
        ("unicorn", "a unicorn"),
        ("unimproved road", "an unimproved road"),
        ("umbrella", "an umbrella"),
        ("ukulele", "a ukulele"),
        ("European gallinule", "a European gallinule"),
        ("X-ray", "an X-ray"),
        ("T-shirt", "a T-shirt"),
        ("SUV", "an SUV"),
        ("UFO", "a UFO"),
        ("8-ball", "an 8-ball"),
        ("The Eiffel Tower", "The Eiffel Tower"),
        ("a lot", "a lot"),
        ("", ""),
    ],
)
def test_articles_follow_the_sound(label, text):
    assert with_article(label) == text
