"""Candidates that are put to the vote."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fgl.core.server.candidates import Candidate, counted, exclusive, next_pictures, next_round, proposed

PLACES = st.lists(st.lists(st.text("abcdef", min_size=1, max_size=4), min_size=1, max_size=6, unique=True), max_size=4)
GRAMMARS = st.lists(PLACES.filter(bool), min_size=1, max_size=3)


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def spelled(grammars: list[list[list[str]]], candidate: Candidate) -> str:
    grammar = grammars[candidate.grammar]
    return "".join(place[phrase] for place, phrase in zip(grammar, candidate.phrases, strict=True))


@settings(max_examples=50, deadline=None)
@given(GRAMMARS, st.integers(1, 30))
def test_proposals_are_different_texts_of_the_grammar(grammars: list[list[list[str]]], count: int) -> None:
    found = proposed(3, grammars, count, rng())
    texts = [candidate.text for candidate in found]
    assert len(set(texts)) == len(texts) <= count
    assert all(spelled(grammars, candidate) == candidate.text for candidate in found)
    every = {"".join(choice) for grammar in grammars for choice in _product(grammar)}
    assert len(found) >= min(count, len(every)) * 0.5  # grammars may say the same in many ways
    if sum(int(np.prod([len(place) for place in grammar])) for grammar in grammars) <= count:
        assert set(texts) == every


def _product(grammar: list[list[str]]) -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = [()]
    for place in grammar:
        found = [(*start, phrase) for start in found for phrase in place]
    return found


def test_each_phrase_is_proposed_about_equally_often() -> None:
    grammar = [["red ", "green ", "blue ", "dark "], ["cat", "dog", "bird"], [" at night", " by day"]]
    found = proposed(0, [grammar], 12, rng())
    assert len(found) == 12
    for place, phrases in enumerate(grammar):
        counts = np.bincount([candidate.phrases[place] for candidate in found], minlength=len(phrases))
        assert counts.max() - counts.min() <= 2, (place, counts)


def test_the_best_stay_and_the_others_differ_from_a_voted_one_in_one_phrase() -> None:
    grammar = [[f"{letter} " for letter in "abcdefgh"], ["cat", "dog", "bird", "cow"], [" left", " right"]]
    grammars = {0: [grammar], 4: [[["one", "two"]]]}
    before = [*proposed(0, [grammar], 6, rng()), *proposed(4, [[["one", "two"]]], 6, rng())]
    votes = np.array([0.0, 9.0, 0.0, 4.0, 0.0, 0.0, 0.0, 0.0])
    after = next_round(before, votes, grammars, 6, rng())
    of_class = [candidate for candidate in after if candidate.class_id == 0]
    assert [candidate.text for candidate in of_class[:2]] == [before[1].text, before[3].text]
    assert len({candidate.text for candidate in of_class}) == len(of_class) == 6
    for child in of_class[2:]:
        differences = [sum(a != b for a, b in zip(child.phrases, before[row].phrases, strict=True)) for row in (1, 3)]
        assert 1 in differences, (child, differences)
    # a class that nobody voted for is proposed anew, as far as there is anything to propose
    assert {candidate.text for candidate in after if candidate.class_id == 4} == {"one", "two"}


@pytest.mark.parametrize(("threshold", "left"), [(0.0, [0.0, 3.0, 0.5]), (1.0, [0.0, 1.0, 0.0])])
def test_votes_below_the_threshold_count_as_none(threshold: float, left: list[float]) -> None:
    assert counted(np.array([-5.0, 3.0, 0.5]), 2.0, threshold).tolist() == left


def hidden(votes: list[list[float]]) -> tuple[list[Candidate], np.ndarray]:
    """Candidates of classes that may be called a, b, c, …, with their votes."""
    rows = [(class_id, name) for class_id, row in enumerate(votes) for name in range(len(row))]
    found = [Candidate(class_id, "abcdef"[name], 0, (name,)) for class_id, name in rows]
    return found, np.array(votes, dtype=np.float64).ravel()


@pytest.mark.parametrize(
    ("votes", "kept"),
    [
        ([[9, 1, 0], [0, 5, 2]], [[9, 0, 0], [0, 5, 2]]),  # b is the other's
        ([[9, 8, 0], [7, 0, 0]], [[0, 8, 0], [7, 0, 0]]),  # together they get most so, although a is first for both
        ([[0, 6, 1], [0, 2, 3]], [[0, 6, 0], [0, 0, 3]]),
    ],
)
def test_a_text_stands_for_one_class(votes: list[list[float]], kept: list[list[float]]) -> None:
    candidates, weights = hidden(votes)
    np.testing.assert_array_equal(exclusive(candidates, weights).reshape(len(votes), -1), kept)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.integers(0, 3), min_size=6, max_size=6), min_size=1, max_size=6))
def test_every_class_gets_a_text_of_its_own(votes: list[list[float]]) -> None:
    candidates, weights = hidden(votes)
    table = exclusive(candidates, weights).reshape(len(votes), -1)
    assert (table > 0).any(axis=1).all()
    assert ((table > 0).sum(axis=0) <= 1).all()


def test_too_few_texts_for_the_classes_are_an_error() -> None:
    with pytest.raises(ValueError, match="2 texts for 3 classes"):
        exclusive(*hidden([[1, 1]] * 3))


def test_pictures_are_varied_from_the_best_and_known_by_what_they_vary() -> None:
    rng = np.random.default_rng(0)
    before = [Candidate(0, f"text {row}", 0, (row,)) for row in range(4)]
    grammars = {0: [[[f"text {row}" for row in range(4)]]]}
    votes = np.array([0.0, 6.0, 3.0, 0.0])
    second = next_pictures(before, votes, grammars, 6, rng, 2)
    assert [(one.text, one.origin, one.pictures) for one in second[:2]] == [("text 1", 1, ""), ("text 2", 2, "")]
    children = second[2:]
    assert len(second) == 6
    assert all(one.origin in (1, 2) and one.text == before[one.origin].text for one in children)
    assert len({one.pictures for one in children}) == 4
    third = next_pictures(second, np.array([9.0, 0, 0, 0, 0, 0]), grammars, 6, rng, 3)
    assert not {one.pictures for one in third[1:]} & {one.pictures for one in children}, "of another round"
    # a class that nobody voted for is proposed anew
    again = next_pictures(before, np.zeros(4), grammars, 3, rng, 2)
    assert all((one.origin, one.pictures) == (-1, "") for one in again)
