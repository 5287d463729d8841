"""GPT-FL as a bundle of fgl's own components."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fgl_gpt_fl.options import GptFlOptions


class GptFl:
    """Zhang et al. 2023, GPT-FL (arXiv 2306.02210): diversified prompts, random guidance, a synthetic training set, and
    a federated algorithm that starts from the model trained on it."""

    def __init__(self, options: GptFlOptions) -> None:
        self.options = options

    def configuration(self) -> Mapping[str, object]:
        options = self.options
        return {
            "prompt_strategy": {
                "name": "diversified",
                "prompts_per_class": options.prompts_per_class,
                "model": options.text_model,
            },
            # without a name: for whichever generator the run has
            "generator": {"guidance_scale": list(options.guidance), "scheduler": options.scheduler},
            "rounds": {"count": options.rounds, "server_epochs": 0},
            "algorithm": {"name": options.algorithm},
        }
