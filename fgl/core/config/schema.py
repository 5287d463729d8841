"""What determines a run: the configuration's sections, and the options of each."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator

from fgl.contracts.dataset import CLIENT_ID
from fgl.contracts.options import Options
from fgl.core.baselines import PROMPTS
from fgl.core.config.adaptation import AdaptationOptions
from fgl.core.config.defaults import DEFAULT_CODEC, PLAIN_RULE
from fgl.core.config.rounds_privacy import RoundsPrivacyOptions
from fgl.core.config.server import ServerOptions
from fgl.core.config.votes import VotesOptions
from fgl.io import yaml_text

ORDER = (
    "method",
    "dataset",
    "partition",
    "prompt_strategy",
    "upload",
    "aggregator",
    "generator",
    "adaptation",
    "votes",
    "synthesis",
    "classifier",
    "rounds",
    "features",
    "evaluation",
    "audit",
    "privacy",
    "algorithm",
    "federation",
    "executor",
)
"""The configuration's components and sections, as a YAML file has them."""


class Selected(BaseModel):
    """A component by name, with every option resolved."""

    model_config = ConfigDict(frozen=True)
    name: str
    options: dict[str, Any]


ClientId = Annotated[str, StringConstraints(pattern=f"^{CLIENT_ID}$")]


class UploadOptions(Options):
    """How embeddings cross the wire, or the texts of prompts."""

    codec: str = Field(
        DEFAULT_CODEC,
        description="what clients send: embeddings in 16 bits (fp16), 32 (fp32, exact) or 8 (int8) or in a codec of a "
        "plugin, or the prompts as text, which the server then reads and encodes",
    )
    max_megabytes: float = Field(
        64.0,
        gt=0,
        description="largest upload that the server looks at, in 10^6 bytes; texts count as the fp32 embeddings that "
        "they become",
    )
    max_rows: int = Field(100_000, ge=1, description="most rows that the server accepts in an upload")
    max_weight_ratio: float = Field(
        4.0,
        ge=1,
        description="a client's weights count for at most so many times the total of the median client; what it claims "
        "beyond that is scaled down",
    )
    filters: list[dict[str, Any]] = Field(
        default_factory=list,
        description="upload filters, applied by each client in this order to what it is about to send: names, or "
        "mappings with a name and options ([{name: clip, max_norm: 30}])",
    )
    min_clients: int = Field(1, ge=1, description="uploads that must be accepted for the run to go on")
    run_id: str = Field(
        "", max_length=100, description="name of this run, the same at all clients; uploads for another are refused"
    )
    clients: list[ClientId] | None = Field(
        None,
        min_length=1,
        description="ids of clients that hold data of their own; null: the simulated clients of the partition",
    )

    def chain(self) -> list[Selected]:
        """The upload filters, in order."""
        rest = [{key: value for key, value in one.items() if key != "name"} for one in self.filters]
        return [Selected(name=one["name"], options=options) for one, options in zip(self.filters, rest, strict=True)]

    def inputs(self) -> dict[str, Any]:
        """What determines a result. Without filters they leave no trace, so that earlier runs stay as they are."""
        values = self.model_dump()
        return values if self.filters else {key: value for key, value in values.items() if key != "filters"}

    @field_validator("clients")
    @classmethod
    def _different(cls, clients: list[str] | None) -> list[str] | None:
        if clients is not None and len(set(clients)) < len(clients):
            raise ValueError("expected ids that differ")
        return clients


class SynthesisOptions(Options):
    """What the server makes of the conditionings."""

    images_per_class: int = Field(160, ge=1, le=10_000_000, description="images to synthesize for each class")
    shard_size: int = Field(500, ge=1, description="images in a shard: the unit of batching, work and commit")
    validation_fraction: float = Field(
        0.1, ge=0, lt=1, description="share of each class's synthetic images kept aside to select the checkpoint"
    )
    validation_per_class: int = Field(
        10,
        ge=1,
        description="validation images that a class must have on average: with fewer, nothing is kept aside or "
        "selected, and the last epoch counts",
    )


