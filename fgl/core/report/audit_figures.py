"""What an audit measured, as audit.json and the report hold it. Shares lie from 0 to 1."""

from __future__ import annotations

from dataclasses import dataclass

from fgl.core.report.figures import Distances, Space
from fgl.core.report.intervals import Interval, Share
from fgl.core.store.typed import json_field


@dataclass(frozen=True, slots=True, kw_only=True)
class Audited:
    """Digests of what was audited; null where there was none."""

    uploads: str | None
    """Of who sent what."""
    synthetic: str | None
    """Of the synthetic set."""
    model: str | None
    """Of the final classifier."""


# --- membership -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class AttackFigures:
    """How well an attack tells members from others: means over targets."""

    auc: Interval
    """Area under the curve; 0.5 by chance."""
    balanced: Interval
    """Balanced accuracy; 0.5 by chance."""
    tpr: dict[str, Interval | None]
    """False-positive rate → true-positive rate; null where the non-members are too few for one false positive."""
    curve: list[float] | None = json_field(omit_none=True)
    """True-positive rates at the rates of `grid`. Not there in a difference."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShadowAccuracy:
    """Top-1 of the shadow models."""

    members: Interval
    """On their training images."""
    others: Interval
    """On the clients' other images."""
    test: Interval
    """On the test split."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodMembership:
    """Membership inference on the classifiers of one method."""

    title: str
    """What the method is called."""
    lira: AttackFigures
    """LiRA (Carlini et al. 2022, online)."""
    loss: AttackFigures
    """One threshold on the loss for all images (Yeom et al. 2018)."""
    top1: ShadowAccuracy
    """What the models are right on."""
    gap: Interval
    """Top-1 on members less top-1 on the others."""
    distinct: int
    """How many different models there are among the shadows."""
    as_run: int | None
    """How many of them have the run's own synthetic set; null for a method without one."""
    difference: dict[str, AttackFigures] | None
    """Attack → figures less those on fgl's one-shot model, paired by target; null for that model itself."""

    def attack(self, name: str) -> AttackFigures:
        """`lira` or `loss`."""
        return {"lira": self.lira, "loss": self.loss}[name]


@dataclass(frozen=True, slots=True, kw_only=True)
class Membership:
    """Who was in the training set? Attacks on shadow models of each method."""

    methods: dict[str, MethodMembership]
    """Method → what was measured on its models."""
    shadows: int
    """Shadow models of each method."""
    flip: bool
    """Whether each image's mirror image was queried too."""
    rounds: int
    """Of the federated methods."""
    samples: int
    """The clients' training images."""
    members: list[int]
    """[fewest, most] of them that a shadow model was made from."""
    non_members: int
    """Fewest of them that a shadow model was not made from."""
    own_variance: bool
    """Whether LiRA fits a variance to each image, or one for all."""
    grid: list[float]
    """False-positive rates of `curve`."""


# --- memorization ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class MemorizationCounts:
    """How many images were compared."""

    synthetic: int
    """Synthetic images that there are."""
    compared: int
    """Synthetic images of these that were compared: as many of each class as test images."""
    test: int
    """Test images."""
    real: int
    """Real images that both were compared with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BothDistances:
    """Distances to the nearest real image of two sets of images."""

    synthetic: Distances
    """Of the synthetic images."""
    test: Distances
    """Of as many test images, which no client holds: the yardstick."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Memorization:
    """How near synthetic images come to single real ones."""

    space: Space
    """The feature space."""
    real: str
    """Split of the real images: `train` or `public`."""
    real_is: str
    """What that split is, in words."""
    counts: MemorizationCounts
    """How many images were compared."""
    distance: BothDistances
    """Distances to the nearest real image."""
    closer: dict[str, Share]
    """Quantile of the test images → share of synthetic images that are nearer to a real one."""
    closer_test: dict[str, float]
    """Quantile of the test images → share of the test images that are: what the synthetic share is held against."""
    identical: int
    """Synthetic images that are equal to their nearest real image, pixel by pixel."""
    same_class: Share
    """Share of synthetic images whose nearest real image is of their class."""
    table: str
    """File of the distances, image by image, relative to the run directory."""
    pairs: str
    """Picture of the closest pairs, relative to the run directory."""


# --- uploads --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Histogram:
    """What class ids and weights say, beside what the client holds. Null where the clients' data are elsewhere."""

    sent: list[float]
    """Samples of each class by the weights of the upload."""
    named: int
    """Classes that have a row."""
    held: list[int] | None
    """Samples of each class that the client holds."""
    distance: float | None
    """Total variation between the two distributions over classes, 0 to 1."""
    exact: bool | None
    """Whether the counts themselves are sent."""
    alone: int
    """Rows that stand for one sample, each of which describes that one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientInversion:
    """What looking up the embeddings of one upload gave. Null where the client's texts are elsewhere."""

    codec: str
    """Of the upload."""
    rows: int
    """Of the upload."""
    texts: int | None
    """Different texts that the client has."""
    recovered: Share | None
    """Rows whose text was recovered to the letter."""
    classes: Share
    """Rows whose class the recovered text names."""
    findable: int | None
    """Rows whose text was among the candidates."""
    found: int | None
    """Different texts that were recovered."""
    cosine: float | None
    """Median similarity to the nearest candidate; null for the codec text."""
    margin: float | None
    """By how much the second nearest is further, median; null for the codec text."""
    histogram: Histogram
    """What class ids and weights say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AllInversions:
    """The same over all clients; null where it is not known of one of them."""

    rows: int
    """Rows of all uploads."""
    recovered: Share | None
    """Rows whose text was recovered to the letter."""
    classes: Share | None
    """Rows whose class the recovered text names."""
    findable: int | None
    """Rows whose text was among the candidates."""
    alone: int
    """Rows that stand for one sample."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dictionary:
    """The candidates that were tried."""

    source: str
    """`file` or `strategies`."""
    texts: int
    """How many."""
    classes: int
    """Class names of the run that they were written of."""
    decoys: int
    """Class names of other datasets that they were written of."""
    searched: list[int]
    """Sizes of grammars that were searched phrase by phrase, since they have too many texts to list."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadInversion:
    """What the uploads tell whoever has them."""

    clients: dict[str, ClientInversion]
    """Client → what was recovered."""
    all_clients: AllInversions = json_field("all")
    """Over all clients."""
    dictionary: Dictionary
    """The candidates that were tried."""
    table: str
    """File with each row's recovered text, relative to the run directory; it holds prompts of clients."""
    own_arrays: list[str] | None = json_field(omit_none=True)
    """Components whose arrays are not encodings of any text, so that no text can be recovered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """What a run gives away about the clients' images. A part is null where it was not measured."""

    schema_version: int
    """Of audit.json."""
    of: Audited
    """What was audited: figures are of these files alone."""
    left_out: dict[str, str]
    """Part → why it was not measured."""
    membership: Membership | None
    """Who was in the training set?"""
    memorization: Memorization | None
    """Are synthetic images copies?"""
    uploads: UploadInversion | None
    """Can the prompts be read from the uploads?"""
