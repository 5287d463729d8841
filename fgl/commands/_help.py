"""What `fgl --help` shows: commands in the order in which they are used, and what to read next."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from typer.core import TyperCommand, TyperGroup

from fgl.commands._table import NAMES
from fgl.contracts.component import FAMILIES

if TYPE_CHECKING:
    from fgl.core.registry import Registry


EPILOG = "\n\n".join(
    (
        "Start with: fgl run (a bundled example, about a minute), or fgl run --preset imagenette --smoke",
        "Your own images: fgl datasets check --dataset DIR, fgl probe --dataset DIR, then fgl run --dataset DIR",
        "Options of a command: fgl COMMAND --help. Of a plugin: fgl plugins show NAME",
        "Pages: README.md, and docs/README.md for all of them in reading order, in fgl's source",
    )
)


class PlainCommand(TyperCommand):
    """A command whose help shows no type for switches: that one takes no value says as much as `<bool>`. `{installed}`
    in an option's help becomes the names of its family's components."""

    installed: ClassVar[dict[str, str]] = {}
    """Family → the names of its components, as help lists them."""

    def get_params(self, ctx: Any) -> list[Any]:
        params = _without_type(super().get_params(ctx))
        for param in params:
            text = getattr(param, "help", None)
            if text and "{installed}" in text:
                param.help = text.replace("{installed}", self.installed.get(param.name, "fgl plugins list"))
        return params


def command_class(registry: Registry) -> type[PlainCommand]:
    """`PlainCommand` that knows what is installed."""
    names = {family: ", ".join(registry.names(family)) for family in FAMILIES}
    return type("InstalledCommand", (PlainCommand,), {"installed": names})


class PlainGroup(TyperGroup):
    def get_params(self, ctx: Any) -> list[Any]:
        return _without_type(super().get_params(ctx))


class OrderedGroup(PlainGroup):
    """Lists fgl's own commands in the order of `fgl.commands._table`, then those of plugins."""

    def list_commands(self, ctx: Any) -> list[str]:
        names = super().list_commands(ctx)
        return [name for name in NAMES if name in names] + [name for name in names if name not in NAMES]


def _without_type(params: list[Any]) -> list[Any]:
    for param in params:
        if getattr(param, "is_flag", False):
            param.metavar = ""
    return params
