"""OSCAR as a bundle: its prompt strategy and its settings of the generator."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fgl_oscar.options import OscarMethodOptions


class OscarMethod:
    """Zaland et al. 2025, OSCAR (arXiv 2502.08488), with whichever generator the run has."""

    def __init__(self, options: OscarMethodOptions) -> None:
        self.options = options

    def configuration(self) -> Mapping[str, object]:
        options = self.options
        return {
            "prompt_strategy": {
                "name": "oscar",
                "captions": options.captions,
                "options": dict(options.options),
                "per_domain": options.per_domain,
            },
            "generator": {
                "guidance_scale": options.guidance_scale,
                "num_inference_steps": options.num_inference_steps,
            },
        }
