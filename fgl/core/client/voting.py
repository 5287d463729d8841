"""A client's images vote for candidates: noisy counts leave it, once a ballot."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from fgl.contracts.dataset import Subset
from fgl.contracts.progress import NullProgress
from fgl.core import voting
from fgl.core.client import own_images, policy, spending
from fgl.core.client import site as client_site
from fgl.core.data import decode
from fgl.core.wire import ballots
from fgl.core.wire.requests import opened
from fgl.errors import AlreadyVotedError, ConfigError, PolicyError, Problem
from fgl.privacy import add_noise

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fgl.contracts.features import Extractor
    from fgl.core.config.schema import RunConfig
    from fgl.core.wire.ballots import Ballot


def vote(payload: bytes) -> bytes:
    """The answer to a ballot: for each candidate the images of its class that lie nearest to it, with noise on every
    number. A ballot that was answered before has the same answer, and none of a round that was answered has another:
    the ledger of what was answered about these images, which outlives the run, holds it. It is handed out again only
    where the configuration still asks for the noise that is on it.

    Raises FGLError, among them UploadError for a ballot that breaks a rule."""
    request, arrays = opened(payload)
    return answer(policy.allowed(request, "vote"), arrays["ballot"].tobytes())


def answer(request: Mapping[str, Any], data: bytes) -> bytes:
    """`vote`, to a request that is allowed. data: the ballot's file. Raises FGLError as it does."""
    site = client_site.site_of(request)
    config, client_id = site.config, str(request["client_id"])
    options = config.votes
    if not options.rounds:
        raise ConfigError([Problem("votes.rounds", "0", "expected 1 or more: clients of this run send uploads")])
    if problems := voting.noise_problems(config):
        raise ConfigError(problems)
    extractor = voting.extractor_of(config, site.manager, site.classifier, site.class_names, str(request["device"]))
    ballot = ballots.read_ballot(data, voting.expected(config, site.class_names, extractor))
    images = own_images.identity(site.samples(client_id))
    ledger = own_images.ledger_of(request, config)
    question = {"votes": ballot.run, "round": ballot.round, "images": images.digest}
    key = spending.request_key(question)
    earlier, noise = ledger.held(key), voting.noise(config)
    if earlier is not None:
        _check_earlier(earlier, ballot, noise)
        return earlier
    deviation = noise.deviation
    price = _price(config, ballot, images, key, deviation)
    if price is not None:
        ledger.check(price)
    counts = _counts(site, client_id, extractor, ballot)
    if options.level == "client" and counts.any():
        counts = counts / np.linalg.norm(counts)
    # towards zero: rounding is not to make a vote longer than the norm that the noise is for
    exact = np.trunc(counts / voting.UNIT) * voting.UNIT
    noisy = add_noise(exact, deviation, voting.UNIT) if deviation else exact
    made = ballots.encode_vote(ballot, client_id, np.rint(noisy / voting.UNIT).astype(np.int64), voting.UNIT, noise)
    # what may leave is what is recorded: of two that vote at once, both hand out one vote
    return made if price is None else ledger.record(price, made)


def _check_earlier(vote: bytes, ballot: Ballot, noise: ballots.Noise) -> None:
    """Whether what was answered in this round may be handed out again. Raises AlreadyVotedError."""
    another = "Another vote is another run: give it a folder, or between machines an upload.run_id, of its own"
    digest, stated = ballots.answered(vote)
    if digest != ballot.digest:
        raise AlreadyVotedError(f"refused: another ballot of round {ballot.round} was answered; one a round. {another}")
    if not stated.is_as(noise):
        raise AlreadyVotedError(
            f"refused: this ballot was answered {stated}, and now the configuration asks for a vote {noise}; one vote "
            f"a ballot. {another}"
        )


def _price(
    config: RunConfig, ballot: Ballot, images: spending.Protected, key: str, deviation: float
) -> spending.Spending | None:
    """What the vote spends; None without noise, which no number prices. Raises PolicyError where this site has a limit
    and no noise is asked for."""
    if deviation:
        what = f"votes of run {ballot.run or 'without an id'}, round {ballot.round}"
        return spending.Spending(key, what, config.votes.level, voting.release(config, len(ballot)).cost, images)
    if config.privacy.max_epsilon is not None:
        limit = f"this site's limit is {config.privacy.max_epsilon:g} (privacy.max_epsilon)"
        expected = f"expected votes.epsilon or votes.sigma: exact votes have no price, and {limit}"
        raise PolicyError([Problem("votes.epsilon", "none", expected)], "what was asked of this site")
    return None


def _counts(site: client_site.Site, client_id: str, extractor: Extractor, ballot: Ballot) -> NDArray[np.float64]:
    """How many of the client's images are nearest to each candidate, among those of their class: float64 [n]. An image
    of a class without a candidate has no vote."""
    votes = np.zeros(len(ballot))
    held = site.positions(client_id)
    labels = site.train.labels[held]
    for class_id in np.unique(labels).tolist():
        rows = np.flatnonzero(ballot.class_id == class_id)
        if not len(rows):
            continue
        images = decode(Subset(site.train, held[labels == class_id].tolist()), ballot.size, NullProgress(), "decode")
        points = extractor.features(images.pixels, NullProgress())
        _, nearest = extractor.nearest(points, ballot.features[rows])
        votes[rows] = np.bincount(nearest, minlength=len(rows))
    return votes
