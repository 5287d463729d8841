"""What may be said of a run's privacy: who is protected from whom, at which price, and what is not counted."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fgl.core.baselines import find
from fgl.core.client.policy import LEDGER
from fgl.core.client.spending import Entry, PrivacyLedger, delta_warning
from fgl.core.config.fit import is_noise
from fgl.core.report.schema import PrivacySummary
from fgl.privacy.cost import Cost
from fgl.text import markdown as md

if TYPE_CHECKING:
    from fgl.core.config.schema import RunConfig
    from fgl.core.registry import Registry
    from fgl.core.session import Session
    from fgl.core.store.run_dir import RunDir

NOTHING = (
    "No differential privacy is claimed for this run. Nothing bounds what its clients' files say about an image; "
    "fgl audit measures how far known attacks get, which proves nothing."
)
_READS_TRAIN = "train"


@dataclass(frozen=True, slots=True)
class ClientPrice:
    """What one client's answers cost. level: image, where any answer was priced so, else client. epsilon: at the run's
    delta, of all answers. images: how many they are about."""

    level: str
    epsilon: float
    images: int
    answers: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class Statement:
    """asked: noise that the configuration asks of clients, as filters describe themselves. clients: by id, of those
    whose ledger is here; empty where they are elsewhere. uncounted: what else read the clients' images, in words.
    not_private: baselines that did, beside the run. warnings: of deltas that are too large."""

    delta: float
    asked: tuple[Mapping[str, Any], ...]
    clients: Mapping[str, ClientPrice]
    remote: bool
    uncounted: tuple[str, ...]
    not_private: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def claimed(self) -> bool:
        return bool(self.asked or self.clients)

    @property
    def holds(self) -> bool:
        """Whether the price covers all that the run's clients sent."""
        return self.claimed and not self.uncounted

    @property
    def epsilon(self) -> float | None:
        """The largest of any client, None where no ledger is here."""
        return max((one.epsilon for one in self.clients.values()), default=None)

    @property
    def levels(self) -> tuple[str, ...]:
        named = {one.level for one in self.clients.values()} or {str(one.get("level")) for one in self.asked}
        return ("image",) if "image" in named else tuple(sorted(named))

    @property
    def mixed(self) -> bool:
        """Whether a client's answers were priced at both levels: only single images are protected by all of them."""
        answered: list[set[str]] = [{answer.level for answer in one.answers} for one in self.clients.values()]
        asked = {str(one.get("level")) for one in self.asked}
        return any(len(levels) > 1 for levels in (*answered, asked))


def statement(config: RunConfig, run: RunDir, registry: Registry, remote: bool) -> Statement:
    """remote: whether the clients are elsewhere, with their ledgers. Raises LedgerError where one that is here was
    cut."""
    asked = tuple({"name": one.name, **one.options} for one in config.upload.chain() if is_noise(one.name, registry))
    uploads_have_noise = bool(asked)
    if config.votes.rounds and config.votes.private:
        told = {name: getattr(config.votes, name) for name in ("level", "noise", "rounds", "epsilon", "sigma")}
        asked += ({"name": "votes", **{name: value for name, value in told.items() if value is not None}},)
    if config.rounds.count and config.rounds.privacy is not None:
        price = config.rounds.privacy.model_dump(exclude_none=True)
        asked += ({"name": "rounds", "rounds": config.rounds.count, **price},)
    clients = {} if remote else dict(_prices(run.path("clients"), config.privacy.delta))
    warnings = {warning for one in clients.values() if (warning := delta_warning(config.privacy.delta, one.images))}
    return Statement(
        config.privacy.delta,
        asked,
        clients,
        remote,
        tuple(_uncounted(config, uploads_have_noise, run)),
        tuple(_not_private(config)),
        tuple(sorted(warnings)),
    )


def of(session: Session) -> Statement:
    """Of a run that is being reported."""
    return statement(session.config, session.run, session.manager.registry, session.remote_clients)


def _prices(folder: Path, delta: float) -> Iterable[tuple[str, ClientPrice]]:
    for home in sorted(folder.glob("*/private")):
        answers = tuple(PrivacyLedger(home / LEDGER).entries())
        if not answers:
            continue
        level = "image" if any(one.level == "image" for one in answers) else "client"
        total = Cost(0.0)
        for one in answers:
            times = 1 if one.level == level else 2  # see `PrivacyLedger.spent`
            total += Cost(times * one.mu, times * one.slack)
        images = max(one.count for one in answers)
        yield home.parent.name, ClientPrice(level, total.epsilon(delta), images, answers)


def _uncounted(config: RunConfig, uploads_have_noise: bool, run: RunDir) -> Iterable[str]:
    if not uploads_have_noise and any(run.path("server", "uploads").glob("*.safetensors")):
        yield "uploads without noise: rows, classes and exact counts"
    if config.votes.rounds and not config.votes.private:
        yield "votes without noise: exact counts of images"
    if config.rounds.count and config.rounds.privacy is None:
        yield f"{config.rounds.count} rounds: models trained on the clients' images"
    if config.adaptation.rounds:
        yield f"{config.adaptation.rounds} rounds of adaptation: adapters trained on the clients' images"
    if config.evaluation.at_clients:
        yield "evaluation at the clients: counts of images that the classifier has right"
    if config.evaluation.quality and config.evaluation.real == _READS_TRAIN:
        yield "quality against the clients' images"
    if run.path("audit", "audit.json").exists():
        yield "an audit, which read the clients' images: its figures are for whoever simulates them"


def _not_private(config: RunConfig) -> Iterable[str]:
    for name in config.baselines:
        if find(name).needs_clients:
            yield name


# --- in words ---------------------------------------------------------------------------------------------------------

