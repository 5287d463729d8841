"""What clients and the server agree on in a vote: the feature space, and how much noise there is."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from fgl.contracts.classifier import FitContext
from fgl.core.config.defaults import DEFAULTS
from fgl.core.config.schema import RunConfig, Selected
from fgl.core.store.owned import digest_of
from fgl.core.wire import ballots
from fgl.errors import ConfigError, Problem

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from fgl.contracts.classifier import Classifier
    from fgl.contracts.features import Extractor, FeatureSpace
    from fgl.core.plugin_manager import PluginManager
    from fgl.privacy import Release

UNIT = 2.0**-10
"""Votes are written in units of this: fine beside any noise, and a power of two, so that sums are exact."""
LEAST, MOST = 0.25, 10_000.0
"""Standard deviations of noise that votes can be written with."""
_GRID = 1.001
"""Noise on a grid is not quite Gaussian: so much more of it makes up for that, whatever is voted on."""
_SLACK = 40.0
"""Standard deviations of the noise: no honest number is further out."""
PLAIN_AGGREGATOR = DEFAULTS["aggregator"]["name"]


def space_of(config: RunConfig, manager: PluginManager) -> FeatureSpace:
    """The feature space of the votes. Raises ConfigError for one that would learn from images."""
    chosen = config.features if config.features.name == config.votes.space else None
    if chosen is None:
        chosen = Selected(name=config.votes.space, options={})
    space: FeatureSpace = manager.create("features", chosen)
    if space.learns():
        expected = "expected one that does not learn from images: what it learned would be of the clients, or of nobody"
        raise ConfigError([Problem("votes.space", config.votes.space, expected)])
    return space


def extractor_of(
    config: RunConfig, manager: PluginManager, classifier: Classifier, class_names: Sequence[str], device: str
) -> Extractor:
    """The space, ready to use."""
    context = FitContext(class_names=tuple(class_names), seed=config.seed, device=device)
    return space_of(config, manager).extractor({}, classifier, context)


def space_digest(extractor: Extractor) -> str:
    """By which client and server know that they compare in the same space."""
    return digest_of(dict(extractor.describe()))


def dimensions(extractor: Extractor) -> int:
    """Of the space."""
    return int(str(extractor.describe()["dimensions"]))


def expected(config: RunConfig, class_names: Sequence[str], extractor: Extractor) -> ballots.Expected:
    """What a ballot of this configuration may be."""
    return ballots.Expected(
        run=config.upload.run_id,
        rounds=config.votes.rounds,
        per_class=config.votes.candidates,
        class_names=class_names,
        space=space_digest(extractor),
        dimensions=dimensions(extractor),
    )


def deviation(config: RunConfig) -> float:
    """Standard deviation of the noise that the guarantee takes, on each number, in votes; 0 without a guarantee."""
    options = config.votes
    if options.sigma is not None:
        return options.sigma
    if options.epsilon is None:
        return 0.0
    from fgl.privacy import sigma_of

    return _GRID * sigma_of(options.epsilon, config.privacy.delta, options.rounds)


def client_deviation(config: RunConfig) -> float:
    """Standard deviation of what one client adds. Noise that is divided is divided among the fewest clients that a sum
    may be made of (upload.min_clients): it has to be enough without those that drop out."""
    whole = deviation(config)
    return whole if config.votes.noise == "each" else whole / math.sqrt(max(1, config.upload.min_clients))


def noise(config: RunConfig) -> ballots.Noise:
    """What is on the vote of a client."""
    return ballots.Noise(config.votes.level, client_deviation(config))


def noise_problems(config: RunConfig) -> list[Problem]:
    """What is wrong with the noise that is asked for: too little or too much for the unit that votes are written in."""
    least = client_deviation(config)
    if not least or LEAST <= least <= MOST:
        return []
    expected = f"expected {LEAST:g} to {MOST:g}, which votes can be written with"
    return [Problem("votes", f"noise of a standard deviation of {least:.4g} at a client", expected)]


def read(data: bytes, client_id: str, ballot: ballots.Ballot, config: RunConfig) -> NDArray[np.float64]:
    """What a client voted, float64 [n], by the rules of this configuration. Raises UploadError."""
    return ballots.read_vote(data, client_id, ballot, UNIT, largest(config), noise(config))


def largest(config: RunConfig) -> float:
    """The largest magnitude that a number of an honest vote may have, in votes."""
    exact = 1.0 if config.votes.level == "client" else float(config.votes.max_images)
    return exact + _SLACK * client_deviation(config)


def release(config: RunConfig, candidates: int) -> Release:
    """What a client's vote in one round is, for its price: one image, or one client, changes votes by 1 in norm at
    most. candidates: numbers of the vote. Raises ValueError where there is no noise, or too little for the unit."""
    from fgl.privacy import Release

    return Release(
        sigma=client_deviation(config),
        sensitivity=1.0,
        coordinates=candidates,
        whole=True,  # votes are multiples of the unit before there is noise on them
        grid=UNIT,
    )
