"""A client's part of a round at a stated price: what leaves it is clipped and noised, and recorded before it leaves."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from fgl.contracts.algorithm import LocalJob
from fgl.contracts.boundary import is_simulated
from fgl.core import private_rounds
from fgl.core.client import own_images
from fgl.core.client import site as client_site
from fgl.core.client.spending import Protected, Spending, request_key
from fgl.core.config.schema import Selected
from fgl.core.wire import updates
from fgl.errors import ConfigError, DivergedError, PolicyError, Problem
from fgl.io import strict_json

if TYPE_CHECKING:
    from fgl.contracts.algorithm import Algorithm
    from fgl.contracts.arrays import Array
    from fgl.contracts.classifier import TrainingHook
    from fgl.core.config.rounds_privacy import RoundsPrivacyOptions
    from fgl.core.config.schema import RunConfig

log = logging.getLogger(__name__)
_DETERMINES = ("name", "algorithm", "classifier", "epochs", "prepare", "noise", "trained", "digest")
"""Keys of a request that the answer follows from, beside the model, the images and the client's configuration."""


def priced(asked: Mapping[str, Any], config: RunConfig) -> RoundsPrivacyOptions | None:
    """How this client noises the updates that it is asked for; None where it is asked for exact ones. Raises
    PolicyError where a site has a limit and exact ones are asked for, ConfigError where its configuration does not say.

    In a simulation exact ones are those of baselines and audits, which are beside the run and claim no privacy."""
    limit = config.privacy.max_epsilon
    if not asked.get("noise"):
        if limit is not None and not is_simulated():
            said = f"exact updates have no price, and this site's limit is {limit:g} (privacy.max_epsilon)"
            raise PolicyError([Problem("rounds.privacy", "none", said)], "what was asked of this site")
        return None
    if config.rounds.privacy is None:
        problem = Problem("rounds.privacy", "none", "expected clip, and epsilon or noise_multiplier")
        raise ConfigError([problem], "what was asked of this client")
    return config.rounds.privacy


def answer(
    asked: Mapping[str, Any],
    message: memoryview,
    site: client_site.Site,
    samples: int,
    fit: Callable[[Mapping[str, Array], TrainingHook | None], Any],
    options: RoundsPrivacyOptions,
) -> bytes:
    """The bytes of an update: the model that was sent, with the client's clipped and noised change of the weights that
    the request lists as trained. Everything else of it is public: other arrays are as they were sent, the loss is 0 and
    the number of samples 1, and a training that diverged has a change of zeros.

    A question that was answered before has the same answer, from the ledger. asked, message, site, samples, fit: see
    `training.local_round`. Raises ConfigError where an algorithm sends or keeps anything else, BudgetError where the
    site's limit does not allow the price."""
    client_id, number, config = asked["client_id"], int(asked["round"]), site.config
    model, extra, kept = updates.received(message)
    names = _trained(asked, model)
    algorithm: Algorithm = site.manager.create("algorithm", Selected(**asked["algorithm"]))
    if extra or kept:
        raise _uncovered(asked)
    images = _images(strict_json.dumps(asked["config"], sort_keys=True), asked["device"], asked["data"], client_id)
    ledger = own_images.ledger_of(asked, config)
    key = request_key(
        {
            "task": "rounds",
            "images": images.digest,
            "client": client_id,
            "round": number,
            "model": hashlib.sha256(message).hexdigest(),
            "privacy": options.model_dump(mode="json"),
            "delta": config.privacy.delta,
            "seed": config.seed,
            **{name: asked[name] for name in _DETERMINES},
        }
    )
    earlier = ledger.held(key)
    if earlier is not None:
        return earlier
    count = sum(model[name].size for name in names)
    release = private_rounds.release(options, int(asked["noise"]), config.privacy.delta, count)
    what = f"update of round {number} ({asked['name']}, {client_id})"
    spending = Spending(key, what, options.level, release.cost, images)
    ledger.check(spending)
    change = np.zeros(count)
    try:
        update = algorithm.local(LocalJob(client_id, number, model, {}, {}, samples, partial(fit, model)))
        if update.extra or update.kept:
            raise _uncovered(asked)
        change = np.concatenate([update.model[name].astype(np.float64).ravel() - model[name].ravel() for name in names])
    except DivergedError as error:  # whether it diverged says something of the images
        log.warning("%s, round %d: %s; it sends noise alone", client_id, number, error)
    private = private_rounds.noised(change, release)
    ends = np.cumsum([model[name].size for name in names])[:-1]
    sent = dict(model)
    for name, piece in zip(names, np.split(private, ends), strict=True):
        sent[name] = (model[name] + piece.reshape(model[name].shape)).astype(model[name].dtype)
    made = updates.encode(updates.Header(config.upload.run_id, client_id, number, samples=1), sent, {})
    # what may leave is what is recorded: of two that answer at once, both hand out one update
    return ledger.record(spending, made)


def _trained(asked: Mapping[str, Any], model: Mapping[str, Array]) -> list[str]:
    """The arrays that are noised. Whichever the server lists, nothing else of the client leaves."""
    names = list(dict.fromkeys(asked["trained"]))
    if not names or not all(name in model and np.issubdtype(model[name].dtype, np.floating) for name in names):
        problem = Problem("trained", f"{len(names)} names", "expected names of floating-point arrays of the model")
        raise ConfigError([problem], "what was asked of this client")
    return names


def _uncovered(asked: Mapping[str, Any]) -> ConfigError:
    expected = "expected an algorithm whose clients send their model and keep nothing: rounds.privacy covers no more"
    return ConfigError([Problem("algorithm", repr(Selected(**asked["algorithm"]).name), expected)])


@lru_cache(maxsize=64)
def _images(config: str, device: str, data: str, client_id: str) -> Protected:
    """Which images a client's answers are about; they are decoded once for all rounds."""
    site = client_site.site_of({"config": strict_json.loads(config), "device": device, "data": data})
    return own_images.identity(site.samples(client_id))


def release_images() -> None:
    """Forget which images were whose."""
    _images.cache_clear()
