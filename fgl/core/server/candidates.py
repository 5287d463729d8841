"""Candidates that are put to the vote: texts of a public grammar, drawn, chosen and varied.

After Private Evolution (Lin et al. 2024, arXiv 2305.15560), with texts in the place of images (as in arXiv 2506.07555):
the best candidates stay, and the others of a round differ from one of them in one phrase.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fgl.contracts.prompts import Grammar

Grammars = Sequence["Grammar"]
"""What a prompt strategy may write of a class."""
_TRIES = 20  # for a variation that is not there yet


@dataclass(frozen=True, slots=True)
class Candidate:
    """One text of a class."""

    class_id: int
    """Its class."""
    text: str
    """What is painted."""
    grammar: int
    """Position of its grammar among those of its class."""
    phrases: tuple[int, ...]
    """For each place of that grammar, the phrase that stands there."""
    pictures: str = ""
    """Which pictures, where candidates of one text have others: digest of what they were varied from; "": as painted
    from the text."""
    origin: int = -1
    """Position in the round before of the candidate that it varies, or is where the pictures are the same; -1: new."""


def proposed(class_id: int, grammars: Grammars, count: int, rng: np.random.Generator) -> list[Candidate]:
    """Up to `count` different texts, each phrase of a place about equally often; all of them if there are no more."""
    if sum(prod(map(len, grammar)) for grammar in grammars) <= count:
        return list(_distinct(_all(class_id, grammars), count))
    return list(_distinct(_drawn(class_id, grammars, count, rng), count))


def next_round(
    candidates: Sequence[Candidate],
    votes: NDArray[np.float64],
    grammars: Mapping[int, Grammars],
    count: int,
    rng: np.random.Generator,
) -> list[Candidate]:
    """Candidates of the next round, by class: the better half of those with votes, then variations of candidates that
    are drawn by their votes, then new proposals where there are not enough. votes: float64 [n], not negative."""
    found = []
    for class_id, of_class in sorted(grammars.items()):
        rows, best = _ranked(candidates, votes, class_id, count)
        made = {candidates[row].text: candidates[row] for row in best}
        if best:
            for parent in rng.choice(rows, size=_TRIES * count, p=votes[rows] / votes[rows].sum()).tolist():
                if len(made) == count:
                    break
                child = _varied(candidates[parent], of_class, rng)
                made.setdefault(child.text, child)
        for candidate in proposed(class_id, of_class, count, rng):
            if len(made) == count:
                break
            made.setdefault(candidate.text, candidate)
        found += list(made.values())
    return found


def next_pictures(
    candidates: Sequence[Candidate],
    votes: NDArray[np.float64],
    grammars: Mapping[int, Grammars],
    count: int,
    rng: np.random.Generator,
    number: int,
) -> list[Candidate]:
    """As `next_round`, with variations of pictures in the place of phrases: what differs is `pictures`. number: of the
    round that is made."""
    found = []
    for class_id, of_class in sorted(grammars.items()):
        rows, best = _ranked(candidates, votes, class_id, count)
        made = [replace(candidates[row], origin=row) for row in best]
        children: dict[int, int] = {}
        if best:
            for parent in rng.choice(rows, size=count - len(made), p=votes[rows] / votes[rows].sum()).tolist():
                children[parent] = children.get(parent, 0) + 1
                of = candidates[parent]
                said = f"{of.pictures}/{of.text}/{number}/{children[parent]}".encode()
                made.append(replace(of, pictures=hashlib.sha256(said).hexdigest()[:32], origin=parent))
        else:
            made = list(proposed(class_id, of_class, count, rng))
        found += made
    return found


def _ranked(
    candidates: Sequence[Candidate], votes: NDArray[np.float64], class_id: int, count: int
) -> tuple[list[int], list[int]]:
    """(rows of a class, those of them that stay: with votes, the most first, half of `count` at most)."""
    rows = [row for row, candidate in enumerate(candidates) if candidate.class_id == class_id]
    order = sorted(rows, key=lambda row: (-votes[row], row))
    return rows, [row for row in order if votes[row] > 0][: max(1, count // 2)]


def counted(votes: NDArray[np.float64], deviation: float, threshold: float) -> NDArray[np.float64]:
    """What noisy votes come to: those below `threshold` standard deviations of the noise count as none, and the others
    lose as much. float64 [n], not negative."""
    remaining: NDArray[np.float64] = np.maximum(votes - threshold * deviation, 0.0)
    return remaining


def exclusive(candidates: Sequence[Candidate], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weights with which every text stands for one class alone, since images of one text must not be of two classes:
    the one whose votes for it weigh most, after each class has got the one text that serves all together best (an
    assignment). A class that nothing was voted for gets a text that the others do not want.

    weights: float64 [n], not negative. Returns float64 [n]; each class has at least one above 0. Raises ValueError
    where there are not enough texts for that.
    """
    from scipy.optimize import linear_sum_assignment

    classes = {class_id: row for row, class_id in enumerate(sorted({one.class_id for one in candidates}))}
    texts = {text: column for column, text in enumerate(sorted({one.text for one in candidates}))}
    place = [(classes[one.class_id], texts[one.text]) for one in candidates]
    table = np.full((len(classes), len(texts)), -np.inf)
    for at, weight in zip(place, weights.tolist(), strict=True):
        table[at] = weight + max(float(table[at]), 0.0)  # of one text there may be several sets of pictures
    if len(texts) < len(classes):
        raise ValueError(f"{len(texts)} texts for {len(classes)} classes")
    rows, columns = linear_sum_assignment(table, maximize=True)
    owner = table.argmax(axis=0)
    owner[columns] = rows
    assigned = set(zip(rows.tolist(), columns.tolist(), strict=True))
    found = np.zeros(len(candidates))
    for row, at in enumerate(place):
        if at in assigned:
            found[row] = max(float(weights[row]), np.finfo(np.float64).tiny)
        elif owner[at[1]] == at[0]:
            found[row] = weights[row]
    return found


