"""Methods: named bundles of components and options, such as a published one-shot method."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

SECTIONS = (
    "prompt_strategy",
    "upload",
    "aggregator",
    "generator",
    "adaptation",
    "votes",
    "synthesis",
    "classifier",
    "rounds",
    "features",
    "algorithm",
    "baselines",
    "baseline_options",
)
"""Keys of a configuration that a method may set. The others belong to the data, the machine or the experiment, which
methods in a comparison share."""


class Method(Protocol):
    """A method as a configuration: which components it is made of, and with which options.

    What the user sets explicitly overrides it; it overrides presets and the defaults of components.
    """

    def configuration(self) -> Mapping[str, object]:
        """What the method sets, in the form of a YAML file: {"prompt_strategy": {"name": "caption"}, "rounds":
        {"count": 5}}. Only keys of `SECTIONS`; the same at each call."""
