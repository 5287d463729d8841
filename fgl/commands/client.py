"""`fgl client …`: a client on a machine of its own makes its file, and looks at it before anybody else does."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fgl.commands._config import flag_layer
from fgl.commands._console import check_folder, shown, stdout_to_stderr
from fgl.commands._options import ConfigFlags, Json, config_flags, home
from fgl.commands._output import say, say_columns, say_json
from fgl.commands._threads import Threads
from fgl.core.plugin_manager import PluginManager
from fgl.errors import ConfigError, DataError, Problem, StoreError, UploadError
from fgl.io import strict_json

if TYPE_CHECKING:
    from fgl.core.client.policy import Policy
    from fgl.core.client.prepare import Draft
    from fgl.core.config.schema import RunConfig


Client = Annotated[str, typer.Option("--client", metavar="K", help="The client's id.")]

_ROWS = 100  # classes, domains or texts that are listed on a terminal


@config_flags("dataset", "set_", "device")
def prepare_command(
    client: Client,
    config: Annotated[
        list[Path] | None,
        typer.Argument(metavar="SHARED.yaml SITE.yaml", help="First what all share, then what is this site's own."),
    ] = None,
    *,
    flags: ConfigFlags,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", callback=home, help="Upload to write; default K.safetensors.")
    ] = None,
    private: Annotated[
        Path | None,
        typer.Option(metavar="DIR", callback=home, help="Folder for prompt texts, which stay here; default K.private."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show all that would leave, and write nothing.")] = False,
    leave_out: Annotated[
        bool, typer.Option("--leave-out", help="Confirm that images which are held out are not used (dataset.holds).")
    ] = False,
    simulate: Annotated[
        bool,
        typer.Option("--simulate", help="Play client K of the partition of a dataset that the configuration names."),
    ] = False,
    as_json: Json = False,
    threads: Threads = None,
) -> None:
    """Write one client's upload: its images, the tokenizer and the text encoder; nothing else is loaded or sent."""
    from fgl.core.client import prepare
    from fgl.core.wire import requests

    manager = PluginManager.load()
    policy, resolved = _configured(manager, config or [], flags, simulate)
    file = out if out is not None else Path(f"{client}.safetensors")
    own = policy.rules.private if policy is not None else None
    folder = private or (Path(own).expanduser() if own is not None else Path(f"{client}.private"))
    _check_places(resolved, client, file, folder)
    with stdout_to_stderr(), shown(as_json) as progress, _kept(folder, dry_run) as kept:
        compute = manager.create("executor", resolved.executor).device(resolved.device)
        asked = strict_json.loads(requests.prepare_request(resolved, client, requests.ROUND, kept, compute, ""))
        made = prepare.draft(asked, progress)
    if not simulate:
        _check_left_out(made, leave_out)
    said = _said(made, resolved, client, simulate)
    if not as_json:
        _print_draft(said, resolved, dry_run)
    if not dry_run:
        prepare.write(made, file, folder)
    if as_json:
        told = {key: value for key, value in said.items() if dry_run or key not in ("texts", "negative_texts")}
        say_json({"file": None if dry_run else str(file), **told, "written": not dry_run})
        return
    if dry_run:
        say(f"nothing was written; without --dry-run: {file}, and {folder}/ for what stays here")
        return
    say(f"{file}: {said['bytes']:,} bytes, {said['rows']} prompts; sha256 {said['sha256']}")
    if said["codec"] == "text":
        say(f"the file holds the prompts as text, for the server to read; {folder}/ has them to look at first")
    else:
        say(f"the prompts themselves stay in {folder}/; send the file, and nothing of that folder")


