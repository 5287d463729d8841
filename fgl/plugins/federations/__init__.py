"""Built-in federations."""

from __future__ import annotations

from fgl import hookimpl
from fgl.contracts.component import Component


@hookimpl
def fgl_federations() -> list[Component]:
    return [
        Component(
            name="local",
            target="fgl.plugins.federations.local:LocalFederation",
            options="fgl.plugins.federations.options:LocalOptions",
            summary="simulated clients on this machine, one after another; bytes and only bytes cross",
        )
    ]
