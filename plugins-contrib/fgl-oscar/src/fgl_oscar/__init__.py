"""OSCAR (arXiv 2502.08488) as a prompt strategy and a method. Imported by every `fgl` command: keep it light."""

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


@hookimpl
def fgl_methods() -> list[Component]:
    return [
        Component(
            name="oscar",
            target="fgl_oscar.method:OscarMethod",
            options="fgl_oscar.options:OscarMethodOptions",
            summary="OSCAR: mean caption embeddings, guidance 7.5, 50 steps (arXiv 2502.08488).",
            api_version=3,
        )
    ]