class RoundsOptions(Options):
    """Federated training: after the one-shot model, and in baselines, which have a number of rounds of their own."""

    count: int = Field(
        0, ge=0, le=100_000, description="rounds of local training and averaging after the one-shot model; 0: none"
    )
    start: Literal["auto", "one-shot", "scratch"] = Field(
        "auto",
        description="where they start: from the one-shot model, from scratch as FedAvg alone, or auto: from scratch "
        "where the one-shot model is no better than a guess at the clients, else both side by side for the first "
        "rounds, and on with the one that is right on more of the clients' images",
    )
    trial_rounds: int = Field(
        5, ge=1, description="with start auto: most rounds in which both starts are trained side by side"
    )
    local_epochs: int = Field(5, ge=1, description="passes of a client over its own data in a round")
    server_epochs: int = Field(
        0, ge=0, description="passes of the server over the synthetic set after each averaging; 0: no fine-tuning"
    )
    fraction: float = Field(
        1.0, gt=0, le=1, description="share of the clients that are asked in a round, at least one of them"
    )
    dropout: float = Field(
        0.0, ge=0, lt=1, description="probability that a client which is asked does not answer, in each round anew"
    )
    drop: dict[int, list[ClientId]] = Field(
        default_factory=dict, description="clients that do not answer in given rounds: {3: [client-00, client-04]}"
    )
    max_update_ratio: float = Field(
        20.0,
        ge=1,
        description="a client's update is refused whose distance from the model that was sent is more than so many "
        "times that model's norm, and as many times the median client's distance",
    )
    aggregation: dict[str, Any] = Field(
        {"name": PLAIN_RULE},
        description="what takes the place of a round's updates before the algorithm averages them: the name of an "
        "aggregation rule, or a mapping with its name and options ({name: krum, hostile: 2})",
    )
    privacy: RoundsPrivacyOptions | None = Field(
        None,
        description="clip and noise of each client's update, at a price that its ledger records; null: exact updates, "
        "and no guarantee",
    )
    evaluate_every: int = Field(
        1, ge=1, description="rounds from one test of the global model to the next; the last one is always tested"
    )
    local: dict[str, Any] = Field(
        default_factory=dict, description="options of the classifier that are others in local training, such as lr"
    )
    server: dict[str, Any] = Field(
        default_factory=dict, description="options of the classifier that are others in the server's fine-tuning"
    )

    def rule(self) -> Selected:
        """The aggregation rule."""
        rest = {key: value for key, value in self.aggregation.items() if key != "name"}
        return Selected(name=str(self.aggregation["name"]), options=rest)

    def inputs(self, *without: str) -> dict[str, Any]:
        """What determines the course of rounds, JSON. Values that change nothing leave no trace, so that earlier runs
        stay as they are. without: options that are told apart."""
        values = self.model_dump(mode="json", exclude=set(without))
        values["drop"] = {str(number): names for number, names in self.drop.items()}  # as a record on disk has it
        if self.aggregation == {"name": PLAIN_RULE}:
            del values["aggregation"]
        if self.privacy is None:
            del values["privacy"]
        return values

    @field_validator("drop", mode="before")
    @classmethod
    def _numbers(cls, drop: Any) -> Any:
        """Keys of JSON are always text."""
        if not isinstance(drop, dict):
            return drop
        found = {int(key) if isinstance(key, str) and key.isdecimal() else key: value for key, value in drop.items()}
        if any(isinstance(key, int) and key < 1 for key in found):
            raise ValueError("expected rounds from 1")
        return found


class EvaluationOptions(Options):
    """What is measured beside the test accuracy. Nothing, unless asked for: it takes time."""

    quality: bool = Field(
        False, description="measure the synthetic set beside real images in the feature space that `features` selects"
    )
    real: Literal["train", "public", "test"] = Field(
        "train",
        description="the real images that quality compares with: train is what the clients hold, pooled, which only a "
        "simulation has",
    )
    max_images: int = Field(
        10_000, ge=2, description="most images of each kind that quality compares, divided evenly among the classes"
    )
    at_clients: bool = Field(False, description="test the classifier at the clients too; only counts leave them")
    per_class: bool = Field(False, description="at clients: counts for each class too, not only in all")
    min_images: int = Field(
        10, ge=1, description="fewest images of a class for which a client gives a figure of that class"
    )


