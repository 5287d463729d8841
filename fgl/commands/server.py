"""`fgl server …`: the server's side where clients run on their own machines; each upload is one file."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fgl.commands._config import flag_layer, resolve
from fgl.commands._console import interruptible, shown, stdout_to_stderr
from fgl.commands._incoming import UnsealKey, identity_of
from fgl.commands._options import ConfigFlags, Json, Quiet, Run, Wait, config_flags
from fgl.commands._output import note, say, say_json
from fgl.commands._threads import Threads
from fgl.commands.client import Client
from fgl.core.plugin_manager import PluginManager
from fgl.errors import COMMAND_LINE, ConfigError, Problem, TooFewUploadsError, UploadError

if TYPE_CHECKING:
    from fgl.contracts.progress import Progress
    from fgl.core.config.schema import RunConfig
    from fgl.core.session import Session
    from fgl.core.store.run_dir import RunDir


@config_flags("set_")
def ingest_command(
    run: Run,
    files: Annotated[list[Path], typer.Argument(metavar="FILES…", help="Uploads, or votes, written by clients.")],
    *,
    config: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE", help="Configuration of a new run; repeatable, later ones win."),
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Let a client's new file replace its old one.")] = (False),
    wait: Wait = 0.0,
    key: UnsealKey = None,
    flags: ConfigFlags,
    as_json: Json = False,
) -> None:
    """Validate uploads, or votes, and keep those that are accepted. A run that does not exist yet is started.

    A signature is FILE.sig beside FILE. A changed section `server` of --config is taken into a run that has begun."""
    from fgl.contracts.progress import NullProgress
    from fgl.core.orchestrator import client_ids
    from fgl.core.server import ingest, vote_intake

    identity = identity_of(key)
    files = [path for path in files if not (path.name.endswith(".sig") and path.with_suffix("") in files)]
    # A link to nowhere is refused with its name, as other files are: in an inbox it must not keep the rest out.
    problems = [Problem("FILES", str(path), "no such file") for path in files if not os.path.lexists(path)]
    with stdout_to_stderr(), held_run(run, config or [], flags, NullProgress(), wait, problems) as session:
        clients = client_ids(session)
        outcomes = ingest.ingest(session, clients, files, replace, identity)
        found = vote_intake.standing(session, clients) if session.config.votes.rounds else None
        if found is not None:
            missing, rest = found.missing, found.in_words(run)
        else:
            missing = ingest.missing(session.run, clients)
            names = ", ".join(missing[:10]) + (", …" if len(missing) > 10 else "")
            rest = f"still missing: {names}" if missing else f"all uploads are there: fgl server run {run}"
    if as_json:
        say_json({"files": outcomes, "missing": missing, **({"round": found.round} if found is not None else {})})
    else:
        for name, outcome in outcomes.items():
            client = f": {outcome['client']}" if outcome["client"] else ""
            say(f"{name}: {outcome['outcome']}{client}{_reason(outcome)}")
        say(rest)
    if any(outcome["outcome"] in ("refused", "unreadable") for outcome in outcomes.values()):
        raise typer.Exit(UploadError.exit_code)


@contextmanager
def held_run(
    run: Path,
    config: Sequence[str],
    flags: ConfigFlags,
    progress: Progress,
    wait: float,
    problems: Sequence[Problem] = (),
) -> Iterator[Session]:
    """A run whose clients are elsewhere, held alone; one that does not exist yet is started.

    config: files of a new run, or with a changed section `server`. problems: what else is wrong, to be said together.
    Raises ConfigError, also where a run is to begin without a configuration, and StoreError."""
    from fgl.core import outputs
    from fgl.core.config.saved import save_config, saved_config
    from fgl.core.preflight import open_session
    from fgl.core.store import folder_kind
    from fgl.core.store.run_dir import RunDir

    manager, folder = PluginManager.load(), RunDir(run)
    begins = outputs.begins(folder)
    if begins and not (config or flags.set_):
        expected = f"{run} is not started yet: pass the clients' configuration with --config FILE"
        problems = [*problems, Problem("--config", "nothing", expected)]
    if problems:
        raise ConfigError(problems, COMMAND_LINE)
    resolved = _ingest_config(manager, folder, config, flags)
    session = open_session(resolved, manager, folder, progress, remote_clients=True)
    outputs.check_beside(session.config, run, "RUN")
    with folder.lock(wait):
        # another process may have started it, or changed it, while this one read its dataset
        if not outputs.begins(folder):
            saved = saved_config(folder, manager)
            _check_same(run, resolved, saved)
            if saved.server != resolved.server:
                save_config(folder, resolved, remote_clients=True)
        folder_kind.mark_remote(folder)
        if outputs.begins(folder):
            save_config(folder, resolved, remote_clients=True)
        yield session


def _ingest_config(manager: PluginManager, run: RunDir, files: Sequence[str], flags: ConfigFlags) -> RunConfig:
    """The run's configuration, or of a new run the given one. Raises ConfigError where the two differ."""
    from fgl.core import outputs
    from fgl.core.client.policy import at_server
    from fgl.core.config.loader import read_yaml
    from fgl.core.config.paths import located
    from fgl.core.config.saved import saved_config
    from fgl.core.store import folder_kind

    begins = outputs.begins(run)
    if not begins and not folder_kind.has_remote_clients(run):
        raise UploadError(f"{run.root} simulates its clients (fgl run): it accepts no files; choose another folder")
    given = None
    if files or flags.set_:
        layers = at_server([*(read_yaml(Path(file)) for file in files), flag_layer(flags, [])], manager.registry)
        resolved, _ = resolve(manager, flags, layers, ", ".join(files))
        given = located(resolved, manager.options)
    if begins and given is not None:
        return given
    saved = saved_config(run, manager)
    if given is None:
        return saved
    _check_same(run.root, given, saved)
    # keys are replaced and revoked while a run goes on: they decide who is heard, and nothing of what is computed
    return _with_server(saved, given)


