"""`fgl client …`: a client on its own machine writes its upload, and looks at it before anybody else does."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fgl.commands._config import flag_layer
from fgl.commands._console import check_folder, shown, stdout_to_stderr
from fgl.commands._disclosure import print_draft, print_upload
from fgl.commands._files import codecs_of, known_names, read
from fgl.commands._options import ConfigFlags, Json, config_flags, home
from fgl.commands._outgoing import Outgoing, SealTo, SignKey
from fgl.commands._output import say, say_json
from fgl.commands._threads import Threads
from fgl.core.plugin_manager import PluginManager
from fgl.errors import COMMAND_LINE, ConfigError, DataError, Problem, StoreError, UploadError
from fgl.io import strict_json

if TYPE_CHECKING:
    from fgl.core.client.policy import Policy
    from fgl.core.client.prepare import Draft
    from fgl.core.config.schema import RunConfig


Client = Annotated[str, typer.Option("--client", metavar="K", help="The client's id.")]


@config_flags("dataset", "set_", "device")
def prepare_command(
    client: Client,
    config: Annotated[
        list[Path] | None,
        typer.Argument(metavar="SHARED.yaml SITE.yaml", help="First what all sites share, then this site's own."),
    ] = None,
    *,
    flags: ConfigFlags,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", callback=home, help="Upload to write; default K.safetensors.")
    ] = None,
    private: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", callback=home, help="Folder for prompt texts, which stay on this machine; default K.private."
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show everything that would be sent, and write nothing.")
    ] = False,
    leave_out: Annotated[
        bool, typer.Option("--leave-out", help="Confirm that held-out images are not used (dataset.holds).")
    ] = False,
    simulate: Annotated[
        bool,
        typer.Option("--simulate", help="Play client K of the partition of a dataset that the configuration names."),
    ] = False,
    key: SignKey = None,
    seal_to: SealTo = None,
    as_json: Json = False,
    threads: Threads = None,
) -> None:
    """Write one client's upload. Only its images, the tokenizer and the text encoder are loaded; nothing is sent."""
    from fgl.core.client import policy as client_policy
    from fgl.core.client import prepare
    from fgl.core.wire import requests, signatures

    manager, outgoing = PluginManager.load(), Outgoing.of(key, seal_to)
    policy, resolved = configured(manager, config or [], flags, simulate)
    file = out if out is not None else Path(f"{client}.safetensors")
    by_site = policy.rules.private if policy is not None else None
    folder = private or (Path(by_site).expanduser() if by_site is not None else Path(f"{client}.private"))
    _check_places(resolved, client, file, folder)
    outgoing.check(file)
    with stdout_to_stderr(), shown(as_json) as progress, _private_folder(folder, dry_run) as texts:
        compute = manager.create("executor", resolved.executor).device(resolved.device)
        request = strict_json.loads(requests.prepare_request(resolved, client, requests.ROUND, texts, compute, ""))
        request["ledger"] = str(policy.ledger() if policy is not None else folder / client_policy.LEDGER)
        draft = prepare.draft(request, progress)
        if not simulate:
            _check_left_out(draft, leave_out)
        if not dry_run:
            draft = prepare.settled(request, draft)
    disclosure = _disclosure(draft, resolved, simulate)
    if not as_json:
        print_draft(disclosure, resolved, dry_run)
    sent = file
    if not dry_run:
        prepare.keep(folder, draft)
        place = signatures.Place(kind="upload", run=resolved.upload.run_id, client_id=client, round=requests.ROUND)
        sent = outgoing.write(file, draft.data, place)
    if as_json:
        hidden = () if dry_run else ("texts", "negative_texts")
        public = {key: value for key, value in disclosure.items() if key not in hidden}
        public |= {"signed_by": outgoing.public, "sealed": outgoing.recipient is not None}
        say_json({"file": None if dry_run else str(sent), **public, "written": not dry_run})
        return
    if dry_run:
        names = " and ".join(map(str, outgoing.files(file)))
        say(f"nothing was written; without --dry-run: {names}, and {folder}/ for what stays here")
        return
    say(f"{sent}: {disclosure['bytes']:,} bytes, {disclosure['rows']} prompts; sha256 {disclosure['sha256']}")
    outgoing.say_how(file)
    if disclosure["codec"] == "text":
        say(f"the file holds the prompts as text, for the server to read; look at them first in {folder}/")
    else:
        say(f"the prompts themselves stay in {folder}/; send the file, and nothing from that folder")


def show_command(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="An upload, whoever wrote it.")],
    private: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The client's private folder; default K.private beside the file.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Say in plain words what an upload reveals to whoever has it.

    Class names are not in it: they are read from the client's private folder, if it is there."""
    from fgl.core.store.typed import to_json
    from fgl.core.wire.disclosure import MAX_BYTES, disclosed

    data = read(file, MAX_BYTES)
    known = codecs_of(data)
    disclosure = disclosed(data, known=known)
    beside = (file.with_suffix(".private"), file.parent / f"{disclosure.client_id}.private")
    for names in filter(None, map(known_names, beside if private is None else (private,))):
        if not disclosure.class_names_known:
            disclosure = disclosed(data, names, known)
    if as_json:
        say_json({"file": str(file), **to_json(disclosure)})
    else:
        print_upload(to_json(disclosure), texts=True)


