"""From a configuration to a session: plugins built, checked against each other and the data. Nothing is computed."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np

from fgl.contracts.dataset import DatasetInfo
from fgl.contracts.generator import UploadSchema
from fgl.contracts.progress import Progress
from fgl.contracts.prompts import SupportsCheck, SupportsTexts
from fgl.core import baselines
from fgl.core.config import fit
from fgl.core.config.paths import located
from fgl.core.config.schema import EvaluationOptions, RunConfig, Selected
from fgl.core.encoding import doubtful_names
from fgl.core.plugin_manager import PluginManager
from fgl.core.server.removed import removed_clients
from fgl.core.session import Session, check_fit, has
from fgl.core.stages import adaptation, federated_evaluation, quality, train, upload_filters, votes
from fgl.core.store.run_dir import RunDir
from fgl.core.wire import codecs
from fgl.errors import BrokenPluginError, ConfigError, DataError, FGLError, Problem
from fgl.text import plain

log = logging.getLogger(__name__)


def _check_files(config: RunConfig, manager: PluginManager) -> None:
    """Raises ConfigError where a file that options of the prompt strategy or of an upload filter name is not there."""
    chosen = [("prompt_strategy", "prompt_strategy", config.prompt_strategy)]
    chosen += [(f"upload.filters.{one.name}", "upload_filter", one) for one in config.upload.chain()]
    problems = []
    for key, family, selected in chosen:
        options = {str(value): f".{option}" for option, value in selected.options.items()}
        names = manager.options(family, selected).files()
        problems += [
            Problem(f"{key}{options.get(name, '')}", repr(name), "there is no such file; expected its path")
            for name in names
            if not Path(name).expanduser().exists()
        ]
    if problems:
        raise ConfigError(problems)


def models_to_pull(config: RunConfig, manager: PluginManager) -> list[str]:
    """Hub models of the prompt strategy and the upload filters that are not, or not whole, on this machine."""
    from fgl import hub
    from fgl.hub import cache, state

    chosen = [("prompt_strategy", config.prompt_strategy), *(("upload_filter", one) for one in config.upload.chain())]
    uses = [use for family, one in chosen for use in manager.options(family, one).models()]
    hosted = [use for use in uses if cache.is_hub_id(use.model) and not hub.is_local(use.model)]
    return [use.model for use in hosted if state.state(use, ask=False).cache != "all"]


def _check_text(config: RunConfig, manager: PluginManager) -> None:
    """Raises ConfigError where texts are to be sent, and a component has arrays of its own."""
    chosen = [("prompt_strategy", config.prompt_strategy), *(("upload_filter", one) for one in config.upload.chain())]
    entries = [manager.registry.find(family, one.name) for family, one in chosen]
    unfit = [codecs.no_texts(entry.title) for entry in entries if "arrays" in entry.component.provides]
    if config.upload.codec == codecs.TEXT and unfit:
        raise ConfigError(unfit)


def check_prompts(config: RunConfig, manager: PluginManager, info: DatasetInfo) -> None:
    """Have the prompt strategy say what it can without an image: hours of work are not to end in a misspelt line."""
    _check_files(config, manager)
    _check_text(config, manager)
    strategy = manager.create("prompt_strategy", config.prompt_strategy)
    try:
        if isinstance(strategy, SupportsCheck):
            strategy.check(info)
        as_text = config.upload.codec == codecs.TEXT and isinstance(strategy, SupportsTexts)
        texts = strategy.texts(info) if as_text else ()
    except FGLError:
        raise
    except (Exception, SystemExit) as error:
        name = config.prompt_strategy.name
        raise BrokenPluginError(f"prompt strategy {name!r} raised {type(error).__name__}: {error}") from error
    wrong = [f"{place} {reason}" for place, text in texts if (reason := codecs.invalid_reason(text))]
    if wrong:
        many = "1 text" if len(wrong) == 1 else f"{len(wrong)} texts"
        said = f"upload.codec=text cannot send {many}; shorten or clean what it cannot, or use another codec:"
        raise DataError("\n".join([said, *(f"  {one}" for one in wrong[:20])]))


def check_declaration(config: RunConfig, manager: PluginManager, declaration: UploadSchema) -> None:
    """Raises BrokenPluginError where the generator declares arrays of a dtype that no upload can hold, and ConfigError
    where it is another codec that can."""
    known = codecs.table(manager.registry, config.upload.codec)
    written = {**{name: codec.presented for name, codec in known.items()}, codecs.TEXT: "float32"}
    for spec in declaration.arrays:
        fitting = [codec for codec, dtype in written.items() if dtype in spec.dtypes]
        if not fitting:
            raise BrokenPluginError(
                f"generator {config.generator.name!r} declares {spec.name} as {', '.join(spec.dtypes) or 'nothing'}; "
                f"expected {' or '.join(dict.fromkeys(written.values()))}, which is what uploads hold"
            )
        if config.upload.codec not in fitting:
            expected = f"expected {' or '.join(fitting)}, for the generator declares {spec.name} as {spec.dtypes[0]}"
            raise ConfigError([Problem("upload.codec", repr(config.upload.codec), expected)])


def check_product(session: Session) -> None:
    """Raises BrokenPluginError where the generator does not say what it yields, or says two things: before clients
    work."""
    product, name = session.product, session.config.generator.name
    stated = fit.provides("generator", session.manager.registry.find("generator", name).component)
    if stated != (product.kind,):
        raise BrokenPluginError(
            f"generator {name!r} yields {product.kind}, and its component states provides={list(stated)}; expected the "
            "same"
        )
    sizes_are_whole = all(isinstance(size, int) and size > 0 for size in product.shape)
    try:
        is_numeric = np.dtype(product.dtype).kind in "fiu"
    except TypeError:
        is_numeric = False
    if not (product.shape and sizes_are_whole and is_numeric):
        raise BrokenPluginError(
            f"generator {name!r} yields {plain(repr(product), 160)}; expected a shape of whole numbers from 1, and the "
            "numpy dtype of a number"
        )


def open_session(
    config: RunConfig,
    manager: PluginManager,
    run_dir: RunDir,
    progress: Progress,
    beside: Session | None = None,
    remote_clients: bool = False,
) -> Session:
    """Build the plugins and check that they fit each other and the data. Nothing is computed or written yet.

    beside: a session over the same data, to share what it has read and checked. remote_clients: whether
    the clients are elsewhere."""
    config = located(config, manager.options)
    if config.upload.clients is not None and not remote_clients:
        given = f"{len(config.upload.clients)} clients with data of their own"
        expected = "null: fgl run simulates its clients; those are asked by fgl client prepare and fgl server run"
        raise ConfigError([Problem("upload.clients", given, expected)])
    if beside is None:
        dataset = manager.create("dataset", config.dataset)
        with progress.track("read the dataset", 1, "dataset") as task:
            info = dataset.info()
            task.advance()
        for note in filter(None, (*info.notes, doubtful_names(info))):
            log.warning("%s: %s", info.name, note)
    else:
        dataset, info = beside.dataset, beside.info
    has_public = dataset.split("public") is not None
    check_fit(config, manager, info, has_public)
    if config.all_baselines:
        out = baselines.lacking(config.baselines, has(info, has_public))
        out += fit.unfit_baselines(config, manager.registry)
        config = config.model_copy(update={"baselines": tuple(name for name in config.baselines if name not in out)})
    if remote_clients:
        config = _without_clients(config)
    if remote_clients and config.rounds.count:
        expected = "0: clients that are elsewhere send files, and no transport carries a round's models yet"
        raise ConfigError([Problem("rounds.count", str(config.rounds.count), expected)])
    if remote_clients and config.adaptation.rounds:
        expected = "0: clients that are elsewhere send files, and no transport carries a round's adapters yet"
        raise ConfigError([Problem("adaptation.rounds", str(config.adaptation.rounds), expected)])
    executor = manager.create("executor", config.executor)
    generator = manager.create("generator", config.generator)
    check_declaration(config, manager, generator.declare())
    upload_filters.described(config, manager)
    if not remote_clients:
        check_prompts(config, manager, info)
    session = Session(
        config=config,
        manager=manager,
        run=run_dir,
        progress=progress,
        dataset=dataset,
        info=info,
        generator=generator,
        classifier=manager.create("classifier", config.classifier),
        executor=executor,
        device=executor.device(config.device),
        removed_clients=tuple(removed_clients(run_dir)),
        remote_clients=remote_clients,
    )
    check_product(session)
    adaptation.check(session)
    votes.check(session)
    federated_evaluation.check(session)
    quality.check(session)
    if beside is None or beside.config.classifier != config.classifier:
        # Hours of synthesis are not to end in a classifier that cannot be built.
        session.classifier.check(train.context(session, "check"))
    if beside is not None:
        session.share_pixels(beside)
    return session


def other_prompts(session: Session, name: str) -> Session:
    """The same run with another prompt strategy, whole, in a folder below this one. name: of the baseline."""
    strategy = name.removeprefix(baselines.PROMPTS)
    registry = session.manager.registry
    entry = registry.find("prompt_strategy", strategy)
    options = registry.options_class(entry)(**entry.component.defaults).model_dump(mode="json")
    config = session.config.model_copy(
        update={
            "prompt_strategy": Selected(name=strategy, options=options),
            "baselines": (),
            "all_baselines": False,
            "evaluation": EvaluationOptions(),
        }
    )
    folder = session.run.nested("baselines", name.replace(":", "-"))
    return open_session(config, session.manager, folder, session.progress, beside=session)


def _without_clients(config: RunConfig) -> RunConfig:
    """Leave out, or refuse where they were asked for by name, the baselines that a server alone cannot make."""
    own = config.upload.clients is not None
    absent = {"prompts", "images"} if own else {"prompts"}
    missing = [name for name in config.baselines if baselines.find(name).needs_clients in absent]
    if missing and not config.all_baselines:
        rest = ", ".join(name for name in config.baselines if name not in missing)
        expected = f"these need the clients, which are elsewhere; use baselines=[{rest}]"
        raise ConfigError([Problem("baselines", ", ".join(missing), expected)])
    return config.model_copy(update={"baselines": tuple(name for name in config.baselines if name not in missing)})
