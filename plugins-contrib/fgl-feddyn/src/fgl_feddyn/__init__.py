"""What fgl imports to learn that this plugin exists: keep it light."""

from __future__ import annotations

from fgl import Component, hookimpl


@hookimpl
def fgl_algorithms() -> list[Component]:
    return [
        Component(
            name="feddyn",
            target="fgl_feddyn.feddyn:FedDyn",
            options="fgl_feddyn.options:FedDynOptions",
            summary="local losses with a dynamic regularizer, so that their minima agree (Acar et al. 2021)",
        )
    ]