class AuditOptions(Options):
    """What `fgl audit` measures; `fgl run` does none of it."""

    parts: list[Literal["membership", "memorization", "uploads"]] | None = Field(
        None, min_length=1, description="which parts; null: all that the run allows"
    )
    methods: list[str] = Field(
        ["fgl", "fedavg", "centralized"],
        min_length=1,
        description="whose classifiers are attacked: fgl, centralized, or a federated algorithm",
    )
    shadows: int = Field(
        16, ge=4, le=1024, multiple_of=2, description="shadow models of each method, in pairs of complementary halves"
    )
    rounds: int = Field(20, ge=1, le=100_000, description="rounds of the federated algorithms that are attacked")
    flip: bool = Field(True, description="query models with each image and its mirror image, not with the image alone")
    closest: int = Field(16, ge=1, le=500, description="pairs of synthetic and nearest real image that are shown")
    dictionary: str | None = Field(
        None,
        description="file with a prompt a line to look embeddings up in, instead of texts that strategies can write",
    )
    candidates: int = Field(
        20_000,
        ge=1,
        description="most texts of a prompt strategy that are tried one and all; where it can write more, they are "
        "searched phrase by phrase",
    )

    def local_paths(self) -> tuple[str, ...]:
        return ("dictionary",)

    @field_validator("methods", "parts")
    @classmethod
    def _once(cls, names: list[str] | None) -> list[str] | None:
        if names is not None and len(set(names)) < len(names):
            raise ValueError("expected each name once")
        return names


class PrivacyOptions(Options):
    """The most that a client's images may be put to, over all runs that ask about them. A site's own word wins."""

    max_epsilon: float | None = Field(
        None,
        gt=0,
        allow_inf_nan=False,
        description="epsilon, of all that was ever answered about the same images, above which a client refuses; null: "
        "it is counted, and nothing is refused",
    )
    delta: float = Field(
        1e-5,
        gt=0,
        lt=1,
        description="delta at which epsilon is stated; far below 1 / n for n images, as else a mechanism that "
        "publishes one of them in full would satisfy it",
    )


class RunConfig(BaseModel):
    """Everything that determines a run. The same for YAML, flags and `fgl.run`."""

    model_config = ConfigDict(frozen=True)
    seed: int
    device: str
    method: Selected
    dataset: Selected
    partition: Selected
    prompt_strategy: Selected
    upload: UploadOptions
    aggregator: Selected
    generator: Selected
    adaptation: AdaptationOptions
    votes: VotesOptions
    synthesis: SynthesisOptions
    classifier: Selected
    rounds: RoundsOptions
    features: Selected
    evaluation: EvaluationOptions
    audit: AuditOptions
    privacy: PrivacyOptions
    algorithm: Selected
    federation: Selected
    executor: Selected
    trackers: tuple[Selected, ...] = ()
    """Where figures go while the run goes on. No result depends on them."""
    server: ServerOptions = ServerOptions()
    """From whom the server takes files. No result depends on it but by who is heard."""
    baseline_options: dict[str, Selected]
    """Options of the algorithms that `fgl compare` and the baselines run, those that are not the defaults."""
    baselines: tuple[str, ...]
    all_baselines: bool = False
    """Whether `baselines: all` was asked for: then those that the dataset cannot serve are left out, not refused."""

    def baseline_strategies(self) -> list[str]:
        """Prompt strategies that are run as baselines."""
        return [name.removeprefix(PROMPTS) for name in self.baselines if name.startswith(PROMPTS)]

    def to_dict(self) -> dict[str, Any]:
        """Plain values in the form that a YAML file has; `resolve` turns it into an equal RunConfig."""
        result: dict[str, object] = {"seed": self.seed, "device": self.device}
        for family in ORDER:
            value = getattr(self, family)
            result[family] = (
                {"name": value.name, **value.options} if isinstance(value, Selected) else value.model_dump(mode="json")
            )
        if self.trackers:  # without them, a configuration is the one that it was before there were any
            result["trackers"] = [{"name": one.name, **one.options} for one in self.trackers]
        if self.server != ServerOptions():
            result["server"] = self.server.model_dump(mode="json")
        result["baseline_options"] = {name: dict(one.options) for name, one in self.baseline_options.items()}
        result["baselines"] = "all" if self.all_baselines else list(self.baselines)
        return result

    def server_classifier(self) -> Selected:
        """The classifier as the server fine-tunes it between two rounds."""
        return Selected(name=self.classifier.name, options={**self.classifier.options, **self.rounds.server})

    def to_yaml(self) -> str:
        return yaml_text.dump(self.to_dict())
