"""FedBiP as a bundle of its strategy and its generator."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from fgl_fedbip.options import SamplerOptions, TokenOptions

if TYPE_CHECKING:
    from fgl_fedbip.options import FedBipOptions


class Method:
    """Chen et al. 2024, FedBiP (arXiv 2410.04810)."""

    def __init__(self, options: FedBipOptions) -> None:
        self.options = options

    def configuration(self) -> Mapping[str, object]:
        every = self.options.model_dump(mode="json")
        parts = {
            section: {name: every[name] for name in kind.model_fields}
            for section, kind in (("prompt_strategy", TokenOptions), ("generator", SamplerOptions))
        }
        return {
            **{section: {"name": "fedbip", **options} for section, options in parts.items()},
            "aggregator": {"name": "union"},
        }
