"""What is cleaned and scrubbed out of captions, what stays, and that it is counted."""

from __future__ import annotations

from collections import Counter

import pytest

from fgl.plugins.prompts.clean import clean
from fgl.plugins.prompts.scrub import KINDS, scrub
from fgl.plugins.prompts.vocabulary import is_ordinary, ordinary_words
from fgl.testing.captioners import WORDS

NAMES = (
    "james mary robert patricia john jennifer michael linda david elizabeth william barbara richard susan joseph "
    "jessica thomas sarah charles karen anna maria peter ali fatima wei yuki olga pierre hans smith johnson williams "
    "jones garcia davis hayes müller ivanov nguyen"
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a dog", "a dog"),
        ("  a\tdog\n\non  a  sofa ", "a dog on a sofa"),
        ("a\x00dog\x1b[31m\u202e on\u200b a sofa", "a dog [31m on a sofa"),
        ("dog dog dog", "dog"),
        ("A a dog Dog, dog", "A dog"),
        ("a dog on a field, a dog on a field, a dog on a field", "a dog on a field"),
        ("a red car and a blue car", "a red car and a blue car"),
        ("a man standing next to a", "a man standing"),
        ("a man standing next to , .", "a man standing"),
        ("a dog... ", "a dog"),
        ("می\u200cخواهم", "می\u200cخواهم"),
        ("...", ""),
        ("", ""),
        ("the of a", ""),
    ],
)
def test_captions_are_cleaned(text, expected):
    assert clean(text, 30) == expected


def test_long_captions_are_cut_at_a_word_that_leads_somewhere():
    assert clean("one dog and two cats and three birds", 3) == "one dog"
    assert clean("one dog and two cats and three birds", 5) == "one dog and two cats"


@pytest.mark.parametrize(
    ("caption", "expected", "kind", "count"),
    [
        ("a poster with jane.doe@example.org on it", "a poster on it", "emails", 1),
        ("a screen that shows www.example.com/jane", "a screen that shows", "links", 1),
        ("a screen that shows https://example.org", "a screen that shows", "links", 1),
        ("a photo by @jane_doe on a wall", "a photo on a wall", "handles", 1),
        ("a player with the number 23 on his back", "a player with the number on his back", "numbers", 1),
        ("a sign with +49 (0)30 123-4567", "a sign", "numbers", 1),
        ("a sign that says 24.12.1987 in red", "a sign that says in red", "numbers", 1),
        ("a sign with ٤٥٦ on a wall", "a sign on a wall", "numbers", 1),
        ("a picture of Barack Obama on a stage", "a picture on a stage", "names", 2),
        ("a man named john smith on a sofa", "a man on a sofa", "names", 2),
        ("a portrait of dr. watson in a chair", "a portrait of dr. in a chair", "names", 1),
        ("a dog called rose on a lawn", "a dog on a lawn", "names", 1),
        ("a woman with a rolex on her wrist", "a woman on her wrist", "rare", 1),
        ("john's birthday cake", "birthday cake", "rare", 1),
    ],
)
def test_what_could_tell_whose_picture_it_is_goes_and_is_counted(caption, expected, kind, count):
    (text,), removed = scrub([caption], [kind], (), (), 2)
    assert (text, removed) == (expected, {kind: count})
    (everything,), total = scrub([caption], KINDS, (), (), 2)
    assert sum(total.values()) >= count
    assert not {"jane", "john", "smith", "obama", "watson", "rolex"} & set(everything.casefold().split())


@pytest.mark.parametrize(
    "caption",
    [
        "a kitchen with a stove, a sink and a refrigerator",
        "an aerial view of a residential area with houses and trees",
        "A German shepherd's dog runs on the beach at Christmas",
        "a black-and-white photo of two men riding bicycles down a snowy street",
        "three giraffes grazing in a grassy field beside a rocky hillside",
        WORDS,
    ],
)
def test_ordinary_captions_stay_as_they_are(caption):
    text, removed = scrub([caption], KINDS, ("shepherd",), (), 2)
    assert (text, removed) == ([caption], Counter())


def test_words_of_class_names_and_kept_words_stay():
    captions = ["a schnauzer in a boeing 747 over Lufthansa Field"]
    text, removed = scrub(captions, KINDS, ("Schnauzers", "boeing 747"), ("Lufthansa", "field"), 9)
    assert (text, removed) == (captions, Counter())


def test_a_word_is_rare_by_how_many_images_have_it():
    captions = ["a schnauzer schnauzer on a sofa", "two schnauzers", "a Schnauzer's ear", "a poodle on a sofa"]
    text, removed = scrub(captions, ["rare"], (), (), 3)
    assert text == [*captions[:3], "on a sofa"]
    assert removed == {"rare": 1}


def test_a_name_in_one_caption_is_one_in_all():
    captions = ["a photo of Zelda on a sofa", "zelda on a sofa", "Zelda is asleep", "zelda", "zelda"]
    text, removed = scrub(captions, KINDS, (), (), 2)
    assert not any("zelda" in caption.casefold() for caption in text)
    assert removed == {"names": 5}


def test_title_case_is_no_name():
    captions = ["A Dog On A Red Sofa", "Two Men In A Boat"]
    assert scrub(captions, KINDS, (), (), 2) == (captions, Counter())


def test_words_in_other_scripts_go_by_counts_alone():
    text, removed = scrub(["собака на траве", "собака спит", "кошка"], ["rare"], (), (), 2)
    assert text == ["собака", "собака", ""]
    assert removed == {"rare": 4}


def test_nothing_is_scrubbed_where_nothing_is_asked_for():
    captions = ["John Smith, jane@example.org, 1987"]
    assert scrub(captions, [], (), (), 3) == (captions, Counter())


def test_the_list_of_words_holds_words_and_no_given_names():
    words = ordinary_words()
    assert len(words) > 2000
    assert all(word == word.casefold() and word.isalpha() for word in words)
    assert not words & {"john", "mary", "james", "anna", "peter", "david", "maria", "ali", "smith", "london", "berlin"}


@pytest.mark.parametrize("word", ["sitting", "bushes", "berries", "reddish", "closest", "happily", "leafless", "man's"])
def test_inflections_are_ordinary(word):
    assert is_ordinary(word)


@pytest.mark.parametrize("name", NAMES.split())
def test_common_names_are_not(name):
    assert not is_ordinary(name)


def test_a_title_alone_is_no_name():
    captions = ["a captain standing on a ship", "a professor writing on a blackboard"]
    assert scrub(captions, ["names"], (), (), 2) == (captions, Counter())
    assert scrub(["captain haddock on a ship"], ["names"], (), (), 2) == (["captain on a ship"], {"names": 1})
