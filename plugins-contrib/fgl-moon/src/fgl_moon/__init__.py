"""What fgl imports to learn that this plugin exists: keep it light."""

from __future__ import annotations

from fgl import Component, hookimpl


@hookimpl
def fgl_algorithms() -> list[Component]:
    return [
        Component(
            name="moon",
            target="fgl_moon.moon:Moon",
            options="fgl_moon.options:MoonOptions",
            summary="FedAvg with a contrast of representations in each local step (Li et al. 2021)",
        )
    ]
