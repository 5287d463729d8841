"""Options that several commands share, each declared once: its name, its default and its help.

`ConfigFlags` has those that make up a configuration; `@config_flags` gives them to a command.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import cache, wraps
from inspect import Parameter, signature
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from fgl.core.baselines import BASELINES


def home(path: Path | None) -> Path | None:
    """Expand a tilde: in `--out=~/x` the shell does not."""
    return None if path is None else path.expanduser()


# `{installed}` becomes the names of the installed components, those of plugins included: see `fgl.commands._help`.
@dataclass(frozen=True, slots=True)
class ConfigFlags:
    """What the command line says about a configuration; None or False where it says nothing."""

    config: Annotated[
        str | None,
        typer.Argument(metavar="CONFIG.yaml", help="Configuration; flags override it."),
    ] = None
    preset: Annotated[str | None, typer.Option("--preset", metavar="NAME", help="An experiment: fgl presets list.")] = (
        None
    )
    smoke: Annotated[
        bool, typer.Option("--smoke", help="The preset in about a minute, on stand-in data if its own is missing.")
    ] = False
    method: Annotated[str | None, typer.Option(metavar="NAME", help="What all below defaults to: {installed}.")] = None
    generator: Annotated[str | None, typer.Option(metavar="NAME", help="Foundation model: {installed}.")] = None
    prompt_strategy: Annotated[
        str | None, typer.Option(metavar="NAME", help="How clients describe images: {installed}.")
    ] = None
    upload_filter: Annotated[
        list[str] | None,
        typer.Option(
            "--upload-filter", metavar="NAME", help="What clients do to uploads; repeatable, in order: {installed}."
        ),
    ] = None
    aggregator: Annotated[str | None, typer.Option(metavar="NAME", help="How uploads are combined: {installed}.")] = (
        None
    )
    classifier: Annotated[str | None, typer.Option(metavar="NAME", help="What is trained: {installed}.")] = None
    dataset: Annotated[
        str | None,
        typer.Option(metavar="NAME|PATH", help="A path, or NAME:WHAT (bundled:eurosat, hf:ID): {installed}."),
    ] = None
    clients: Annotated[int | None, typer.Option(metavar="N", help="Number of clients.")] = None
    partition: Annotated[
        str | None, typer.Option(metavar="NAME", help="How samples are divided among clients: {installed}.")
    ] = None
    beta: Annotated[float | None, typer.Option(metavar="B", help="Dirichlet concentration; small is skewed.")] = None
    images_per_class: Annotated[
        int | None, typer.Option("--images-per-class", metavar="N", help="Synthetic images per class.")
    ] = None
    rounds: Annotated[
        int | None, typer.Option(metavar="N", help="Rounds of federated training after the one-shot model.")
    ] = None
    algorithm: Annotated[
        str | None, typer.Option(metavar="NAME", help="What rounds train and average with: {installed}.")
    ] = None
    aggregation_rule: Annotated[
        str | None,
        typer.Option("--aggregation-rule", metavar="NAME", help="What a round's updates become first: {installed}."),
    ] = None
    baselines: Annotated[
        str | None,
        typer.Option(
            metavar="all|none|A,B,…",
            help=f"Rows beside the run's own: {', '.join(BASELINES)}, prompts:STRATEGY. Default: class-list.",
        ),
    ] = None
    controls: Annotated[str | None, typer.Option(hidden=True, help="The old name of --baselines.")] = None
    tracker: Annotated[
        list[str] | None,
        typer.Option("--tracker", metavar="NAME", help="Where figures go as the run goes on; repeatable: {installed}."),
    ] = None
    federation: Annotated[str | None, typer.Option(metavar="NAME", help="How clients are reached: {installed}.")] = None
    executor: Annotated[
        str | None, typer.Option(metavar="NAME", help="What computes the synthetic set: {installed}.")
    ] = None
    seed: Annotated[int | None, typer.Option(metavar="S", help="Seed of everything random.")] = None
    device: Annotated[str | None, typer.Option(metavar="NAME", help="auto, cpu, cuda, cuda:N or mps.")] = None
    skip_bad_images: Annotated[
        bool, typer.Option("--skip-bad-images", help="Leave out unreadable images, and count them.")
    ] = False
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="family.option=value", help="Any option; repeatable.")
    ] = None

    def given(self) -> dict[str, Any]:
        """Field → value of the flags that were given, in the order of the fields."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if value is not None and value is not False}


FIRST = ("config", "preset", "smoke")
"""What is run comes first in a command's help, ahead of the command's own parameters."""


def option_name(field: str) -> str:
    """How a field of `ConfigFlags` is written on the command line."""
    return "CONFIG.yaml" if field == "config" else f"--{field.strip('_').replace('_', '-')}"


@cache
def _parameters() -> dict[str, Parameter]:
    """Field of `ConfigFlags` → the parameter that Typer reads it from."""
    types = get_type_hints(ConfigFlags, include_extras=True)
    return {
        field.name: Parameter(field.name, Parameter.KEYWORD_ONLY, default=field.default, annotation=types[field.name])
        for field in fields(ConfigFlags)
    }


def config_flags(*names: str, without: Sequence[str] = ()) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command with a parameter `flags: ConfigFlags` the flags of these names; all of them if no name is given.

    In its help they stand where `flags` stands among its own parameters, those of `FIRST` before all others."""
    taken = [_parameters()[name] for name in names or _parameters() if name not in without]

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @wraps(command)
        def call(**given: Any) -> None:
            flags = ConfigFlags(**{parameter.name: given.pop(parameter.name) for parameter in taken})
            command(flags=flags, **given)

        declared = signature(command, eval_str=True)
        others = list(declared.parameters.values())
        place = list(declared.parameters).index("flags")
        first = [parameter for parameter in taken if parameter.name in FIRST]
        rest = [parameter for parameter in taken if parameter.name not in FIRST]
        ordered = [*first, *others[:place], *rest, *others[place + 1 :]]
        shown = [parameter.replace(kind=Parameter.KEYWORD_ONLY) for parameter in ordered]
        call.__signature__ = declared.replace(parameters=shown)  # type: ignore[attr-defined]
        call.__annotations__ = {parameter.name: parameter.annotation for parameter in shown}
        return call

    return decorate


Out = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR", callback=home, help="Run directory: new, empty, or one of the same data, which is completed."
    ),
]
Replace = Annotated[
    bool,
    typer.Option("--replace", help="Replace other results that fgl wrote to --out; your own files stay."),
]
Wait = Annotated[
    float,
    typer.Option("--wait", metavar="SECONDS", min=0, help="Wait for another process that is using the run."),
]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress, no table; warnings and errors only.")]
Run = Annotated[Path, typer.Argument(metavar="RUN", callback=home, help="A run directory.")]
Features = Annotated[
    str | None,
    typer.Option("--features", metavar="NAME|HUB-ID|FOLDER", help="Where images are compared: {installed}."),
]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout and nothing else.")]
