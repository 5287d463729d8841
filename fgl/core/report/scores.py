"""Scores of a classifier on real test images, as the report holds them. Shares lie from 0 to 1."""

from __future__ import annotations

from dataclasses import dataclass

from fgl.core.server.refusals import Refusal
from fgl.core.server.round_rule import RoundRule
from fgl.core.store.typed import JsonObject, json_field


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """How well predicted classes match the true ones. Classes without test images are left out."""

    top1: float
    """Share of the images that are predicted right."""
    images: int
    """How many images were predicted."""
    balanced_accuracy: float
    """Mean of `per_class`."""
    macro_f1: float
    """Mean F1 of the classes; that of a class which is never predicted is 0."""
    per_class: dict[str, float]
    """Class → share of its images that are predicted right (recall)."""
    confusion: dict[str, dict[str, int]] | None = json_field(omit_none=True)
    """True class → predicted class → images, without zeros. Not there for scores of single clients or means."""
    per_domain: dict[str, float] | None = json_field(omit_none=True)
    """Domain → top-1. Not there where the dataset has no domains."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OneShotScores:
    """Scores of the classifier that was trained on the synthetic set."""

    selected: Score
    """Of the epoch that was selected on synthetic validation images; the last one where none was selected."""
    last: Score
    """Of the last epoch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """Scores of the run's classifier."""

    selected: Score
    """Of the model that counts: the selected epoch, or with rounds the model after the last round."""
    last: Score
    """Of the last epoch, or of the last round."""
    per_class: dict[str, float]
    """Class → recall of the model that counts."""
    one_shot: OneShotScores | None = json_field(omit_none=True)
    """With rounds: scores of the classifier that they started from. Not there without rounds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Majority:
    """The largest class of the test set."""

    class_name: str = json_field("class")
    """Its name."""
    share: float
    """Its share of the test images: the top-1 of a model that always predicts it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChanceLevels:
    """What top-1 is held against: scores that need no classifier."""

    images: int
    """Images in the test split."""
    chance: float
    """Top-1 of guessing among all classes."""
    majority: Majority
    """The largest class."""

    @property
    def best_guess(self) -> float:
        """Top-1 of the better of two guesses: any class, or always the largest one."""
        return max(self.chance, self.majority.share)


@dataclass(frozen=True, slots=True, kw_only=True)
class RightCount:
    """Images that a classifier got right."""

    right: int
    """How many."""
    total: int
    """Of how many."""
    top1: float
    """right / total."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientCount:
    """What one client counted."""

    right: int
    """Its images that the classifier got right."""
    total: int
    """Its images that were tested."""
    per_class: dict[str, list[int]] | None = json_field(omit_none=True)
    """Class → [right, total]; small classes are left out. Not there unless `evaluation.per_class` is set."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BytesBothWays:
    """What was sent to and by all clients together."""

    down: int
    """Bytes to the clients."""
    up: int
    """Bytes from the clients."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientTest:
    """The classifier, tested at the clients on images of their own."""

    right: int
    """Images that it got right, of all clients."""
    total: int
    """Images that were tested, of all clients."""
    top1: float
    """right / total."""
    per_class: dict[str, RightCount]
    """Class → counts over the clients that gave them; empty unless `evaluation.per_class` is set."""
    per_client: dict[str, ClientCount]
    """Client → what it counted."""
    refused: dict[str, Refusal]
    """Client → why its counts were refused."""
    bytes: BytesBothWays
    """What was sent for it."""
    stands_for: float
    """Samples that the uploads of these clients stand for, by their own account."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundCounts:
    """The global model after a round, tested by clients on their own images; only counts leave them."""

    right: int
    """Images that it got right, of all clients."""
    total: int
    """Images that were tested, of all clients; 0 where no client that was asked gave counts."""
    down: int
    """Bytes to the clients for it."""
    up: int
    """Bytes from the clients for it."""

    @property
    def share(self) -> float:
        """right / total, where any image was tested."""
        return self.right / self.total


