"""OSCAR (arXiv 2502.08488) as a prompt strategy. Imported by every `fgl` command: keep it light."""

from __future__ import annotations

from fgl import Component, hookimpl


@hookimpl
def fgl_prompt_strategies() -> list[Component]:
    return [
        Component(
            name="oscar",
            target="fgl_oscar.strategy:Oscar",
            options="fgl_oscar.options:OscarOptions",
            summary="OSCAR: every image captioned, one mean embedding per class and client sent.",
            provides=("arrays",),
            api_version=3,
        )
    ]
