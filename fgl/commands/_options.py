"""Options that several commands share, declared once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

# {installed} becomes the names that are installed, those of plugins among them: `fgl.commands._help`.
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
