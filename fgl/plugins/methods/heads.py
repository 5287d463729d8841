"""One-shot heads on features: neither prompts nor images leave the clients, and no image is generated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fgl.plugins.methods.options import FeatureOptions, FedPFTOptions


def _space(options: FeatureOptions) -> dict[str, object]:
    """Options of a generator of features that are set."""
    given = {"space": options.space, "model": options.model, "image_size": options.image_size}
    return {name: value for name, value in given.items() if value is not None}


class _OfMoments:
    classifier = ""

    def __init__(self, options: FeatureOptions) -> None:
        self.options = options

    def configuration(self) -> Mapping[str, object]:
        return {
            "prompt_strategy": {"name": "moments"},
            "generator": {"name": "moments", **_space(self.options)},
            "classifier": {"name": self.classifier},
            # counts are exact, and a client's are never scaled down: else the head were not that of the pooled data
            "upload": {"codec": "fp32", "max_weight_ratio": 1e9},
            "baselines": "none",
        }


class Analytic(_OfMoments):
    """Ridge regression in closed form. Source: AFL, arXiv 2405.16240."""

    classifier = "analytic"


class Gaussian(_OfMoments):
    """Linear discriminant in closed form. Source: FedCGS, arXiv 2503.06962."""

    classifier = "gaussian"


class FedPFT:
    """Gaussians of features, and a linear head trained on samples of them. Source: arXiv 2402.01862."""

    def __init__(self, options: FedPFTOptions) -> None:
        self.options = options

    def configuration(self) -> Mapping[str, object]:
        return {
            "prompt_strategy": {"name": "class-gaussians", "components": self.options.components},
            "generator": {"name": "class-gaussians", "covariance": self.options.covariance, **_space(self.options)},
            "classifier": {"name": "linear"},
            # features cost next to nothing, and few of them describe a full covariance badly
            "synthesis": {"images_per_class": 640},
            "baselines": "none",
        }
