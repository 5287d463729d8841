"""What a plugin can hook into: one registering hook a family, and what happens in a run.

A hook returns components; the configuration selects one by name. Order of plugins has no meaning. Arguments are only
ever added. See docs/plugins.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from collections.abc import Mapping

    import typer

    from fgl.contracts.component import Component
    from fgl.contracts.events import RunContext, StageContext


PROJECT = "fgl"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl: pluggy.HookimplMarker = pluggy.HookimplMarker(PROJECT)


@hookspec
def fgl_methods() -> list[Component]:
    """Methods (`Method`), bundles of components and options, selected by `method:`."""
    raise AssertionError("a specification is not called")


@hookspec
def fgl_datasets() -> list[Component]:
    """Datasets (`fgl.contracts.dataset.Dataset`), selected by `dataset:`."""
    raise AssertionError("a specification is not called")


@hookspec
def fgl_partitioners() -> list[Component]:
    """Ways to divide samples among clients (`Partitioner`), selected by `partition:`."""
    raise AssertionError("a specification is not called")


@hookspec
def fgl_prompt_strategies() -> list[Component]:
    """Ways to turn a client's images into prompts (`PromptStrategy`), selected by `prompt_strategy:`."""
    raise AssertionError("a specification is not called")


@hookspec
def fgl_upload_filters() -> list[Component]:
    """What clients do to their uploads before they are sent (`UploadFilter`), selected by `upload.filters:`."""
    raise AssertionError("a specification is not called")


@hookspec
def fgl_codecs() -> list[Component]:
    """How rows become the tensors of an upload and are read back (`Codec`), selected by `upload.codec:`."""
    raise AssertionError("a specification is not called")


@hookspec
def fgl_aggregators() -> list[Component]:
    """Ways to combine uploads (`Aggregator`), selected by `aggregator:`."""
    raise AssertionError("a specification is not called")


@hookspec
def fgl_generators() -> list[Component]:
    """Foundation models that encode and synthesize (`Generator`), selected by `generator:`."""
    raise AssertionError("a specification is not called")


@hookspec
def fgl_classifiers() -> list[Component]:
    """Image classifiers (`Classifier`), selected by `classifier:`."""
    raise AssertionError("a specification is not called")


@hookspec
def fgl_feature_spaces() -> list[Component]:
    """Where images are compared (`FeatureSpace`), selected by `features:`."""
    raise AssertionError("a specification is not called")


@hookspec
def fgl_algorithms() -> list[Component]:
    """Federated algorithms that exchange models (`Algorithm`), used by the baselines."""
    raise AssertionError("a specification is not called")


@hookspec
def fgl_aggregation_rules() -> list[Component]:
    """What takes the place of a round's updates before they are averaged (`AggregationRule`), selected by
    `rounds.aggregation:`."""
    raise AssertionError("a specification is not called")


@hookspec
def fgl_federations() -> list[Component]:
    """Transports between server and clients (`Federation`), selected by `federation:`."""
    raise AssertionError("a specification is not called")


@hookspec
def fgl_executors() -> list[Component]:
    """Ways to fill shards (`Executor`), selected by `executor:`."""
    raise AssertionError("a specification is not called")


@hookspec
def fgl_trackers() -> list[Component]:
    """Where a run's figures go while it runs (`Tracker`), selected by `trackers:`."""
    raise AssertionError("a specification is not called")


@hookspec
def fgl_register_commands(app: typer.Typer) -> None:
    """Add commands to the plugin's own sub-command of `fgl`. app: mounted under the plugin's name."""
    raise AssertionError("a specification is not called")


@hookspec
def fgl_run_started(context: RunContext) -> None:
    """A run starts, or is resumed: its configuration is saved, and no stage has run yet."""
    raise AssertionError("a specification is not called")


@hookspec
def fgl_run_finished(context: RunContext, report: Mapping[str, Any]) -> None:
    """A run has finished and its report is written. report: what report.json holds (docs/report.md)."""
    raise AssertionError("a specification is not called")


@hookspec
def fgl_stage_started(context: StageContext) -> None:
    """A stage is about to run."""
    raise AssertionError("a specification is not called")


@hookspec
def fgl_stage_finished(context: StageContext) -> None:
    """A stage has been committed, or an earlier commit of it is reused."""
    raise AssertionError("a specification is not called")


@hookspec
def fgl_epoch_finished(context: StageContext, entry: Mapping[str, Any]) -> None:
    """An epoch of the training on the synthetic set has finished. entry: `epoch` from 1, `loss`, and with a validation
    set `validation_top1`, as in the classifier's history. Epochs of an earlier, interrupted process are not reported
    again."""
    raise AssertionError("a specification is not called")


@hookspec
def fgl_round_finished(context: StageContext, entry: Mapping[str, Any]) -> None:
    """A round of federated training has been committed. context: its run and stage. entry: what report.json says of it:
    `round` from 1; ids of `clients` that took part and of `dropped` ones; `failed`, id to reason; `samples` that they
    trained on; `loss`, the mean over these, None where nobody answered; `bytes_down`, `bytes_up`; `seconds`; `top1`, a
    share of the test images, None where it was not tested; with fine-tuning `server_loss`; with an aggregation rule
    `rule`, whom it left out or scaled down. Rounds that an earlier
    process committed are not told of again, also not one after whose commit that process was killed."""
    raise AssertionError("a specification is not called")


@hookspec
def fgl_run_failed(context: StageContext, error: BaseException) -> None:
    """A stage raised. The error goes on to the caller whatever this hook does."""
    raise AssertionError("a specification is not called")


@hookspec
def fgl_upload_accepted(context: StageContext, client_id: str, sha256: str, size: int) -> None:
    """An upload was accepted and is kept. sha256: of its bytes. size: bytes."""
    raise AssertionError("a specification is not called")


@hookspec
def fgl_client_forgotten(context: StageContext, client_id: str) -> None:
    """A client was taken out of the run."""
    raise AssertionError("a specification is not called")


@hookspec
def fgl_upload_refused(context: StageContext, client_id: str, rule: str, reason: str) -> None:
    """An upload was not accepted; the run goes on without it. client_id: whose it was, or "file …" with the first
    digits of its digest where that is not known for sure. rule: see the subclasses of `UploadError`."""
    raise AssertionError("a specification is not called")