@dataclass(frozen=True, slots=True, kw_only=True)
class StartCandidate:
    """A start that rounds were tried from."""

    name: str
    """`one-shot`, `one-shot-fast` (at the learning rate of training from scratch) or `scratch`."""
    counts: list[RoundCounts | None]
    """After each round of the trial; null where no client gave any."""
    top1: list[float | None]
    """On the real test images, after each of these rounds; nothing is selected by it."""
    left: str
    """Why it was given up, in words; empty for the one that was chosen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StartChoice:
    """Where rounds started, and why."""

    chosen: str
    """Name of the candidate."""
    reason: str
    """Why, in words."""
    guess: float
    """Share of the clients' images that the better of two guesses gets right, by the uploads' own account."""
    one_shot: RoundCounts | None
    """The one-shot model, tested by the clients before any round; null where no client gave counts."""
    candidates: list[StartCandidate]
    """What was tried, in order; empty where the one-shot model is no better than a guess, or no client tested it."""
    bytes: BytesBothWays
    """What the choice took: tests at clients, and rounds of the candidates that were given up."""
    seconds: float
    """How long those rounds took."""
    track: str
    """Folder of the rounds that count, below RUN/rounds."""
    course: str
    """Digest of all that determines them, except their number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One round of federated training."""

    round: int
    """Its number, from 1."""
    clients: list[str]
    """Clients whose updates were used."""
    dropped: list[str]
    """Clients that did not answer."""
    failed: dict[str, str]
    """Client → why its update could not be used."""
    samples: int
    """Samples that the updates stand for; 0 with `rounds.privacy`, where clients do not say."""
    loss: float | None
    """Mean training loss of the clients, weighted by samples; null where nobody trained, and with `rounds.privacy`."""
    bytes_down: int
    """Bytes to the clients."""
    bytes_up: int
    """Bytes from the clients."""
    local: dict[str, Score] | None = json_field(omit_none=True)
    """Client → scores of its model before averaging. Only there for baselines that test them."""
    server_loss: float | None = json_field(omit_none=True)
    """Loss of the server's fine-tuning. Not there unless `rounds.server_epochs` is set."""
    counts: RoundCounts | None = json_field(omit_none=True)
    """The global model, tested by the clients. Only there in rounds of a trial of starts."""
    rule: RoundRule | None = json_field(omit_none=True)
    """What the aggregation rule did. Not there with `mean`, and where nobody answered."""
    capped: dict[str, int] | None = json_field(omit_none=True)
    """Client → samples that it counted for, where it claimed more than its upload had declared. Not there where none
    did."""
    top1: float | None
    """Top-1 of the global model; null where the round was not tested."""
    seconds: float
    """How long the round took."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rounds:
    """Federated training after the one-shot model."""

    score: Score
    """Of the model after the last round."""
    rounds: list[Round]
    """In order."""
    bytes_up: int
    """Bytes from all clients, over all rounds, with those that the choice of the start took."""
    bytes_down: int
    """Bytes to all clients, over all rounds, with those that the choice of the start took."""
    model_bytes: int
    """Size of the model's weights."""
    start: StartChoice | None = json_field(omit_none=True)
    """Where they started, and why. Not there where the configuration says it (`rounds.start`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Adaptation:
    """The generator's adaptation at the clients."""

    rounds: list[Round]
    """In order. None is tested."""
    bytes_up: int
    """Bytes from all clients, over all rounds."""
    bytes_down: int
    """Bytes to all clients, over all rounds."""
    adapter_bytes: int
    """Size of what is trained, in float32."""
    settings: JsonObject
    """What is trained, and how."""
    base: JsonObject
    """The model that is adapted: its name, and a digest of its denoiser."""
    option: str
    """Option of the generator that takes the result: model or lora."""
    place: str
    """Where the result lies, relative to the run directory."""
    per_client: dict[str, str] | None = json_field(omit_none=True)
    """Client → where the adapter lies that makes the images of its rows. Only with `adapters: per-client`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineResult:
    """What the run has to be read beside: another method on the same test images."""

    name: str
    """Of the baseline."""
    title: str
    """What it is called in tables."""
    top1: float
    """Top-1 of the model that counts."""
    last: float
    """Top-1 of the last epoch."""
    bytes: int
    """Bytes sent to and by all clients."""
    balanced_accuracy: float
    """Mean recall of the classes."""
    macro_f1: float
    """Mean F1 of the classes."""
    images: int | None
    """Images that it was trained on; null where the run's own model was reused."""
    per_class: dict[str, float]
    """Class → recall."""
    note: str
    """What it was made from, in words."""
    per_client: dict[str, float] | None = json_field(omit_none=True)
    """Client → top-1 of its own model. Only there for `local`."""
    seconds: float
    """How long it took."""