_WHO = {
    "image": "each single image of a client: whoever has all that the client sent, the synthetic set and the "
    "classifier, and knows every other image, can hardly tell whether that image was among them",
    "client": "each client as a whole: whoever has all that was sent, the synthetic set and the classifier can hardly "
    "tell whether what the client sent was its own or noise around zeros. That it took part is not hidden",
}


def in_words(found: Statement) -> list[str]:
    """Paragraphs for a data-protection assessment, plain text."""
    if not found.claimed:
        return [NOTHING]
    lines = []
    if found.uncounted:
        lines.append(
            "This run as a whole is NOT differentially private: beside what was noised, clients' images were read for "
            + "; ".join(found.uncounted)
            + ". The figures below are of the noised answers alone."
        )
    lines += [f"Protected (level {level}): {_WHO.get(level, level)}." for level in found.levels]
    lines += [f"Levels: {MIXED}."] if found.mixed else []
    lines.append(
        "From whom: the server, the other clients, and anybody who gets what leaves the clients or follows from it. "
        "Each client adds its own noise before anything leaves, and trusts nobody else with it."
    )
    if found.epsilon is not None:
        lines.append(
            f"Guarantee: (epsilon, delta) = ({found.epsilon:.4g}, {found.delta:g}) for every client at most, of all "
            f"its answers in this run together. The odds of any conclusion about what is protected change by a factor "
            f"of {_factor(found.epsilon)} at most, except with a probability of about {found.delta:g}."
        )
    else:
        said = "; ".join(", ".join(f"{key} {value}" for key, value in one.items()) for one in found.asked)
        lines.append(
            f"Asked of the clients: {said}. Only each client's own ledger says what was drawn and spent: the server "
            "cannot verify it."
        )
    lines += [f"Warning: {warning}." for warning in found.warnings]
    lines += [
        f"Baseline {name}: not private. It reads the clients' images, here simulated." for name in found.not_private
    ]
    lines += [f"Assumption: {one}." for one in ASSUMPTIONS]
    return lines


MIXED = (
    "answers were priced for images and for clients, which are different units: their epsilons are not added up. The "
    "figure is for images, at which an answer that was priced for clients counts as two. Whole clients are not "
    "protected by it: for them an answer that was priced for images counts as often as there are images"
)
ASSUMPTIONS = (
    "neighbours differ by adding or removing one unit; several images of one person count as many times as there are",
    "class names, prompts for classes, the feature space and all options were chosen without looking at these images",
    "the operating system's random numbers are unpredictable, and the clients run this code unchanged",
    "what a client answered in other runs is in its own ledger, and adds to this",
    "the test images are nobody's that is to be protected: figures on them are exact",
)


def _factor(epsilon: float) -> str:
    return f"{math.exp(epsilon):.3g}" if epsilon < 500 else f"e^{epsilon:.0f}"


def rows(found: Statement) -> list[tuple[str, str, str, str, str]]:
    """(client, answer, level, epsilon alone, epsilon in all) of every answer, and of each client together."""
    listed: list[tuple[str, str, str, str, str]] = []
    for name, one in found.clients.items():
        for answer in one.answers:
            alone = answer.cost.epsilon(found.delta)
            listed.append((name, answer.what, answer.level, f"{alone:.4g}", ""))
        listed.append((name, f"{len(one.answers)} in all, {one.images:,} images", one.level, "", f"{one.epsilon:.4g}"))
    return listed


def section(found: Statement) -> list[str]:
    """The short form for report.md."""
    if not found.claimed:
        return ["", "## Privacy", "", NOTHING]
    if found.epsilon is None:
        price = "as asked of the clients, whose ledgers have the truth"
    else:
        price = f"epsilon {found.epsilon:.4g} at delta {found.delta:g} for every client at most"
    if found.holds:
        lead = f"Differentially private at the level of {' and '.join(found.levels)}s: {price}."
    else:
        lead = (
            f"**Not differentially private as a whole.** Noised answers: {price}; without a price: "
            f"{md('; '.join(found.uncounted))}."
        )
    beside = [f"Not private, beside the run: {md(', '.join(found.not_private))}."] if found.not_private else []
    if found.mixed:
        beside.insert(0, f"Of levels: {MIXED}.")
    return ["", "## Privacy", "", lead, *beside, *found.warnings, "`fgl privacy RUN` prints the whole statement."]


def summary(found: Statement) -> PrivacySummary | None:
    """The short form for report.json, None where no price is stated."""
    if not found.claimed:
        return None
    return PrivacySummary(
        holds=found.holds,
        levels=list(found.levels),
        epsilon=found.epsilon,
        delta=found.delta,
        uncounted=list(found.uncounted),
        not_private=list(found.not_private),
    )


def to_json(found: Statement) -> dict[str, Any]:
    clients = {
        name: {
            "level": one.level,
            "epsilon": one.epsilon,
            "images": one.images,
            "answers": [
                {
                    "what": answer.what,
                    "level": answer.level,
                    "mu": answer.mu,
                    "epsilon": answer.cost.epsilon(found.delta),
                    "sha256": answer.answer,
                }
                for answer in one.answers
            ],
        }
        for name, one in found.clients.items()
    }
    return {
        "claimed": found.claimed,
        "holds": found.holds,
        "levels": list(found.levels),
        "epsilon": found.epsilon,
        "delta": found.delta,
        "asked": [dict(one) for one in found.asked],
        "clients": clients,
        "uncounted": list(found.uncounted),
        "not_private": list(found.not_private),
        "warnings": list(found.warnings),
        "assumptions": list(_assumed(found)),
        "text": in_words(found),
    }


def _assumed(found: Statement) -> Sequence[str]:
    return ASSUMPTIONS if found.claimed else ()
