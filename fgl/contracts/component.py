"""What a plugin registers: a name, and the class behind it."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import InitVar, dataclass, field
from typing import TYPE_CHECKING, Any

from fgl.text import plain

if TYPE_CHECKING:
    from fgl.contracts.options import Options

API_VERSION = 4
API_CHANGES: Mapping[int, Mapping[str, str]] = {
    2: {
        "generator": "Synthesizer.synthesize yields ImageBatch and no arrays, Synthesizer has notes(), Encoder has "
        "truncated(), Generator has encoding() and rounding()",
        "classifier": "Classifier has check() and initial(), fit keeps to FitContext.checkpoint and calls "
        "FitContext.hook, TrainedClassifier has trained(), features() and logits()",
        "algorithm": "Algorithm has start(), broadcast(), local(), reply() and aggregate() in place of run()",
        "aggregator": "arrays of an upload are Rows: numpy.asarray(array) decodes all rows of one",
        "federation": "the reason of a ClientFailure crosses to the server: it must not hold the message of an error "
        "that the client has not cleared",
    },
    3: {"algorithm": "GlobalState.own is called algorithm_state"},
    4: {
        "executor": "Executor.run(job, advance) gets a ShardJob and calls fgl.fill_shard(job, index) for each of "
        "job.shards, in place of run(shards, work)"
    },
}
"""Interface version → family → what plugins of that family must change. A family that is not named still accepts
plugins of the previous version."""

FAMILIES = {
    "method": "fgl_methods",
    "dataset": "fgl_datasets",
    "partition": "fgl_partitioners",
    "prompt_strategy": "fgl_prompt_strategies",
    "upload_filter": "fgl_upload_filters",
    "codec": "fgl_codecs",
    "aggregator": "fgl_aggregators",
    "generator": "fgl_generators",
    "classifier": "fgl_classifiers",
    "features": "fgl_feature_spaces",
    "algorithm": "fgl_algorithms",
    "aggregation_rule": "fgl_aggregation_rules",
    "federation": "fgl_federations",
    "executor": "fgl_executors",
    "tracker": "fgl_trackers",
}
"""Plugin family → the hook that registers its members."""

SELECTED_BY = {
    "upload_filter": "upload.filters",
    "codec": "upload.codec",
    "aggregation_rule": "rounds.aggregation",
    "tracker": "trackers",
}
"""Plugin family → the configuration key that selects its members, where that is not the family's name."""

LISTED = ("upload_filter", "tracker")
"""Families of which a configuration selects a list."""


PROTOCOLS = {
    "method": "fgl.contracts.method:Method",
    "dataset": "fgl.contracts.dataset:Dataset",
    "partition": "fgl.contracts.dataset:Partitioner",
    "prompt_strategy": "fgl.contracts.prompts:PromptStrategy",
    "upload_filter": "fgl.contracts.upload_filter:UploadFilter",
    "codec": "fgl.contracts.codec:Codec",
    "aggregator": "fgl.contracts.aggregator:Aggregator",
    "generator": "fgl.contracts.generator:Generator",
    "classifier": "fgl.contracts.classifier:Classifier",
    "features": "fgl.contracts.features:FeatureSpace",
    "algorithm": "fgl.contracts.algorithm:Algorithm",
    "aggregation_rule": "fgl.contracts.aggregation_rule:AggregationRule",
    "federation": "fgl.contracts.federation:Federation",
    "executor": "fgl.contracts.executor:Executor",
    "tracker": "fgl.contracts.tracker:Tracker",
}
"""Family → the protocol of its members, all of whose methods each of them has."""


