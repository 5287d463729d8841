"""Which text an embedding is of: texts that may be meant, and the nearest of them.

Shape legend: u distinct rows of all uploads, d numbers of a row, t texts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from fgl.contracts.prompts import Prompt
from fgl.core import encoding

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fgl.contracts.aggregator import ClientUpload
    from fgl.contracts.arrays import Array
    from fgl.contracts.generator import Encoder
    from fgl.contracts.prompts import Grammar
    from fgl.core.privacy.candidates import Attacker, CandidateTexts

    Floats = NDArray[np.float32]


_BLOCK = 256  # texts that are encoded and compared at once
_PASSES = 6  # over all places of a grammar; most rows settle in two
_DRAWN, _STARTS = 4096, 3
# What a codec rounds off takes less from a cosine; another text takes more.
SETTLED = 0.9995
"""A cosine from which on a row is taken for that of the text."""
# Texts that an encoder cuts to the same are equal but for rounding: the first of them counts.
_EQUAL = 1e-6
_TOGETHER = "encode_batch_size"


# --- looking up -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LookupResult:
    """The nearest text of each row of an upload: its cosine, float [n], and by how much the next one's is lower."""

    texts: list[str]
    cosine: list[float]
    margin: list[float]


def look_up(session: Attacker, uploads: Sequence[ClientUpload], tried: CandidateTexts) -> dict[str, LookupResult]:
    """Client → what was found. Rows that several clients have are looked up once."""
    encoder = _encoder(session)
    names = [spec.name for spec in session.generator.declare().arrays if not spec.shared]
    rows: list[Array] = []
    place: dict[bytes, int] = {}
    where: dict[str, list[int]] = {}
    for upload in uploads:
        flat = _flat({name: np.asarray(upload.arrays[name]) for name in names if name in upload.arrays})
        for row in flat:
            key = row.tobytes()
            if key not in place:
                place[key] = len(rows)
                rows.append(row)
            where.setdefault(upload.client_id, []).append(place[key])
    search = Search(encoder, np.stack(rows), names)
    with session.progress.track("look embeddings up", len(tried.texts), "texts") as task:
        for start in range(0, len(tried.texts), _BLOCK):
            block = tried.texts[start : start + _BLOCK]
            search.all(block)
            task.advance(len(block))
    for grammar in tried.grammars:
        with session.progress.track("search phrases", 0, "texts") as task:
            search.climb(grammar, np.random.default_rng([session.config.seed, 6]), task.advance)
    best, cosine, margin = search.result()
    return {
        name: LookupResult([best[one] for one in rows], [cosine[one] for one in rows], [margin[one] for one in rows])
        for name, rows in where.items()
    }


def _encoder(session: Attacker) -> Encoder:
    """The generator's text encoder, many texts at a time where it has such an option: rounding makes other rows of
    texts, but nothing to a nearest neighbor."""
    chosen = session.config.generator
    if _TOGETHER not in chosen.options:
        return session.generator.encoder(session.device)
    generator = session.manager.registry.create("generator", chosen.name, {**chosen.options, _TOGETHER: _BLOCK})
    found: Encoder = generator.encoder(session.device)
    return found


def _flat(arrays: Mapping[str, Array]) -> Floats:
    """Arrays [n, …] side by side: float32 [n, d]."""
    return np.concatenate([array.reshape(len(array), -1).astype(np.float32) for array in arrays.values()], axis=1)