def _all(class_id: int, grammars: Grammars) -> Iterator[Candidate]:
    for number, grammar in enumerate(grammars):
        for phrases in np.ndindex(*map(len, grammar)):
            yield _candidate(class_id, grammars, number, phrases)


def _drawn(class_id: int, grammars: Grammars, count: int, rng: np.random.Generator) -> Iterator[Candidate]:
    """Without end, from each grammar as often."""
    while True:
        columns = [[_evenly(len(place), count, rng) for place in grammar] for grammar in grammars]
        for row in range(count):
            for number, grammar in enumerate(columns):
                yield _candidate(class_id, grammars, number, tuple(column[row] for column in grammar))


def _distinct(candidates: Iterator[Candidate], count: int) -> Iterator[Candidate]:
    seen: set[str] = set()
    for _, candidate in zip(range(1000 * count), candidates, strict=False):  # grammars may say the same in many ways
        if candidate.text not in seen:
            seen.add(candidate.text)
            yield candidate
        if len(seen) == count:
            return


def _varied(parent: Candidate, grammars: Grammars, rng: np.random.Generator) -> Candidate:
    """With one phrase replaced; the parent where there is no other phrase."""
    grammar = grammars[parent.grammar]
    open_ = [place for place, phrases in enumerate(grammar) if len(phrases) > 1]
    if not open_:
        return parent
    place = int(rng.choice(open_))
    phrases = list(parent.phrases)
    other = int(rng.integers(len(grammar[place]) - 1))
    phrases[place] = other + (other >= phrases[place])
    return _candidate(parent.class_id, grammars, parent.grammar, tuple(phrases))


def _candidate(class_id: int, grammars: Grammars, number: int, phrases: Sequence[int]) -> Candidate:
    text = "".join(place[phrase] for place, phrase in zip(grammars[number], phrases, strict=True))
    return Candidate(class_id, text, number, tuple(int(phrase) for phrase in phrases))


def _evenly(choices: int, count: int, rng: np.random.Generator) -> list[int]:
    rounds = [rng.permutation(choices) for _ in range(-(-count // choices))]
    return [int(index) for index in np.concatenate(rounds)[:count]]