@config_flags("set_", "device")
def run_command(
    run: Run,
    flags: ConfigFlags,
    *,
    wait: Wait = 0.0,
    as_json: Json = False,
    quiet: Quiet = False,
    threads: Threads = None,
) -> None:
    """Aggregate, plan, synthesize, train and evaluate what has been ingested; finished stages are reused."""
    from fgl.commands.run import show_result
    from fgl.core.config.saved import saved_config
    from fgl.core.orchestrator import run_session
    from fgl.core.preflight import open_session
    from fgl.core.store.run_dir import RunDir

    manager, folder = PluginManager.load(), RunDir(run)
    layer = saved_config(folder, manager).to_dict()
    resolved, _ = resolve(manager, flags, [layer])
    with stdout_to_stderr(), interruptible(run, f"fgl server run {run}"), shown(quiet) as progress:
        session = open_session(resolved, manager, folder, progress, remote_clients=True)
        report = run_session(session, wait=wait)
    show_result(report, session.config, as_json, quiet)


def forget_command(
    run: Run,
    client: Client,
    later: Annotated[bool, typer.Option("--later", help="Only remove the client; the next run does the rest.")] = (
        False
    ),
    wait: Wait = 0.0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Remove a client: drop its rows, keep every image that others ask for, and train again without it."""
    from fgl.commands.run import show_result
    from fgl.core.orchestrator import client_ids, execute, reopen
    from fgl.core.server import forget
    from fgl.core.stages import pipeline

    with stdout_to_stderr(), interruptible(run, f"fgl server forget {run} --client {client}"), shown(quiet) as progress:
        session = reopen(run, progress)
        folder = session.run
        with folder.lock(wait):
            clients = client_ids(session)
            forget.forget(session, clients, client, pipeline.left_over(session))
            try:
                report = None if later else execute(session)
            except TooFewUploadsError as error:
                forget.clear(folder, pipeline.given())
                text = f"{client} is removed, with all that was made from its upload; no new result: {error}"
                raise TooFewUploadsError(text) from error
    if report is not None:
        show_result(report, session.config, as_json, quiet)
    elif not quiet:
        text = f"{client} is removed; the images and the classifier still reflect it until the run is resumed"
        note(text)


def _check_same(run: Path, resolved: RunConfig, saved: RunConfig) -> None:
    # keys may be others than before, but no run that lists keys goes on as one that lists none, by a file left out
    kept = resolved if saved.server.keys and not resolved.server.keys else _with_server(resolved, saved)
    if kept != saved:
        expected = f"nothing, or the same: {run} keeps the configuration it was started with (fgl server run has --set)"
        raise ConfigError([Problem("--config, --set", "another configuration", expected)], COMMAND_LINE)


def _with_server(config: RunConfig, other: RunConfig) -> RunConfig:
    return config.model_copy(update={"server": other.server})


def _reason(outcome: dict[str, str]) -> str:
    rule = f" ({outcome['rule']})" if outcome["rule"] else ""
    return f"{rule}: {outcome['reason'].removeprefix('refused: ')}" if outcome["reason"] else ""