# --- what goes in ---------------------------------------------------------------------------------------------------


def configured(
    manager: PluginManager, files: list[Path], flags: ConfigFlags, simulate: bool
) -> tuple[Policy | None, RunConfig]:
    """The site's policy, None for a simulated client, and the configuration. Raises ConfigError."""
    from fgl.core.client import policy as client_policy
    from fgl.core.config import resolve
    from fgl.core.config.loader import read_yaml

    layers, problems = [read_yaml(path) for path in files], list[Problem]()
    of_site = [*layers[1:], flag_layer(flags, problems)]
    shared = layers[0] if layers else {}
    source = ", ".join(map(str, files)) or COMMAND_LINE
    if client_policy.SITE in shared:
        expected = f"nothing: all sites share this file; a site's policy belongs in its own file, after {files[0]}"
        problems.append(Problem(client_policy.SITE, str(files[0]), expected))
    if problems:
        raise ConfigError(problems, source)
    if not simulate:
        policy = client_policy.split(of_site, source)
        return policy, policy.configure(shared, manager, source)
    resolved = resolve.resolve([shared, *of_site], manager.registry, source)
    if resolved.upload.clients is not None:
        expected = "null: listed clients hold their own data; simulated clients are those of the partition"
        raise ConfigError([Problem("upload.clients", ", ".join(resolved.upload.clients[:5]), expected)], source)
    if not any("dataset" in layer for layer in (shared, *of_site)):
        expected = "the dataset that is divided among simulated clients, such as --dataset bundled:eurosat"
        raise ConfigError([Problem("dataset", "none", f"expected {expected}")], source)
    return None, resolved


def _check_places(config: RunConfig, client: str, file: Path, private: Path) -> None:
    """Raises ConfigError where a file of the user's would be replaced, or fgl's would lie among the images."""
    from fgl.core import outputs
    from fgl.core.client import private_folder
    from fgl.text import plain

    check_folder("--private", private)
    check_folder("--out", file.parent)
    outputs.check(private_folder.private_files(private), option="--private")
    outputs.check_beside(config, private, "--private")
    outputs.check_beside(config, file, "--out")
    if file.is_dir():
        expected = "expected the path of a file; this is a folder"
    elif not file.exists():
        return
    elif (existing := _upload_of(file)) is None:
        expected = "expected a path that does not exist, or an upload, which is replaced; this is neither"
    elif existing != (client, config.upload.run_id):
        whose = f"of {plain(existing[0], 60)}"
        which = f" for the run {plain(repr(existing[1]), 80)}" if existing[1] else ""
        allowed = f"a path that does not exist, or an earlier upload of {client} for the same run"
        expected = f"expected {allowed}; this is {whose}{which}"
    else:
        return
    raise ConfigError([Problem("--out", str(file), expected)], COMMAND_LINE)


def _upload_of(file: Path) -> tuple[str, str] | None:
    """The client and the run that an upload names, None where the file is not an upload."""
    from fgl.core.wire import container
    from fgl.core.wire.upload_metadata import metadata_of

    try:
        metadata = metadata_of(container.header_of(file)[0])
    except (UploadError, StoreError):
        return None
    return metadata.client_id, metadata.run


@contextmanager
def _private_folder(folder: Path, dry_run: bool) -> Iterator[Path]:
    """The private folder; for a dry run a copy, so that its captions are reused and none is added."""
    if not dry_run:
        yield folder
        return
    with TemporaryDirectory(prefix="fgl-dry-run-") as name:
        copy = Path(name) / "private"
        if folder.is_dir():
            shutil.copytree(folder, copy, symlinks=True)
        yield copy


def _check_left_out(draft: Draft, confirmed: bool) -> None:
    """Raises DataError where images of the site are held out, and nobody has confirmed that."""
    from fgl.core.config.defaults import DEFAULTS

    count = draft.left_out.get("test", 0)
    if not count or confirmed or draft.dataset["kind"] == DEFAULTS["dataset"]["name"]:
        return
    used = sum(draft.held)
    raise DataError(
        f"{count:,} of {used + count:,} images are a test split, and would be missing from the upload (dataset.holds: "
        f"all); use them all with holds: train in the site's file, or confirm that with --leave-out"
    )


# --- what comes out -------------------------------------------------------------------------------------------------


def _disclosure(draft: Draft, config: RunConfig, simulate: bool) -> dict[str, Any]:
    from fgl.core.store.typed import to_json
    from fgl.core.wire.disclosure import disclosed

    disclosure = disclosed(draft.data, draft.class_names, draft.codecs)
    return {
        **to_json(disclosure),
        "prompts": disclosure.rows,
        "dataset": {**draft.dataset, "images": sum(draft.held), "left_out": dict(draft.left_out)},
        "simulated": simulate,
        "holds": config.dataset.options.get("holds"),
        "held": dict(zip(draft.class_names, draft.held, strict=True)),
        "notes": dict(sorted(draft.notes.items())),
        "filters": list(draft.filters),
        "privacy": [
            {
                "what": one.what,
                "level": one.level,
                "epsilon": one.cost.epsilon(config.privacy.delta),
                "delta": config.privacy.delta,
            }
            for one in draft.spent
        ],
        "loaded": None if draft.loaded is None else to_json(draft.loaded),
    }
