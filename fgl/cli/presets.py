"""`fgl presets …`, and what `--preset` and `--smoke` mean to the commands that take them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fgl.cli.common import Json
from fgl.cli.output import say, say_json, say_text
from fgl.core.errors import ClassListError, ConfigError, DataError, Problem
from fgl.core.manager import Manager

if TYPE_CHECKING:
    from fgl.core.presets import Data, Preset
    from fgl.core.settings import RunConfig


@dataclass(frozen=True, slots=True)
class Chosen:
    """A preset as it is used by one command."""

    preset: Preset
    smoke: bool
    data: Data
    config: RunConfig

    def notes(self) -> list[str]:
        """What whoever reads the result must know."""
        title, options = self.preset.title, self.config.dataset.options
        name = f"{self.config.dataset.name}:{options.get('subset') or options.get('path') or ''}"
        if self.smoke and self.data.stand_in:
            return [
                f"smoke run of the preset {self.preset.name} on stand-in data ({name}): it shows that everything "
                f"works together, and proves nothing about {title}"
            ]
        if self.smoke:
            return [
                f"smoke run of the preset {self.preset.name}: a tiny generator, few images and epochs; it shows that "
                f"everything works together, and its figures prove nothing about {title}"
            ]
        if self.data.stand_in:
            return [f"preset {self.preset.name} on other data than {title}: {name}"]
        return [f"preset {self.preset.name}: {title}"]

    def summary(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "name": self.preset.name, "smoke": self.smoke, "stand_in": self.data.stand_in, "notes": self.notes(),
        }  # fmt: skip


def choose(manager: Manager, config: RunConfig, flags: Mapping[str, Any], command: str) -> Chosen | None:
    """The preset that the flags name, None where they name none. Raises DataError where its data is not here.

    command: such as "fgl run", for what to do then."""
    from fgl.core import presets

    if flags.get("preset") is None:
        return None
    preset, smoke = presets.load(flags["preset"]), bool(flags.get("smoke"))
    data = presets.data_of(preset, config)
    if data.own and not preset.of_the_hub and not presets.is_here({"name": config.dataset.name, **preset.dataset}):
        raise presets.absent(preset, command)
    if smoke and config.dataset.options.get("labels") is not None and not data.own:
        try:
            manager.create("dataset", config.dataset).info()
        except ClassListError:  # what stands in for the layout need not have the classes
            config = presets.without_labels(config)
            data = presets.data_of(preset, config)
    return Chosen(preset, smoke, data, config)


@contextmanager
def explained(chosen: Chosen | None, command: str) -> Iterator[None]:
    """Say where else a preset's data is if the Hub does not give it, and what data fits if what was given does not."""
    from fgl.core import presets

    try:
        yield
    except ClassListError as error:
        if chosen is None:
            raise
        raise ClassListError(f"{error}\n  the preset {chosen.preset.name} expects: {chosen.preset.layout}") from error
    except DataError as error:
        if chosen is None or not chosen.data.own or type(error) is not DataError:
            raise
        if not chosen.preset.of_the_hub or presets.is_here(chosen.preset.dataset):
            raise
        raise presets.absent(chosen.preset, command, str(error)) from error


def layers(manager: Manager, flags: Mapping[str, Any], given: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What the preset that the flags name puts under the layers that the user gave; nothing without one."""
    if flags.get("preset") is None:
        if flags.get("smoke"):
            expected = "--preset NAME beside it: it is a preset that it makes small"
            raise ConfigError([Problem("--smoke", "no preset", expected)], "the command line")
        return []
    from fgl.core import presets

    return presets.layers(presets.load(flags["preset"]), bool(flags.get("smoke")), given, manager.registry)


def list_command(as_json: Json = False) -> None:
    """Print the experiments that are ready by name, and whether their data and model are on this machine."""
    from fgl.core import presets

    manager = Manager.load()
    rows = [_row(manager, presets.load(name)) for name in presets.names()]
    if as_json:
        say_json({"presets": rows})
        return
    head = ("preset", "data set", "classes", "clients", "partition", "here", "data from")
    table = [head]
    for row in rows:
        here = "yes" if row["runs_here"] else f"no {' and '.join(row['missing'])}"
        table.append((row["name"], row["title"], str(row["classes"]), str(row["clients"]), row["partition"], here,
                      row["source"]))  # fmt: skip
    widths = [max(len(line[column]) for line in table) for column in range(len(head))]
    for line in table:
        say("  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip())
    say("what is missing: fgl presets show NAME; all of them run here on stand-in data: fgl run --preset NAME --smoke")


def show_command(name: Annotated[str, typer.Argument(metavar="NAME")], as_json: Json = False) -> None:
    """Print a preset as its file has it, and what of it is on this machine."""
    from fgl.core import presets

    preset = presets.load(name, "NAME")
    row = _row(Manager.load(), preset)
    if as_json:
        say_json({**row, **preset.model_dump(mode="json")})
        return
    say_text((presets.FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))
    say(f"# here: data {_said(row['data_here'])}, model {_said(row['model_here'])}")
    data = "" if row["data_here"] or preset.of_the_hub else " --dataset PATH"
    say(f"# look at the data: fgl datasets check --preset {name}{data}")
    say(f"# run it:           fgl run --preset {name}{data}")
    say(f"# try it, small:    fgl run --preset {name} --smoke")


def _said(here: bool) -> str:
    return "yes" if here else "no"


def _row(manager: Manager, preset: Preset) -> dict[str, Any]:
    from fgl import hub
    from fgl.core import config, presets

    resolved = config.resolve(presets.layers(preset, False, [], manager.registry), manager.registry, preset.name)
    partition = resolved.partition.options
    data = presets.is_here(preset.dataset)
    uses = manager.options("generator", resolved.generator).models()
    model = all(hub.is_local(use.model) or hub.state(use, ask=False).cache == "all" for use in uses)
    skew = f" {partition['beta']:g}" if "beta" in partition else ""
    return {
        "name": preset.name, "title": preset.title, "classes": len(preset.classes),
        "clients": partition.get("clients") or len(preset.domains), "partition": f"{resolved.partition.name}{skew}",
        "source": preset.source, "data_here": data, "model_here": model, "runs_here": data and model,
        "missing": [name for name, here in (("data", data), ("model", model)) if not here],
    }  # fmt: skip