def show_command(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="An upload, whoever wrote it.")],
    private: Annotated[
        Path | None, typer.Option(metavar="DIR", help="What stayed at the client; default K.private beside the file.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Say in plain words what an upload tells whoever has it.

    Class names are not in it: they are those that the client kept in its private folder."""
    from fgl.core.wire.disclosure import MAX_BYTES, disclosed

    data = _read(file, MAX_BYTES)
    said = disclosed(data)
    kept = (
        (private,)
        if private is not None
        else (file.with_suffix(".private"), file.parent / f"{said['client_id']}.private")
    )
    for names in filter(None, map(_known_names, kept)):
        if not said["class_names_known"]:
            said = disclosed(data, names)
    said = {"file": str(file), **said}
    if as_json:
        say_json(said)
    else:
        _print_upload(said, texts=True)


# --- what goes in ---------------------------------------------------------------------------------------------------


def _configured(
    manager: PluginManager, files: list[Path], flags: ConfigFlags, simulate: bool
) -> tuple[Policy | None, RunConfig]:
    """The site's policy, None for a simulated client, and the configuration. Raises ConfigError."""
    from fgl.core.client import policy as client_policy
    from fgl.core.config import resolve
    from fgl.core.config.loader import read_yaml

    layers, problems = [read_yaml(path) for path in files], list[Problem]()
    own = [*layers[1:], flag_layer(flags, problems)]
    shared = layers[0] if layers else {}
    source = ", ".join(map(str, files)) or "the command line"
    if client_policy.SITE in shared:
        expected = f"nothing: it is the file that all share; a site's policy stands in its own, after {files[0]}"
        problems.append(Problem(client_policy.SITE, str(files[0]), expected))
    if problems:
        raise ConfigError(problems, source)
    if not simulate:
        chosen = client_policy.split(own, source)
        return chosen, chosen.configure(shared, manager, source)
    resolved = resolve.resolve([shared, *own], manager.registry, source)
    if resolved.upload.clients is not None:
        expected = "null: clients that are listed hold data of their own; simulated ones are those of the partition"
        raise ConfigError([Problem("upload.clients", ", ".join(resolved.upload.clients[:5]), expected)], source)
    if not any("dataset" in layer for layer in (shared, *own)):
        expected = "the dataset that is divided among simulated clients, such as --dataset bundled:eurosat"
        raise ConfigError([Problem("dataset", "none", f"expected {expected}")], source)
    return None, resolved


def _check_places(config: RunConfig, client: str, file: Path, private: Path) -> None:
    """Raises ConfigError where something of the user's would be replaced, or lie among the images."""
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
    elif (there := _upload_of(file)) is None:
        expected = "expected a path where nothing is, or an upload, which is replaced; this is neither"
    elif there != (client, config.upload.run_id):
        whose = f"of {plain(there[0], 60)}" + (f" for the run {plain(repr(there[1]), 80)}" if there[1] else "")
        expected = (
            f"expected a path where nothing is, or an earlier upload of {client} for the same run; this is {whose}"
        )
    else:
        return
    raise ConfigError([Problem("--out", str(file), expected)], "the command line")


def _upload_of(file: Path) -> tuple[str, str] | None:
    """The client and the run that an upload names, None where the file is none."""
    from fgl.core.wire import container, upload_reader

    try:
        metadata = upload_reader.metadata_of(container.header_of(file)[0])
    except (UploadError, StoreError):
        return None
    return str(metadata["client_id"]), str(metadata["run"])


@contextmanager
def _kept(folder: Path, dry_run: bool) -> Iterator[Path]:
    """The private folder; of a dry run a copy, so that captions that are there are reused and none is added."""
    if not dry_run:
        yield folder
        return
    with TemporaryDirectory(prefix="fgl-dry-run-") as name:
        copy = Path(name) / "private"
        if folder.is_dir():
            shutil.copytree(folder, copy, symlinks=True)
        yield copy


def _check_left_out(made: Draft, confirmed: bool) -> None:
    """Raises DataError where images of the site are held out, and nobody has said that this is meant."""
    from fgl.core.config.defaults import DEFAULTS

    count = made.left_out.get("test", 0)
    if not count or confirmed or made.dataset["kind"] == DEFAULTS["dataset"]["name"]:
        return
    used = sum(made.held)
    raise DataError(
        f"{count:,} of {used + count:,} images are a test split, and would not stand in the upload (dataset.holds: "
        f"all); use them all with holds: train in the site's file, or confirm that with --leave-out"
    )


# --- what is said ---------------------------------------------------------------------------------------------------


def _said(made: Draft, config: RunConfig, client: str, simulate: bool) -> dict[str, Any]:
    from fgl.core.wire.disclosure import disclosed

    said = disclosed(made.data, made.class_names)
    return {
        **said,
        "prompts": said["rows"],
        "dataset": {**made.dataset, "images": sum(made.held), "left_out": dict(made.left_out)},
        "simulated": simulate,
        "holds": config.dataset.options.get("holds"),
        "held": dict(zip(made.class_names, made.held, strict=True)),
        "notes": dict(sorted(made.notes.items())),
    }


def _print_draft(said: dict[str, Any], config: RunConfig, dry_run: bool) -> None:
    from fgl.core.config.defaults import DEFAULTS
    from fgl.text import plain

    about = said["dataset"]
    say(f"dataset   {plain(about['name'])} ({about['kind']}), {plain(about['source'])}: {about['images']:,} images")
    if said["simulated"]:
        say(f"          simulated: a part of it, by the partition {config.partition.name}; not a site's own data")
    elif about["kind"] == DEFAULTS["dataset"]["name"]:
        say("          this data ships with fgl: it is not a site's own")
    for split, count in about["left_out"].items() if not said["simulated"] else ():
        say(f"          {count:,} more are of the split {split}, and are not used")
    if about["skipped"]:
        say(f"          {about['skipped']:,} cannot be read, and are not used (skip_bad_images)")
    _print_upload(said, texts=dry_run, fields=dry_run)
    if said["notes"]:
        say(", ".join(f"{kind.replace('_', ' ')}: {count:,}" for kind, count in said["notes"].items()))


def _print_upload(said: dict[str, Any], texts: bool, fields: bool = True) -> None:
    from fgl.core.report.tables import Table
    from fgl.core.wire.disclosure import FEW
    from fgl.text import plain

    run = repr(plain(said["run_id"])) if said["run_id"] else "without an id (upload.run_id)"
    say(f"upload    of {said['client_id']}, for the run {run}, round {said['round']}")
    say(f"size      {said['bytes']:,} bytes, {said['rows']:,} rows; sha256 {said['sha256']}")
    encoder = f"; text encoder {plain(said['encoder'], 80)}" if said["encoder"] else ""
    say(f"codec     {said['codec']}{encoder}")
    for name, (largest, rms) in said["codec_error"].items():
        say(f"          {said['codec']} is off by at most {largest:.3g} in {plain(name, 60)}, by {rms:.2%} of its RMS")
    say()
    say("what whoever has the file reads of it:")
    known = said["class_names_known"]
    rows = []
    for one in said["classes"][:_ROWS]:
        samples = f"{one['samples']:,.6g}" if one["samples"] % 1 else f"{one['samples']:,.0f}"
        rows.append((_class(one), samples, f"{one['rows']:,}"))
    say_columns(Table(("class", "samples", "rows"), rows), 2)
    if len(said["classes"]) > _ROWS:
        say(f"  and {len(said['classes']) - _ROWS:,} classes more (--json has them all)")
    if not known:
        say(f"  class names are not in the file, only a digest of their list: {said['class_list'][:16]}…")
    if said["domains"]:
        named = [f"{plain(name, 60)} {count:g}" for name, count in list(said["domains"].items())[:_ROWS]]
        say(f"domains   samples of each: {', '.join(named)}")
    say(
        f"prompts   {said['distinct_texts']:,} distinct texts of {said['text_bytes']:,} bytes"
        f"{', as text' if said['codec'] == 'text' else '; the texts are not in the file'}"
    )
    if texts:
        for kind, prefix in (("texts", "  "), ("negative_texts", "  not: ")):
            for text in said[kind][:_ROWS]:
                say(f"{prefix}{plain(text)}")
            if len(said[kind]) > _ROWS:
                say(f"  and {len(said[kind]) - _ROWS:,} more (--json has them all)")
    if fields:
        say()
        say("fields, and nothing else beside the lines above and digests:")
        listed = []
        for one in said["fields"]:
            shape = "×".join(map(str, one["shape"]))
            listed.append(
                (plain(one["name"], 60), shape, one["dtype"], f"{one['bytes']:,} bytes", plain(one["what"], 160))
            )
        say_columns(Table(("",) * 5, listed, "lllrl"), 2)
    say()
    for sentence in said["exposes"]:
        say(sentence)
    if said["small_counts"]:
        few = [f"{_class(one)} {one['samples']:g}" for one in said["small_counts"][:_ROWS]]
        say(f"warning: counts below {FEW} leave exactly as they are: {', '.join(few)}")


def _class(one: dict[str, Any]) -> str:
    from fgl.text import plain

    return f"number {one['class_id']}" if one["class"] is None else plain(one["class"], 60)


# --- a file that is there already -----------------------------------------------------------------------------------


def _read(file: Path, most: int) -> bytes:
    """Raises StoreError or UploadSizeError."""
    from fgl.errors import UploadSizeError
    from fgl.io.files import open_regular
    from fgl.text import plain

    try:
        with open_regular(file) as opened:
            size = os.fstat(opened.fileno()).st_size
            if size > most:
                raise UploadSizeError(f"refused: a file of {size} bytes; no upload is larger than {most}")
            return opened.read(most + 1)
    except OSError as error:
        raise StoreError(
            f"cannot read {plain(file)}: {error.strerror or error}; expected the path of an upload"
        ) from error


def _known_names(private: Path) -> list[str] | None:
    """Class names that a client kept beside its upload; whether they are of an upload's list is looked at later."""
    from fgl.io.files import read_text

    try:
        names = strict_json.loads(read_text(private / "summary.json"))["class_names"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return names if isinstance(names, list) and all(isinstance(name, str) for name in names) else None
