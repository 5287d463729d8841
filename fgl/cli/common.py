"""What several commands share: options, how they become a configuration, and where text goes."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fgl.cli.output import note
from fgl.core.errors import ConfigError, Problem

if TYPE_CHECKING:
    from rich.console import Console

    from fgl.core.manager import Manager
    from fgl.core.settings import RunConfig
    from fgl.core.types import Progress

_STDOUT, _STDERR = 1, 2
INTERRUPTED = 130
"""Exit code after Ctrl-C: 128 and SIGINT, as a shell gives it."""
# {installed} becomes the names that are installed, those of plugins among them: `fgl.cli.help`.
ConfigFile = Annotated[str | None, typer.Argument(metavar="CONFIG.yaml", help="Configuration; flags override it.")]
Generator = Annotated[str | None, typer.Option(metavar="NAME", help="Foundation model: {installed}.")]
Strategy = Annotated[str | None, typer.Option(metavar="NAME", help="How clients describe images: {installed}.")]
Aggregator = Annotated[str | None, typer.Option(metavar="NAME", help="How uploads are joined: {installed}.")]
Classifier = Annotated[str | None, typer.Option(metavar="NAME", help="What is trained: {installed}.")]
Dataset = Annotated[
    str | None,
    typer.Option(metavar="NAME|PATH", help="bundled:eurosat, bundled:fashion_mnist, a folder, a .parquet, hf:ID."),
]
Clients = Annotated[int | None, typer.Option(metavar="N", help="Number of clients.")]
Partition = Annotated[
    str | None, typer.Option(metavar="NAME", help="How samples are divided among clients: {installed}.")
]
Beta = Annotated[float | None, typer.Option(metavar="B", help="Dirichlet concentration; small is skewed.")]
Images = Annotated[int | None, typer.Option("--images-per-class", metavar="N", help="Synthetic images a class.")]
Rounds = Annotated[int | None, typer.Option(metavar="N", help="Rounds of federated training after the one-shot model.")]
Controls = Annotated[
    str | None,
    typer.Option(
        metavar="all|none|A,B,…",
        help="Rows beside the run's own: class-list, fedavg, local, public, pooled, prompts:STRATEGY. "
        "Default: class-list.",
    ),
]
Seed = Annotated[int | None, typer.Option(metavar="S", help="Everything random follows from it.")]
Device = Annotated[str | None, typer.Option(metavar="NAME", help="auto, cpu, cuda, cuda:N or mps.")]
Set = Annotated[list[str] | None, typer.Option("--set", metavar="family.option=value", help="Any option; repeatable.")]
Skip = Annotated[bool, typer.Option("--skip-bad-images", help="Leave out images that cannot be read, and count them.")]


def home(path: Path | None) -> Path | None:
    """`--out=~/x`: the shell expands no tilde in it."""
    return None if path is None else path.expanduser()


Out = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR", callback=home, help="Run directory, new or empty, or a run of the same data, which is completed."
    ),
]
Replace = Annotated[
    bool,
    typer.Option(
        "--replace", help="Let this take the place of other results that fgl wrote to --out; files of yours stay."
    ),
]
Wait = Annotated[
    float,
    typer.Option("--wait", metavar="SECONDS", min=0, help="Wait for another process that is at work on the run."),
]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress, no table; warnings and errors only.")]
Run = Annotated[Path, typer.Argument(metavar="RUN", callback=home, help="A run directory.")]
PresetName = Annotated[str | None, typer.Option("--preset", metavar="NAME", help="An experiment: fgl presets list.")]
Smoke = Annotated[bool, typer.Option("--smoke", help="The preset in about a minute, on stand-in data if need be.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout and nothing else.")]


NO_FLAGS: dict[str, Any] = dict.fromkeys(
    ("generator", "prompt_strategy", "aggregator", "classifier", "partition", "dataset", "clients", "beta",
     "images_per_class", "rounds", "controls", "seed", "device", "skip_bad_images", "set_")
)  # fmt: skip
"""`resolve` with nothing given."""
Features = Annotated[
    str | None,
    typer.Option("--features", metavar="NAME|HUB-ID|FOLDER", help="Where images are compared: {installed}."),
]


def resolve(
    manager: Manager,
    config: str | None,
    flags: dict[str, Any],
    below: Sequence[dict[str, Any]] = (),
    source: str = "",
) -> tuple[RunConfig, set[str]]:
    """`below` and a preset, then YAML, then flags, then --set, over the defaults; and the top-level keys that any gave.
    source: where the layers below are from, for messages.

    Raises ConfigError with every problem of all three."""
    from fgl.cli import presets
    from fgl.core import config as configuration
    from fgl.core.layers import read_yaml

    problems: list[Problem] = []
    layers = [*below, *([read_yaml(Path(config))] if config is not None else []), flag_layer(flags, problems)]
    layers = [*presets.layers(manager, flags, layers), *layers]
    source = source or config or "the configuration"
    try:
        resolved = configuration.resolve(layers, manager.registry, source)
    except ConfigError as error:
        raise ConfigError([*problems, *error.problems], source) from None
    if problems:
        raise ConfigError(problems, "the command line")
    return resolved, {str(key) for layer in layers for key in layer}


def flag_layer(flags: dict[str, Any], problems: list[Problem]) -> dict[str, Any]:
    """What the flags say, and --set over them. What is wrong with an assignment is added to `problems`.

    One layer: `--set partition.name=iid --clients 2` selects and sets, in whatever order."""
    from fgl.core.layers import expand, set_option

    layer: dict[str, Any] = {}
    for key in ("generator", "prompt_strategy", "aggregator", "classifier", "partition", "dataset"):
        if flags[key] is not None:
            layer[key] = expand(key, flags[key])
    for key, place in (("clients", "partition"), ("beta", "partition"), ("images_per_class", "synthesis")):
        if flags[key] is not None:
            layer.setdefault(place, {})[key] = flags[key]
    if flags["rounds"] is not None:
        layer["rounds"] = {"count": flags["rounds"]}
    if flags.get("controls") is not None:
        layer["controls"] = control_names(flags["controls"])
    if flags["skip_bad_images"]:
        layer.setdefault("dataset", {})["skip_bad_images"] = True
    layer |= {key: flags[key] for key in ("seed", "device") if flags[key] is not None}
    extra: dict[str, Any] = {}
    for assignment in flags["set_"] or ():
        try:
            set_option(extra, assignment)
        except ConfigError as error:
            problems += error.problems
    return merged(layer, extra)


def control_names(text: str) -> str | list[str]:
    """What --controls says, as a configuration has it: all, none, or a list of names."""
    names = [name for part in text.strip().strip("[]").split(",") if (name := part.strip())]
    return names[0] if names in (["all"], ["none"]) else names


def check_folder(option: str, folder: Path) -> None:
    """Raises ConfigError where `folder` can be none, because a file is there or above it."""
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not there.is_dir():
        expected = f"expected a folder, or a path where there is nothing yet; {there} is a file"
        raise ConfigError([Problem(option, str(folder), expected)], "the command line")


def merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Both layers as one; where both say something, the one above."""
    result = dict(below)
    for key, value in above.items():
        old = result.get(key)
        result[key] = {**old, **value} if isinstance(old, dict) and isinstance(value, dict) else value
    return result


