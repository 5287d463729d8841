"""What fgl imports to learn that this plugin exists: keep it light."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fgl import Component, hookimpl

if TYPE_CHECKING:
    import typer


@hookimpl
def fgl_prompt_strategies() -> list[Component]:
    return [
        Component(
            name="seasons",
            target="fgl_example_prompts.seasons:Seasons",
            options="fgl_example_prompts.options:SeasonsOptions",
            summary="Each class in every season: more variety from the class name alone.",
            api_version=2,
        )
    ]


@hookimpl
def fgl_register_commands(app: typer.Typer) -> None:
    @app.command()
    def preview(label: str) -> None:
        """Print the prompts that `seasons` writes for a class called LABEL, with its default options."""
        # Imported when the command runs, because this module is loaded by every `fgl` command.
        from fgl_example_prompts.options import SeasonsOptions
        from fgl_example_prompts.seasons import Seasons

        for text in Seasons(SeasonsOptions()).texts(label):
            print(text)