@dataclass(frozen=True, slots=True)
class Component:
    """What a plugin registers. It is light: listing plugins imports none of their modules."""

    name: str
    """The name that selects it in the configuration: lower-case letters, digits, "-", "_" and ".", at most 64."""

    target: str | Callable[..., Any]
    """The class, called with its options when the component is selected. As "module:Class" it is imported only then,
    and the plugin stays light."""

    options: str | type[Options] | None = None
    """Its subclass of `fgl.Options`, or "module:Class", imported to check the configuration. None: no options."""

    summary: str = ""
    """One line for `fgl plugins list`."""

    defaults: Mapping[str, Any] = field(default_factory=dict)
    """Values that replace the defaults of the options class, so that one class can ship under several names (`tiny` is
    `stable-diffusion` with another folder)."""

    extras: tuple[str, ...] = ()
    """pip extras that must be installed."""

    modules: tuple[str, ...] = ()
    """Top-level modules that the extras bring, to tell whether they are installed."""

    tied_defaults: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Option → options whose defaults apply only while it keeps its own default (the commit of one model is not a
    commit of another)."""

    requires: tuple[str, ...] = ()
    """What the dataset must have, of "domains" and "public". Checked before anything runs."""

    provides: tuple[str, ...] = ()
    """What it hands on; each name must be among those that the next part accepts.

    For prompt strategies and upload filters: "arrays" if it returns arrays of its own (`Prepared`), which the codec
    text cannot send. For prompt strategies: with it a name for the arrays if only some generators accept them, such as
    "moments"; without one the generator must encode text. "denoiser", with "text", if it learns against the generator's
    denoiser; "private_counts" if its weights are deliberately not the samples that the client holds. For generators:
    the kind of its product; (): "images"."""

    accepts: tuple[str, ...] = ()
    """What it takes from the part before it.

    For generators: "text" if its encoder encodes prompts, "denoiser" if it has one (`SupportsDenoiser`), names of
    arrays; (): "text". For classifiers: kinds
    of products, and "rounds" if `fit` can continue from a state and calls hooks; (): "images" and "rounds". For upload
    filters: "text" or names of arrays; (): anything. For algorithms: "noise" if a client's update is its model alone,
    and it keeps nothing from round to round, so that `rounds.privacy` covers all that leaves it; (): nothing."""

    companions: Mapping[str, Any] = field(default_factory=dict)
    """Configuration that goes with it: defaults of other sections, used if this component is selected and nothing else
    is chosen there (`{"generator": {"name": "moments"}, "upload": {"codec": "fp32"}}`)."""

    client_needs: tuple[str, ...] = ()
    """For what runs at a client: "generator" if it calls `ClientContext.generator`. Clients then pull all files of the
    generator, and the report says so."""

    continuation_defaults: Mapping[str, Any] = field(default_factory=dict)
    """For classifiers: option values to use where clients continue training a model that is already trained (the
    rounds after the one-shot model), unless `rounds.local` sets them. A learning rate that suits training from scratch
    would undo such a model."""

    api_version: int = API_VERSION
    """Interface version that the plugin was written for."""

    smoke: Mapping[str, Any] = field(default_factory=dict)
    """Option values that make it small, for `--smoke`: a few images of a dataset, two epochs of a classifier."""

    opens: tuple[str, ...] = ()
    """For datasets: patterns of what it opens when `--dataset PATH` names no component. "*.npz" is the name of a file;
    "*/dataset_info.json" is something in a folder. A pattern without wildcards in the folder beats one with them, and a
    built-in dataset beats another."""

    bound: InitVar[Mapping[str, tuple[str, ...]] | None] = None
    needs: InitVar[tuple[str, ...] | None] = None
    continued: InitVar[Mapping[str, Any] | None] = None

    def __post_init__(self, bound: Any, needs: Any, continued: Any) -> None:
        old = {"bound": bound, "needs": needs, "continued": continued}
        for name, value in old.items():
            if value is not None:
                said = f"Component({name}=…) is called {_RENAMED[name]} since fgl 0.2; the old name goes with fgl 0.3"
                warnings.warn(said, DeprecationWarning, stacklevel=3)
                object.__setattr__(self, _RENAMED[name], value)


_RENAMED = {"bound": "tied_defaults", "needs": "requires", "continued": "continuation_defaults"}

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}\Z")
_TARGET = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*\Z")


def problem_of(component: Any, hook: str) -> str:
    """What is wrong with a value that a hook returned; "" if it is valid."""
    if not isinstance(component, Component):
        return f"{hook} returned {type(component).__name__}, expected fgl.Component"
    where = f"{hook}: component {plain(repr(component.name), 80)}"
    if not isinstance(component.name, str) or not NAME.match(component.name):
        return f"{where}: expected a name of lower-case letters, digits, '-', '_' and '.', at most 64 of them"
    if problem := _target_problem(component.target) or _options_problem(component.options):
        return f"{where}: {problem}"
    if not isinstance(component.summary, str):
        return f"{where}: summary is {type(component.summary).__name__}, expected text"
    version = component.api_version
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        return f"{where}: api_version is {plain(repr(version), 80)}, expected a whole number from 1"
    for name in ("extras", "modules", "requires", "provides", "accepts", "client_needs", "opens"):
        value = getattr(component, name)
        if not isinstance(value, tuple) or not all(isinstance(one, str) for one in value):
            return f"{where}: {name} is {plain(repr(value), 80)}, expected a tuple of texts"
    for name in ("defaults", "tied_defaults", "continuation_defaults", "smoke", "companions"):
        value = getattr(component, name)
        if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
            return f"{where}: {name} is {plain(repr(value), 80)}, expected a mapping with names of options as keys"
    return ""


def _target_problem(target: Any) -> str:
    if callable(target) or (isinstance(target, str) and _TARGET.match(target)):
        return ""
    return f"target is {plain(repr(target), 80)}, expected 'module:attribute' or a class"


def _options_problem(options: Any) -> str:
    if options is None or (isinstance(options, str) and _TARGET.match(options)):
        return ""
    if isinstance(options, type):  # where somebody has derived a class, its base is imported already
        from fgl.contracts.options import Options

        if issubclass(options, Options):
            return ""
    return f"options is {plain(repr(options), 80)}, expected 'module:attribute' or a subclass of fgl.Options"


def name_of(target: Any) -> str:
    """A target or options class as a person writes it, "module:attribute"."""
    if isinstance(target, str):
        return target
    return f"{getattr(target, '__module__', '')}:{getattr(target, '__qualname__', repr(target))}"