@contextmanager
def interruptible(folder: Path, again: str = "") -> Iterator[None]:
    """Typer ends an interrupted command without a word; a person wants to know how to go on. again: the command that
    does, "" for the same one."""
    try:
        yield
    except KeyboardInterrupt:
        hint = f"interrupted: {again or f'the same command with --out {folder}'} resumes from here"
        note(hint, "yellow")
        raise typer.Exit(INTERRUPTED) from None


@contextmanager
def stdout_to_stderr() -> Iterator[None]:
    """Whatever a library prints goes to stderr: stdout is for the result."""
    kept, sys.stdout = sys.stdout, sys.stderr
    try:
        with _descriptor_to_stderr(kept):
            yield
    finally:
        sys.stdout = kept


@contextmanager
def _descriptor_to_stderr(stream: object) -> Iterator[None]:
    """As `stdout_to_stderr`, for what does not go through Python: libraries in C, and programs that are started."""
    try:
        number: int = stream.fileno()  # type: ignore[attr-defined]
    except (AttributeError, OSError, ValueError):
        number = -1
    if number != _STDOUT:  # in a test, or already done
        yield
        return
    kept = os.dup(_STDOUT)
    os.dup2(_STDERR, _STDOUT)
    try:
        yield
    finally:
        with suppress(OSError, AttributeError):  # what C keeps for stdout would come out behind the result
            ctypes.CDLL(None).fflush(None)
        os.dup2(kept, _STDOUT)
        os.close(kept)


def console() -> Console:
    from rich.console import Console

    return Console(stderr=True)


@contextmanager
def shown(quiet: bool) -> Iterator[Progress]:
    """Where progress goes: to stderr, or nowhere."""
    if quiet:
        from fgl.core.types import Silent

        yield Silent()
    else:
        from fgl.console import progress

        with progress(console()) as display:
            yield display