@dataclass
class Search:
    """Nearest texts by cosine of what is left of embeddings, the empty text's taken off: all texts share most of one.

    rows: float32 [u, d]. names: arrays that `encoder` gives and that make a row."""

    encoder: Encoder
    rows: Floats
    names: Sequence[str]
    best: list[str] = field(init=False)
    cosine: NDArray[np.float64] = field(init=False)
    second: NDArray[np.float64] = field(init=False)

    def __post_init__(self) -> None:
        self._empty = self._encode([""])
        self.rows = _unit(self.rows - self._empty)
        self.best = [""] * len(self.rows)
        self.cosine, self.second = np.full(len(self.rows), -2.0), np.full(len(self.rows), -2.0)

    def all(self, texts: Sequence[str]) -> None:
        """Try each text on each row."""
        for text, scores in zip(texts, self._scores(texts), strict=True):
            self._take(text, np.arange(len(self.rows)), scores)

    def climb(self, grammar: Grammar, random: np.random.Generator, advance: Any) -> None:
        """Search a grammar for each row that no text so far is all but equal to. Of texts by lot, the same for all,
        those that are nearest to a row are where its search starts: place after place it takes the phrase whose text is
        nearest, the others as they are, until no place changes (coordinate ascent). It may still end beside the nearest
        text."""
        drawn = random.integers([len(phrases) for phrases in grammar], size=(_DRAWN, len(grammar)))
        scores = np.empty((_DRAWN, len(self.rows)))
        for first in range(0, _DRAWN, _BLOCK):
            picks = drawn[first : first + _BLOCK].tolist()
            texts = ["".join(each[pick] for each, pick in zip(grammar, row, strict=True)) for row in picks]
            scores[first : first + _BLOCK] = self._scores(texts)
            for text, each in zip(texts, scores[first : first + _BLOCK], strict=True):
                self._take(text, np.arange(len(self.rows)), each)
            advance(len(texts))
        nearest = np.argsort(-scores, axis=0, kind="stable")
        for start in range(_STARTS):
            left = np.flatnonzero(self.cosine < SETTLED)
            self._ascend(grammar, left, drawn[nearest[start, left]], advance)

    def _ascend(self, grammar: Grammar, rows: NDArray[np.int64], chosen: NDArray[np.int64], advance: Any) -> None:
        """rows: int64 [r], rising. chosen: int64 [r, places], where to start; is changed."""
        seen: dict[tuple[int, int], bytes] = {}
        for _ in range(_PASSES):
            before = chosen.copy()
            for place, phrases in enumerate(grammar):
                wanted: dict[str, list[tuple[int, int]]] = {}
                for at, row in enumerate(rows.tolist()) if len(phrases) > 1 else ():
                    if self.cosine[row] >= SETTLED:
                        continue
                    others = np.delete(chosen[at], place).tobytes()
                    if seen.get((at, place)) == others:  # nothing has changed since
                        continue
                    seen[at, place] = others
                    words = [each[pick] for each, pick in zip(grammar, chosen[at].tolist(), strict=True)]
                    for number, phrase in enumerate(phrases):
                        text = "".join([*words[:place], phrase, *words[place + 1 :]])
                        wanted.setdefault(text, []).append((at, number))
                self._step(wanted, rows, chosen[:, place], advance)
            if (chosen == before).all():
                return

    def _step(
        self,
        wanted: Mapping[str, Sequence[tuple[int, int]]],
        rows: NDArray[np.int64],
        chosen: NDArray[np.int64],
        advance: Any,
    ) -> None:
        """Set what is chosen for each row that was asked for to the phrase whose text is nearest. wanted: text →
        (position in `rows`, phrase) for which it is the text."""
        highest: dict[int, float] = {}
        texts = list(wanted)
        for start in range(0, len(texts), _BLOCK):
            block = texts[start : start + _BLOCK]
            for text, scores in zip(block, self._scores(block), strict=True):
                asked = rows[[at for at, _ in wanted[text]]]
                self._take(text, asked, scores[asked])
                for at, number in wanted[text]:
                    score = float(scores[rows[at]])
                    if score > highest.get(at, -2.0):
                        highest[at], chosen[at] = score, number
            advance(len(block))

    def result(self) -> tuple[list[str], list[float], list[float]]:
        """(nearest text, its cosine, margin to the next) of each row; no margin, 0, where there was one text alone."""
        margin = np.where(self.second < -1.5, 0.0, self.cosine - self.second)
        return self.best, self.cosine.tolist(), margin.tolist()

    def _take(self, text: str, rows: NDArray[np.int64], scores: Array) -> None:
        for row in rows[scores > self.second[rows]].tolist():
            score = float(scores[np.searchsorted(rows, row)])
            if text == self.best[row]:
                continue
            if score > self.cosine[row] + _EQUAL:
                self.second[row], self.cosine[row], self.best[row] = self.cosine[row], score, text
            else:
                self.second[row] = score

    def _scores(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Cosines [t, u]."""
        return np.asarray(_unit(self._encode(texts) - self._empty) @ self.rows.T, dtype=np.float64)

    def _encode(self, texts: Sequence[str]) -> Floats:
        arrays, _ = encoding.encode_once_warned(self.encoder, [Prompt(0, text) for text in texts])
        return _flat({name: np.asarray(arrays[name]) for name in self.names if name in arrays})


def _unit(rows: Floats) -> Floats:
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.maximum(length, np.finfo(np.float32).tiny), dtype=np.float32)
