"""`fgl server probe` and `fgl client probe`: the probe of `fgl probe` where clients are on machines of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fgl.commands._config import flag_layer, resolve
from fgl.commands._console import check_folder, shown, stdout_to_stderr
from fgl.commands._incoming import UnsealKey, identity_of
from fgl.commands._options import ConfigFlags, Json, Quiet, config_flags, home
from fgl.commands._outgoing import Outgoing, SealTo, SignKey
from fgl.commands._output import say, say_json
from fgl.commands._threads import Threads
from fgl.commands.client import Client, configured
from fgl.commands.probe import LearnImages, PerClass, WhenToFail, fail, show_figures
from fgl.core.plugin_manager import PluginManager
from fgl.errors import COMMAND_LINE, ConfigError, Problem

Request = Annotated[
    Path,
    typer.Option("--request", metavar="FILE", callback=home, help="The file that goes to all clients."),
]


@config_flags("set_", "device")
def server_probe_command(
    answers: Annotated[
        list[Path] | None, typer.Argument(metavar="ANSWERS…", help="Files that clients sent back; none: ask.")
    ] = None,
    *,
    config: Annotated[
        list[str] | None, typer.Option(metavar="FILE", help="Configuration; repeatable, later ones win.")
    ] = None,
    request: Request = Path("probe.safetensors"),
    per_class: PerClass = 20,
    learn_images: LearnImages = 1000,
    fail_if: WhenToFail = None,
    key: UnsealKey = None,
    flags: ConfigFlags,
    as_json: Json = False,
    quiet: Quiet = False,
    threads: Threads = None,
) -> None:
    """Ask clients elsewhere whether the generator knows their domain: write the request, or read their ANSWERS.

    Without ANSWERS, pictures are made and their features written to --request, one file for all clients. Each answers
    with fgl client probe. No image leaves a client, and none is pooled."""
    from fgl.core.client.policy import at_server
    from fgl.core.config.loader import read_yaml
    from fgl.core.experiments import probe_by_file
    from fgl.core.preflight import open_session
    from fgl.core.report import outlook
    from fgl.core.store.run_dir import RunDir
    from fgl.core.store.typed import to_json
    from fgl.io import files

    manager, identity = PluginManager.load(), identity_of(key)
    given = [*(read_yaml(Path(file)) for file in config or []), flag_layer(flags, [])]
    resolved, _ = resolve(manager, flags, at_server(given, manager.registry), ", ".join(config or []))
    with stdout_to_stderr(), shown(quiet or as_json) as progress:
        session = open_session(resolved, manager, RunDir(Path("unused")), progress, remote_clients=True)
        if not answers:
            _check_request(request)
            data = probe_by_file.ask(session, per_class, learn_images)
            files.write(request, data)
        else:
            result = probe_by_file.answered(session, request, answers, identity)
    if not answers:
        how = f"fgl client probe SHARED.yaml SITE.yaml --client K --request {request.name}"
        if as_json:
            say_json({"request": str(request), "bytes": len(data)})
        else:
            say(f"{request}: {len(data):,} bytes, the same file for every client; each answers with {how}")
        return
    level = outlook.level(result)
    if as_json:
        say_json({**to_json(result), "outlook": level})
    else:
        show_figures(result)
        compare = "FedAvg needs clients that can be called, which files cannot (docs/unknown-domain.md)"
        for line in outlook.advice(result.all_clients, result.chance, "fgl server ingest, fgl server run", compare):
            say(line)
    fail(level, fail_if)


@config_flags("dataset", "set_", "device")
def client_probe_command(
    client: Client,
    config: Annotated[
        list[Path] | None,
        typer.Argument(metavar="SHARED.yaml SITE.yaml", help="First what all sites share, then this site's own."),
    ] = None,
    *,
    request: Request = Path("probe.safetensors"),
    flags: ConfigFlags,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", callback=home, help="Answer to write; default K.probe.json.")
    ] = None,
    key: SignKey = None,
    seal_to: SealTo = None,
    as_json: Json = False,
    threads: Threads = None,
) -> None:
    """Compare a server's pictures with this site's images, and write the scores. No image and no feature leaves.

    The site must allow it: site.tasks: [upload, probe] in its own file."""
    from fgl.core.client import probe
    from fgl.core.client.site import site_of
    from fgl.core.experiments.probe_by_file import read
    from fgl.core.wire import probe_files, requests, signatures
    from fgl.io import strict_json

    manager, outgoing = PluginManager.load(), Outgoing.of(key, seal_to)
    policy, resolved = configured(manager, config or [], flags, simulate=False)
    assert policy is not None
    policy.judge_task("probe")
    file = out if out is not None else Path(f"{client}.probe.json")
    _check_answer(file)
    outgoing.check(file)
    with stdout_to_stderr(), shown(as_json):
        device = manager.create("executor", resolved.executor).device(resolved.device)
        asked: dict[str, object] = {"config": resolved.to_dict(), "client_id": client, "device": device, "data": ""}
        data = read(request, probe_files.MAX_REQUEST)
        names = site_of(asked).class_names
        opened = probe_files.read(data, resolved.upload.run_id, names, resolved.features.name)
        asked |= {"size": list(opened.size), "per_class": opened.per_class, "learnt": False}
        scores = probe.judged(asked, opened.arrays)
        answer = probe_files.encode_reply(scores, opened)
        place = signatures.Place(kind="probe", run=opened.run, client_id=client, round=requests.ROUND)
        sent = outgoing.write(file, answer, place)
    if as_json:
        said = {"signed_by": outgoing.public, "sealed": outgoing.recipient is not None}
        say_json({"file": str(sent), "bytes": len(answer), "answer": strict_json.loads(answer), **said})
        return
    say(answer.decode())
    say(f"{sent}: {len(answer):,} bytes, all of it shown above; send it to the server (fgl server probe {sent.name})")
    outgoing.say_how(file)


def _check_request(file: Path) -> None:
    """Raises ConfigError where a file that is no request would be replaced."""
    from fgl.core.wire import container
    from fgl.errors import StoreError, UploadError

    check_folder("--request", file.parent)
    if not file.exists():
        return
    try:
        metadata = container.layout(file.read_bytes(), model=True)[0] if file.is_file() else {}
    except (UploadError, StoreError, OSError):
        metadata = {}
    if '"fgl-probe"' not in metadata.get("fgl", ""):
        expected = "expected a path that does not exist, or an earlier request, which is replaced; this is neither"
        raise ConfigError([Problem("--request", str(file), expected)], COMMAND_LINE)


def _check_answer(file: Path) -> None:
    """Raises ConfigError where a file that is no answer would be replaced."""
    from fgl.io import strict_json

    check_folder("--out", file.parent)
    if not file.exists():
        return
    try:
        earlier = strict_json.loads(file.read_bytes()) if file.is_file() else None
    except (ValueError, OSError):
        earlier = None
    if not isinstance(earlier, dict) or not {"client_id", "request", "recognized"} <= set(earlier):
        expected = "expected a path that does not exist, or an earlier answer, which is replaced; this is neither"
        raise ConfigError([Problem("--out", str(file), expected)], COMMAND_LINE)
