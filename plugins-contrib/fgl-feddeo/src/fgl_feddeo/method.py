"""FedDEO as a bundle: its prompt strategy, and every client's rows as they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fgl_feddeo.options import FedDeoOptions


class Method:
    """Yang et al. 2024, FedDEO (arXiv 2407.19953)."""

    def __init__(self, options: FedDeoOptions) -> None:
        self.options = options

    def configuration(self) -> Mapping[str, object]:
        return {
            "prompt_strategy": {"name": "feddeo", **self.options.model_dump(mode="json")},
            "aggregator": {"name": "union"},
        }
