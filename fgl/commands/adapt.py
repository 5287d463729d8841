"""`fgl adapt`: a generator learns from images that it does not know."""

from __future__ import annotations

import dataclasses
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fgl.commands import _preset
from fgl.commands._config import configure
from fgl.commands._console import check_folder, interruptible, shown, stdout_to_stderr
from fgl.commands._options import ConfigFlags, Json, Quiet, Replace, config_flags, home, option_name
from fgl.commands._output import say, say_json, say_table
from fgl.commands._threads import Threads
from fgl.core.plugin_manager import PluginManager
from fgl.errors import COMMAND_LINE, ConfigError, Problem

if TYPE_CHECKING:
    from fgl.core.experiments.adapt_card import AdaptResult
    from fgl.core.report.tables import Table


WIDTH = 100
"""Columns of the history where stdout is no terminal."""


@config_flags(
    "config",
    "preset",
    "smoke",
    "dataset",
    "generator",
    "prompt_strategy",
    "seed",
    "device",
    "skip_bad_images",
    "set_",
)
def adapt_command(
    flags: ConfigFlags,
    *,
    out: Annotated[
        Path,
        typer.Option(metavar="DIR", callback=home, help="Where the adapted generator goes; what is there is resumed."),
    ] = Path("runs/adapted"),
    lora: Annotated[
        int | None, typer.Option(metavar="RANK", min=1, help="Train low-rank adapters of this rank (the default: 8).")
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="Train all weights of the denoiser.")] = False,
    from_scratch: Annotated[
        bool, typer.Option("--from-scratch", help="Train all weights of the denoiser, from random ones.")
    ] = False,
    epochs: Annotated[int | None, typer.Option(metavar="N", min=1, help="End after N passes over the images.")] = None,
    steps: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="End after N optimizer steps (the default: 1000).")
    ] = None,
    minutes: Annotated[float | None, typer.Option(metavar="M", help="End after M minutes of training.")] = None,
    replace: Replace = False,
    as_json: Json = False,
    quiet: Quiet = False,
    threads: Threads = None,
) -> None:
    """Adapt a generator to images of a domain that it does not know, and write one that knows it.

    It learns from the training images of the dataset, captioned by the prompt strategy. The result is a folder that the
    generator takes as its option model or lora. An interrupted adaptation resumes: give the same command again."""
    from fgl.core.experiments.adapt import adapt
    from fgl.core.store.run_dir import RunDir
    from fgl.core.store.typed import to_json

    check_folder("--out", out)
    given = _options(lora, full, from_scratch, {"epochs": epochs, "steps": steps, "minutes": minutes})
    manager = PluginManager.load()
    settings = [*(flags.set_ or ()), *(f"adaptation.{name}={value}" for name, value in given.items())]
    resolved, _, chosen = configure(manager, dataclasses.replace(flags, set_=settings or None), "fgl adapt")
    with (
        stdout_to_stderr(),
        interruptible(out),
        shown(quiet or as_json) as progress,
        _preset.explained(chosen, "fgl adapt"),
    ):
        result = adapt(resolved, manager, RunDir(out, "adapted"), progress, replace)
    if as_json:
        say_json(to_json(result))
    elif not quiet:
        _show(result, flags)


def _options(lora: int | None, full: bool, from_scratch: bool, length: dict[str, Any]) -> dict[str, Any]:
    """What the flags say of the section `adaptation`. Raises ConfigError for more than one kind."""
    kinds = {"--lora": lora is not None, "--full": full, "--from-scratch": from_scratch}
    given = [name for name, is_given in kinds.items() if is_given]
    if len(given) > 1:
        raise ConfigError([Problem(", ".join(given), "all of them", "expected one kind of adaptation")], COMMAND_LINE)
    options: dict[str, Any] = {name: value for name, value in length.items() if value is not None}
    if given:
        options["kind"] = {"--lora": "lora", "--full": "full", "--from-scratch": "scratch"}[given[0]]
    return options if lora is None else {**options, "rank": lora}


def _show(result: AdaptResult, flags: ConfigFlags) -> None:
    say_table(history(result), WIDTH)
    kept = result.first_and_kept()
    if kept is not None:
        first, last = kept
        say(f"held-out loss: {first:.4f} before, {last:.4f} at step {result.selected_step:,}, which is kept")
        if last >= first:
            say("it did not fall: the generator is kept as it was; try another learning rate (adaptation.lr)")
    trained = sum(result.data.images.values())
    say(
        f"trained on {trained:,} images in {result.minutes:.1f} minutes; {result.bytes:,} bytes of weights were trained"
    )
    say(f"written: {result.folder} (README.md is its card, samples/ what it makes)")
    say(f"run it: {command(result, flags)}")


def history(result: AdaptResult) -> Table:
    """The course of the training, as a table."""
    from fgl.core.report.tables import Table

    rows = [
        [
            f"{int(entry['step']):,}",
            f"{entry['epoch']:.1f}",
            f"{entry['minutes']:.1f}",
            *(f"{entry[name]:.4f}" if name in entry else "" for name in ("loss", "held_out_loss")),
        ]
        for entry in result.history
    ]
    return Table(["step", "epochs", "minutes", "loss", "held-out loss"], rows)


def command(result: AdaptResult, flags: ConfigFlags) -> str:
    """A run with the adapted generator, as a shell command."""
    given = flags.given()
    line = ["fgl", "run"]
    for name in ("config", "preset", "dataset", "prompt_strategy"):
        if name in given:
            line += [*([] if name == "config" else [option_name(name)]), str(given[name])]
    settings = [text for text in given.get("set_", ()) if not text.startswith(("adaptation.", _replaced(result)))]
    line += ["--generator", result.generator]
    for text in (*settings, f"generator.{result.option}={result.path}"):
        line += ["--set", text]
    return shlex.join(line)


def _replaced(result: AdaptResult) -> str:
    return f"generator.{result.option}="
