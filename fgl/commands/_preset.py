"""What `--preset` and `--smoke` do in the commands that take them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fgl.core.plugin_manager import PluginManager
from fgl.errors import COMMAND_LINE, ClassListError, ConfigError, DataError, Problem

if TYPE_CHECKING:
    from fgl.commands._options import ConfigFlags
    from fgl.core.config.presets import Data, Preset
    from fgl.core.config.schema import RunConfig


@dataclass(frozen=True, slots=True)
class Chosen:
    """A preset as one command uses it."""

    preset: Preset
    smoke: bool
    """Whether it is made small, to try it out."""
    data: Data
    """What the configuration reads: the preset's own data, or other data in its place."""
    config: RunConfig
    """The configuration, with the preset in it."""
    dataset: str
    """What the configuration runs on, as a person calls it."""
    here: bool
    """Whether the preset's own data can be opened without a network."""

    def notes(self) -> list[str]:
        """What a reader of the result must know."""
        title, name = self.preset.title, self.dataset
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
            "name": self.preset.name,
            "smoke": self.smoke,
            "stand_in": self.data.stand_in,
            "notes": self.notes(),
        }


def choose(manager: PluginManager, config: RunConfig, flags: ConfigFlags, command: str) -> Chosen | None:
    """The preset that the flags name, None if they name none. Raises DataError if its data is not on this machine.

    command: for example "fgl run"; the error says what to type then."""
    from fgl.core.config import presets, short_forms

    if flags.preset is None:
        return None
    preset, smoke = presets.load(flags.preset), flags.smoke
    data = presets.data_of(preset, config)
    if data.own and not preset.of_the_hub and not presets.is_here(preset.dataset, manager.registry):
        raise presets.absent(preset, command)
    if smoke and config.dataset.options.get("labels") is not None and not data.own:
        try:
            manager.create("dataset", config.dataset).info()
        except ClassListError:  # a stand-in need not have the classes of the layout
            config = presets.without_labels(config)
            data = presets.data_of(preset, config)
    name = short_forms.shown("dataset", config.dataset, manager.registry, ":")
    return Chosen(preset, smoke, data, config, name, presets.is_here(preset.dataset, manager.registry))


@contextmanager
def explained(chosen: Chosen | None, command: str) -> Iterator[None]:
    """Add to errors where else a preset's data is if the Hub lacks it, and what data fits if the given does not."""
    from fgl.core.config import presets

    try:
        yield
    except ClassListError as error:
        if chosen is None:
            raise
        raise ClassListError(f"{error}\n  the preset {chosen.preset.name} expects: {chosen.preset.layout}") from error
    except DataError as error:
        if chosen is None or not chosen.data.own or type(error) is not DataError:
            raise
        if not chosen.preset.of_the_hub or chosen.here:
            raise
        raise presets.absent(chosen.preset, command, str(error)) from error


def layers(manager: PluginManager, flags: ConfigFlags, given: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What the named preset puts below the layers that the user gave; nothing without a preset."""
    if flags.preset is None:
        if flags.smoke:
            expected = "--preset NAME beside it: --smoke makes a preset small"
            raise ConfigError([Problem("--smoke", "no preset", expected)], COMMAND_LINE)
        return []
    from fgl.core.config import presets

    return presets.layers(presets.load(flags.preset), flags.smoke, given, manager.registry)
