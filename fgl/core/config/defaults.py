"""What is chosen where nobody chooses: the one place in which the core names components."""

from __future__ import annotations

from typing import Any

DEFAULTS: dict[str, Any] = {
    "seed": 0,
    "device": "auto",
    "method": {"name": "fgl"},
    "dataset": {"name": "bundled"},
    "partition": {"name": "dirichlet"},
    "prompt_strategy": {"name": "class-name"},
    "upload": {},
    "aggregator": {"name": "union"},
    "generator": {"name": "tiny"},
    "adaptation": {},
    "votes": {},
    "synthesis": {},
    "classifier": {"name": "small"},
    "rounds": {},
    "features": {"name": "trained"},
    "evaluation": {},
    "audit": {},
    "privacy": {},
    "algorithm": {"name": "fedavg"},
    "federation": {"name": "local"},
    "executor": {"name": "local"},
    "trackers": [],
    "server": {},
    "baseline_options": {},
    "baselines": ["class-list"],
}
"""The lowest layer of every configuration."""

DEFAULT_CODEC, EXACT_CODEC, TEXT_CODEC = "fp16", "fp32", "text"
"""What uploads are written in: where nobody chooses, where every bit counts, and where prompts themselves are sent."""

CODECS_ALLOWED = ("fp16", "fp32", "int8")
"""What a site sends in where its owner says nothing of codecs: no texts."""

PLAIN_RULE = "mean"
"""The aggregation rule that leaves a round's updates to the algorithm."""

VOTING_SPACE = "random-filters"
"""The feature space in which images vote: one that learns from none."""

PATHS = {
    ("dataset", "file"): "parquet",
    ("dataset", "folder"): "imagefolder",
    ("features", "file"): "image-model",
    ("features", "folder"): "image-model",
    ("features", "name"): "image-model",
}
"""(family, what a text is: a file, a folder, or a name with a slash as the Hub has them) → the component that opens it
where none does by `Component.opens`."""

PROMPTS_COMPARED = ("class-name", "attributes")
"""Prompt strategies that `baselines: all` sets beside the run's own."""

CLASS_LIST_PROMPTS = "class-name"
"""The prompt strategy of the baseline class-list, which needs no client: it opens no image."""

LISTED_PARTITION = "listed"
"""The partition by a file, for the parts that an audit trains shadow models on."""
