"""The command line: parses, calls the core, prints."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fgl.core.errors import ConfigError, FGLError, Problem
from fgl.core.manager import Manager

if TYPE_CHECKING:
    from rich.console import Console

    from fgl.core.config import RunConfig

_OWN_COMMANDS = ("run", "digest", "config", "plugins")
PARTITIONS = ("dirichlet", "iid", "domain")


def build(manager: Manager) -> typer.Typer:
    """The app with the commands of every plugin mounted under the plugin's name."""
    app = typer.Typer(
        name="fgl",
        help="Federated generative learning: clients upload prompt embeddings, a server synthesizes the training set.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    config = typer.Typer(help="Look at configurations.", no_args_is_help=True)
    plugins = typer.Typer(help="Look at plugins.", no_args_is_help=True)
    app.add_typer(config, name="config")
    app.add_typer(plugins, name="plugins")
    app.command("run")(run_command)
    app.command("digest")(digest_command)
    app.callback()(version_option)
    config.command("show")(config_show)
    plugins.command("list")(plugins_list)
    plugins.command("show")(plugins_show)
    for name, register in manager.commands():
        if name in _OWN_COMMANDS:  # typer would let the plugin's group replace the command
            text = f"warning: plugin {name!r} has the name of a command of fgl: its own commands are left out"
            _console().print(text, style="yellow", markup=False)
            continue
        mounted = typer.Typer(help=f"Commands of the plugin {name}.", no_args_is_help=True)
        try:
            register(mounted)
        except Exception as error:
            text = f"warning: plugin {name!r} could not add its commands: {error}"
            _console().print(text, style="yellow", markup=False)
            continue
        app.add_typer(mounted, name=name)
    return app


def main() -> None:
    """Entry point. FGLError ends with its own exit code and one message on stderr."""
    try:
        build(Manager.load())()
    except FGLError as error:
        _say_error(error)
        sys.exit(error.exit_code)


def _print_version(asked: bool) -> None:
    if asked:
        from fgl import __version__

        print(__version__)
        raise typer.Exit


def version_option(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    pass


ConfigFile = Annotated[str | None, typer.Argument(metavar="[CONFIG.yaml]", help="Configuration; flags override it.")]
Generator = Annotated[str | None, typer.Option(metavar="NAME", help="Foundation model, e.g. tiny, sd15, sd21.")]
Strategy = Annotated[str | None, typer.Option(metavar="NAME", help="class-name, domain, attributes, …")]
Aggregator = Annotated[str | None, typer.Option(metavar="NAME", help="union, class-mean, …")]
Classifier = Annotated[str | None, typer.Option(metavar="NAME", help="small, resnet18, transformers, …")]
Dataset = Annotated[
    str | None,
    typer.Option(metavar="NAME|PATH", help="bundled:eurosat, bundled:fashion_mnist, a folder, a .parquet, hf:ID."),
]
Clients = Annotated[int | None, typer.Option(metavar="N", help="Number of clients.")]
Partition = Annotated[str | None, typer.Option(metavar="|".join(PARTITIONS), help="How samples are divided.")]
Beta = Annotated[float | None, typer.Option(metavar="B", help="Dirichlet concentration; small is skewed.")]
Images = Annotated[int | None, typer.Option("--images-per-class", metavar="N", help="Synthetic images a class.")]
Seed = Annotated[int | None, typer.Option(metavar="S", help="Everything random follows from it.")]
Device = Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")]
Set = Annotated[list[str] | None, typer.Option("--set", metavar="family.option=value", help="Any option; repeatable.")]
Skip = Annotated[bool, typer.Option("--skip-bad-images", help="Leave out images that cannot be read, and count them.")]
Out = Annotated[Path | None, typer.Option(metavar="DIR", help="Run directory; an unfinished run there is completed.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout and nothing else.")]


def run_command(
    config: ConfigFile = None,
    generator: Generator = None,
    prompt_strategy: Strategy = None,
    aggregator: Aggregator = None,
    classifier: Classifier = None,
    dataset: Dataset = None,
    clients: Clients = None,
    partition: Partition = None,
    beta: Beta = None,
    images_per_class: Images = None,
    seed: Seed = None,
    device: Device = None,
    skip_bad_images: Skip = False,
    set_: Set = None,
    out: Out = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything, compute nothing.")] = False,
    as_json: Json = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress, no table; errors only.")] = False,
) -> None:
    """Clients to classifier, in one communication round."""
    from fgl.core.orchestrator import execute, fresh_folder, open_session
    from fgl.core.report import rows
    from fgl.core.store import RunDir
    from fgl.core.types import Silent

    manager = Manager.load()
    resolved, given = _resolve(manager, config, locals())
    console = _console()
    say = Silent() if quiet else None
    folder = out if out is not None else fresh_folder()
    with _stdout_to_stderr(), _interruptible(folder):
        if not quiet:
            _announce(console, resolved, "dataset" not in given, folder)
        if dry_run:
            result = _dry_run(manager, resolved)
        elif say is not None:
            session = open_session(resolved, manager, RunDir(folder), say)
            with session.run.lock():
                result = execute(session)
        else:
            from fgl.console import progress

            with progress(console) as shown:
                session = open_session(resolved, manager, RunDir(folder), shown)
                with session.run.lock():
                    result = execute(session)
    if not (quiet or dry_run):
        _warn(console, result, resolved)
    if as_json:
        print(json.dumps(result, ensure_ascii=False))
    elif dry_run:
        for key, value in result["dry_run"].items():
            print(f"{key.replace('_', ' ')}: {value}")
        print("everything fits; nothing was computed or written")
    elif not quiet:
        from rich.console import Console

        from fgl.console import result_table

        plain = Console(width=None if sys.stdout.isatty() else 150)
        plain.print(result_table(rows(result), result["result"]["selected"]["images"]))
        for line in (f"contact sheets: {folder}/sheets/", f"report:         {folder}/report.md, {folder}/report.json"):
            plain.print(line, soft_wrap=True, highlight=False, markup=False)


def config_show(
    config: ConfigFile = None,
    generator: Generator = None,
    prompt_strategy: Strategy = None,
    aggregator: Aggregator = None,
    classifier: Classifier = None,
    dataset: Dataset = None,
    clients: Clients = None,
    partition: Partition = None,
    beta: Beta = None,
    images_per_class: Images = None,
    seed: Seed = None,
    device: Device = None,
    skip_bad_images: Skip = False,
    set_: Set = None,
    as_json: Json = False,
) -> None:
    """Print the configuration that `fgl run` with the same arguments would use, as YAML."""
    resolved, _ = _resolve(Manager.load(), config, locals())
    print(json.dumps(resolved.to_dict(), ensure_ascii=False) if as_json else resolved.to_yaml(), end="\n" * as_json)


def digest_command(run: Annotated[Path, typer.Argument(metavar="RUN", help="A run directory.")]) -> None:
    """Print the digest of a run's synthetic set, computed from its images."""
    from fgl.core.orchestrator import digest

    print(digest(run))


def plugins_list(
    family: Annotated[str | None, typer.Option(help="Only this family.")] = None, as_json: Json = False
) -> None:
    """Print every installed component, and what could not be loaded."""
    from fgl.core.types import FAMILIES

    if family is not None and family not in FAMILIES:
        raise ConfigError([Problem("--family", repr(family), f"expected {', '.join(FAMILIES)}")], "the command line")
    manager = Manager.load()
    entries = [entry for entry in manager.registry.all() if family in (None, entry.family)]
    if as_json:
        listed = [
            {"family": e.family, "name": e.component.name, "summary": e.component.summary, "plugin": e.plugin,
             "distribution": e.distribution}
            for e in entries
        ]  # fmt: skip
        broken = [
            {"plugin": s.name, "distribution": s.distribution, "problem": s.problem}
            for s in manager.statuses
            if s.problem
        ]
        print(json.dumps({"components": listed, "problems": broken}))
        return
    width = max((len(entry.component.name) for entry in entries), default=0)
    previous = ""
    for entry in entries:
        if entry.family != previous:
            print(f"{entry.family}:")
            previous = entry.family
        origin = "" if entry.distribution == "fgl" else f" [{entry.distribution}]"
        clash = " (clashes)" if len(manager.registry.entries[entry.family, entry.component.name]) > 1 else ""
        print(f"  {entry.component.name:<{width}}  {entry.component.summary}{origin}{clash}")
    for status in manager.statuses:
        if status.problem:
            print(f"not loaded: {status.name} of {status.distribution}: {status.problem}")


def plugins_show(name: Annotated[str, typer.Argument(metavar="NAME")]) -> None:
    """Print a component's options: type, default, what it means."""
    from fgl.core.registry import suggestion

    registry = Manager.load().registry
    found = [entry for entry in registry.all() if entry.component.name == name]
    if not found:
        names = sorted({entry.component.name for entry in registry.all()})
        raise ConfigError(
            [Problem("NAME", repr(name), f"no such component{suggestion(name, names)}")], "the command line"
        )
    for entry in found:
        component = entry.component
        print(f"{name} ({entry.family}, from {entry.distribution}): {component.summary}")
        cls = registry.options_class(entry)
        if cls.__doc__ and cls.model_fields:
            print(f"  {cls.__doc__.strip().splitlines()[0]}")
        defaults = _effective(cls, dict(component.defaults))
        for option, info in cls.model_fields.items():
            shown = (
                "required"
                if info.is_required() and option not in defaults
                else json.dumps(defaults.get(option), ensure_ascii=False, default=str)
            )
            print(f"  {entry.family}.{option}: {_type(info.annotation)} = {shown}")
            if info.description:
                print(f"      {info.description}")


def _type(annotation: Any) -> str:
    """A type as a person writes it: without the constraints and validators that pydantic keeps in it."""
    from types import UnionType
    from typing import Annotated, Literal, Union, get_args, get_origin

    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type(arguments[0])
    if origin in (Union, UnionType):
        return " | ".join(_type(argument) for argument in arguments)
    if origin is Literal:
        return " | ".join(json.dumps(argument) for argument in arguments)
    if annotation is type(None):
        return "null"
    name = getattr(origin or annotation, "__name__", str(annotation))
    inner = [_type(argument) for argument in arguments if argument is not Ellipsis]
    return f"{name}[{', '.join(inner)}]" if inner else name


def _effective(cls: Any, defaults: dict[str, Any]) -> dict[str, Any]:
    """Defaults as a run would see them: an options class may fill some in by itself (a preset)."""
    try:
        return dict(cls(**defaults).model_dump(mode="json"))
    except ValueError:  # a required option has no default to show
        return {k: f.get_default(call_default_factory=True) for k, f in cls.model_fields.items() if not f.is_required()}


def _resolve(manager: Manager, config: str | None, flags: dict[str, Any]) -> tuple[RunConfig, set[str]]:
    """YAML, then flags, then --set, over the defaults; and the top-level keys that any of them gave.

    Raises ConfigError with every problem of all three."""
    from fgl.core.config import expand, read_yaml, resolve, set_option

    layers: list[dict[str, Any]] = [read_yaml(Path(config))] if config is not None else []
    layer: dict[str, Any] = {}
    for key in ("generator", "prompt_strategy", "aggregator", "classifier", "partition", "dataset"):
        if flags[key] is not None:
            layer[key] = expand(key, flags[key])
    for key, place in (("clients", "partition"), ("beta", "partition"), ("images_per_class", "synthesis")):
        if flags[key] is not None:
            layer.setdefault(place, {})[key] = flags[key]
    if flags["skip_bad_images"]:
        layer.setdefault("dataset", {})["skip_bad_images"] = True
    layer |= {key: flags[key] for key in ("seed", "device") if flags[key] is not None}
    layers.append(layer)
    extra: dict[str, Any] = {}
    problems: list[Problem] = []
    for assignment in flags["set_"] or ():
        try:
            set_option(extra, assignment)
        except ConfigError as error:
            problems += error.problems
    layers.append(extra)
    source = config or "the configuration"
    try:
        resolved = resolve(layers, manager.registry, source)
    except ConfigError as error:
        raise ConfigError([*problems, *error.problems], source) from None
    if problems:
        raise ConfigError(problems, "the command line")
    return resolved, {str(key) for layer in layers for key in layer}


def _announce(console: Console, config: RunConfig, bundled: bool, folder: Path) -> None:
    data = config.dataset.options.get("subset") or config.dataset.options.get("path") or ""
    said = " (no --dataset given: the bundled one)" if bundled and config.dataset.name == "bundled" else ""
    console.print(f"dataset {config.dataset.name} {data}{said}", highlight=False, markup=False)
    console.print(
        f"generator {config.generator.name}, prompts {config.prompt_strategy.name}, "
        f"aggregator {config.aggregator.name}, classifier {config.classifier.name}, seed {config.seed} → {folder}",
        highlight=False,
        soft_wrap=True,
        markup=False,
    )


def _warn(console: Console, result: dict[str, Any], config: RunConfig) -> None:
    """What went otherwise than asked, and would be overlooked in a report."""
    lines = [f"{client} was refused: {reason}" for client, reason in result["upload"]["refused"].items()]
    missing, skipped = result["synthetic"]["missing_classes"], result["dataset"]["skipped"]
    if missing:
        lines.append(f"no client holds {', '.join(missing)}: there is no synthetic image of it")
    if skipped:
        lines.append(f"left out {len(skipped)} unreadable image{'s' * (len(skipped) > 1)}, named in the report")
    left_out = set(config.controls) - {control["name"] for control in result["controls"]}
    if left_out:
        lines.append(f"no control {', '.join(sorted(left_out))}: the dataset has nothing for it")
    for line in lines:
        console.print(f"note: {line}", style="yellow", highlight=False, markup=False, soft_wrap=True)


def _dry_run(manager: Manager, config: RunConfig) -> dict[str, Any]:
    """Open everything that can be opened without computing: data, partition, the generator's declaration."""
    from fgl.core.orchestrator import open_session
    from fgl.core.store import RunDir
    from fgl.core.types import Silent

    session = open_session(config, manager, RunDir(Path("unused")), Silent())
    train, test = session.split("train"), session.split("test")
    divided = manager.create("partition", config.partition).partition(train.labels, train.domains, config.seed)
    plan = {
        "clients": {name: len(rows) for name, rows in divided.items()}, "classes": list(session.info.class_names),
        "train_images": len(train), "test_images": len(test), "device": session.device,
        "synthetic_images": config.synthesis.images_per_class * len(session.info.class_names),
        "arrays": {spec.name: list(spec.shape) for spec in session.generator.declare().arrays},
        "controls": list(session.config.controls),
    }  # fmt: skip
    return {"dry_run": plan, "config": config.to_dict()}


@contextmanager
def _interruptible(folder: Path) -> Iterator[None]:
    """Typer ends an interrupted command without a word; a person wants to know how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        hint = f"interrupted: the same command with --out {folder} goes on from here"
        _console().print(hint, style="yellow", highlight=False, markup=False, soft_wrap=True)
        raise typer.Exit(130) from None


@contextmanager
def _stdout_to_stderr() -> Iterator[None]:
    """Whatever a library prints goes to stderr: stdout is for the result."""
    kept, sys.stdout = sys.stdout, sys.stderr
    try:
        yield
    finally:
        sys.stdout = kept


def _console() -> Console:
    from rich.console import Console

    return Console(stderr=True)


def _say_error(error: FGLError) -> None:
    print(f"error: {error}", file=sys.stderr)


if __name__ == "__main__":
    main()
