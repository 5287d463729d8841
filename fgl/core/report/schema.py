"""report.json as types: every number of a run. docs/report.md is made from this module.

python tools/report_page.py
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fgl.core.report.audit_figures import Audit
from fgl.core.report.figures import Quality
from fgl.core.report.scores import Adaptation, BaselineResult, ChanceLevels, ClientTest, Result, Rounds
from fgl.core.server.intake_record import Intake
from fgl.core.server.tally import ClientsResult
from fgl.core.store.typed import JsonObject, from_json, json_field, to_json
from fgl.io import strict_json

SCHEMA_VERSION = 2
"""2: controls, licence and memorisation are called baselines, license and memorization."""


# --- who sent what --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadFilterSummary:
    """What clients were asked to do to their uploads before they sent them."""

    name: str
    """Of the upload filter."""
    distribution: str
    """Of the plugin that it belongs to."""
    does: JsonObject
    """What the filter says of itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientModel:
    """What each client has to load of the generator, by the configuration."""

    whole: bool
    """Whether the prompt strategy uses the whole generator, and not its encoder alone."""
    parts: list[str]
    """Parts of the model that have weights; empty where prompts are sent as texts."""
    parameters: int
    """Weights in these parts."""
    bytes: int
    """Size of the files that hold them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Uploads(ClientsResult):
    """What the accepted uploads amount to."""

    fedavg_bytes_per_round: int
    """Bytes of parameters that FedAvg with this classifier sends in one round: model × 2 ways × clients."""


# --- what was made --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class ProductSummary:
    """What a generator yields that makes no images."""

    kind: str
    """Its name, such as features."""
    shape: list[int]
    """Of one item."""
    dtype: str
    """Of its numbers."""
    synthesized: bool
    """Whether items were drawn; false where the classifier is fitted to what clients sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SyntheticSet:
    """The synthetic images."""

    images: int
    """How many there are."""
    digest: str
    """Of the set: equal digests are equal images."""
    training: int
    """Images that the classifier was trained on."""
    validation: int
    """Images that the epoch was selected by."""
    unselected: str | None
    """Why no epoch was selected; null where one was."""
    conditionings: int
    """Different rows that images were made of."""
    reused: int
    """Images that an earlier plan of this run had made already."""
    redrawn: int
    """Images that the safety checker blanked and that were drawn again."""
    notes: JsonObject
    """What the generator says of making them, and the executor of the processes that did, as `workers`."""
    missing_classes: list[str]
    """Classes that no client sent a row of; there is no image of them."""
    product: ProductSummary | None = json_field(omit_none=True)
    """What the generator yields. Only where that is not images: what is said of images is then true of its items."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionSummary:
    """Who holds what."""

    samples: dict[str, list[float]]
    """Client → samples of each class: those of a simulation, or those that uploads stand for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetSummary:
    """The real images."""

    name: str
    """Of the dataset."""
    license: str
    """Of the images."""
    digest: str
    """Of the images."""
    skipped: list[str]
    """Images that cannot be read and were left out."""
    notes: list[str]
    """What else is to be known of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptModel:
    """A model that the prompt strategy uses."""

    model: str
    """Name on the Hub, or folder."""
    license: str
    """Of the model."""
    repository: str | None
    """Repository that it came from; null where this machine does not know."""
    commit: str | None
    """Of the repository; null where this machine does not know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PrivacySummary:
    """What differential privacy the clients' answers have; `fgl privacy RUN --json` has the whole statement."""

    holds: bool
    """Whether the price covers all that the clients sent and all that was measured on their images."""
    levels: list[str]
    """Who is protected: image, client."""
    epsilon: float | None
    """The largest of any client, of all its answers; null where the ledgers are elsewhere."""
    delta: float
    """At which epsilon holds."""
    uncounted: list[str]
    """What else read the clients' images, in words."""
    not_private: list[str]
    """Baselines that did, beside the run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogMark:
    """The state of metrics.jsonl when the report was written."""

    lines: int
    """How many lines it had."""
    last: str
    """Digest of the last line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReport:
    """A run, in figures."""

    schema_version: int
    """Changes when a field is taken away or comes to mean something else."""
    run_dir: str
    """The run directory."""
    result: Result
    """Scores of the run's classifier on the real test images."""
    test_set: ChanceLevels
    """What top-1 is held against."""
    rounds: Rounds | None
    """Federated training after the one-shot model; null without rounds."""
    warnings: list[str]
    """What whoever reads the result must know, in words."""
    intake: Intake
    """Who was expected, who sent something, and what crossed the boundary."""
    upload: Uploads
    """What the accepted uploads amount to."""
    synthetic: SyntheticSet
    """The synthetic images."""
    at_clients: ClientTest | None
    """The classifier, tested at the clients; null unless `evaluation.at_clients` is set."""
    quality: Quality | None
    """The synthetic set beside real images; null unless `evaluation.quality` is set."""
    quality_beside: dict[str, Quality]
    """Feature space → what `fgl quality` measured on the finished run."""
    audit: Audit | None
    """What `fgl audit` measured; null where there was no audit of this run as it is."""
    seconds: dict[str, float]
    """Stage → how long it took when it was done, seconds."""
    baselines: list[BaselineResult]
    """What the run has to be read beside, in the order of the configuration."""
    partition: PartitionSummary
    """Who holds what."""
    dataset: DatasetSummary
    """The real images."""
    generator: JsonObject
    """What the generator says of itself: model, options, and the rounding of its images."""
    prompt_models: list[PromptModel]
    """Models that the prompt strategy uses."""
    history: list[JsonObject]
    """What the classifier says of each epoch of training on the synthetic set, such as its loss."""
    device: str
    """What the run was computed on."""
    threads: int | None
    """Processor threads of torch; null where the executor does not say."""
    reused_stages: list[str]
    """Stages that were taken from an earlier call."""
    config: JsonObject
    """The configuration, with every default."""
    damaged: dict[str, str]
    """File that no stage reads again → what is wrong with it; empty where all are sound."""
    log: LogMark
    """The log of the run."""
    upload_filters: list[UploadFilterSummary] | None = json_field(omit_none=True)
    """Upload filters, in the order in which clients applied them. Only where there are any."""
    adaptation: Adaptation | None = json_field(omit_none=True)
    """The generator's adaptation at the clients. Only where they adapted it."""
    client_model: ClientModel | None = json_field(omit_none=True)
    """What a client had to load of the generator. Only where the generator tells."""
    privacy: PrivacySummary | None = json_field(omit_none=True)
    """The price of what clients sent. Only where a run states one."""
    preset: JsonObject | None = json_field(omit_none=True)
    """The preset that the run was started from. Only in what `fgl run --preset --json` prints."""

    def to_dict(self) -> JsonObject:
        """As report.json holds it. Raises ValueError for a number that is not finite."""
        found: JsonObject = strict_json.loads(strict_json.dumps(to_json(self)))
        return found

    @staticmethod
    def from_dict(value: Mapping[str, object]) -> RunReport:
        """Read what `to_dict` returned. Raises KeyError for a key that is missing, ValueError for one that is unknown
        or has a value of another type."""
        return from_json(RunReport, value, strict=True, where="report")
