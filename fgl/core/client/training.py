"""The client's side of a round: a model comes in, is trained on this client's own images, and goes back."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fgl.contracts.algorithm import LocalJob
from fgl.contracts.classifier import FitContext
from fgl.contracts.preparation import Preparation
from fgl.core import seeds
from fgl.core.client import policy, private_folder, private_updates
from fgl.core.client import site as client_site
from fgl.core.config.schema import Selected
from fgl.core.store.checkpoints import Checkpoints
from fgl.core.wire import updates
from fgl.errors import DivergedError
from fgl.io import strict_json

if TYPE_CHECKING:
    from fgl.contracts.algorithm import Algorithm
    from fgl.contracts.arrays import Array
    from fgl.contracts.classifier import Classifier, TrainedClassifier, TrainingHook


log = logging.getLogger(__name__)


def train(asked: Mapping[str, object], message: memoryview) -> bytes:
    """One client's part of one round → the bytes of its update. Raises FGLError; to have diverged is an answer."""
    asked = policy.allowed(asked, "rounds")
    site = client_site.site_of(asked)
    price = private_updates.priced(asked, site.config)
    client_id, number = asked["client_id"], asked["round"]
    data = _pixels(
        asked["data"],
        strict_json.dumps(asked["config"], sort_keys=True),
        asked["device"],
        client_id,
        Preparation(**asked["prepare"]),
    )
    classifier: Classifier = site.manager.create("classifier", Selected(**asked["classifier"]))
    context = FitContext(
        class_names=site.class_names,
        seed=seeds.client_seed(site.config.seed, client_id, number),
        device=asked["device"],
        epochs=asked["epochs"],
        label=f"round {number}, {client_id}",
        product=site.product,
    )

    def fit(model: Mapping[str, Array], hook: TrainingHook | None) -> TrainedClassifier:
        return classifier.fit(data, None, replace(context, start=model, hook=hook))

    if price is not None:
        return private_updates.answer(asked, message, site, len(data), fit, price)
    return local_round(asked, message, site, len(data), fit)


def local_round(
    asked: Mapping[str, Any],
    message: memoryview,
    site: client_site.Site,
    samples: int,
    fit: Callable[[Mapping[str, Array], TrainingHook | None], Any],
) -> bytes:
    """A client's part of a round, whatever is trained: the algorithm's step around `fit`, and the bytes of its update.

    asked: a request that is allowed. message: what the server sent. samples: images that are trained on. fit: trains
    from a state with a hook; returns what has `state` and `history`, as `TrainedClassifier`."""
    client_id, number = asked["client_id"], asked["round"]
    model, extra, kept = updates.received(message)
    algorithm: Algorithm = site.manager.create("algorithm", Selected(**asked["algorithm"]))
    shelf = ClientStateStore(Path(asked["private"]), asked["name"], asked["digest"])
    header = updates.Header(site.config.upload.run_id, client_id, number, samples)
    before = shelf.before(number, kept)
    if before is None:
        log.warning(
            "%s, round %d: what it kept in an earlier round is gone, damaged or of another round", client_id, number
        )
        return updates.encode(header, {}, {}, updates.LOST)
    try:
        job = LocalJob(client_id, number, model, extra, before, samples, partial(fit, model))
        update = algorithm.local(job)
        _check({"the loss": np.asarray(update.loss)})
        for arrays in (update.model, update.extra, update.kept):
            _check(arrays)
    except DivergedError as error:
        log.warning("%s, round %d: %s", client_id, number, error)
        return updates.encode(header, {}, {}, updates.DIVERGED)
    shelf.keep(number, update.kept, kept)
    header = replace(header, loss=update.loss, kept=updates.digest_of_kept(update.kept))
    return updates.encode(header, update.model, update.extra)


def release() -> None:
    """Let go of the clients' decoded images."""
    _pixels.cache_clear()
    private_updates.release_images()
    client_site.release()


@lru_cache(maxsize=256)
def _pixels(data: str, config: str, device: str, client_id: str, prepare: Preparation) -> Any:
    """A client's images as the classifier takes them, decoded once for all its rounds."""
    site = client_site.site_of({"config": strict_json.loads(config), "device": device, "data": data})
    return site.inputs(site.samples(client_id), prepare, f"decode {client_id}", train=True)


def _check(arrays: Mapping[str, Array]) -> None:
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise DivergedError(f"{name} is not finite after local training")


class ClientStateStore:
    """What a client keeps from round to round: one file a round, so that a round which is done again finds what it
    found the first time. The server says, by digest, which one it means."""

    def __init__(self, private: Path, name: str, digest: str) -> None:
        self._run, self._digest = private_folder.private_files(private), digest
        self._folder = private / "rounds" / name

    def before(self, number: int, kept: str) -> Mapping[str, Array] | None:
        """What this client kept in the last round before `number` that the server has committed, empty where it kept
        nothing; None where it is no longer here. kept: its digest."""
        if not kept:
            return {}
        for one in sorted(self._there(), reverse=True):
            arrays = self._at(one).load() if one < number else None
            if arrays is not None and updates.digest_of_kept(arrays) == kept:
                return arrays
        return None

    def keep(self, number: int, arrays: Mapping[str, Array], kept: str) -> None:
        """Beside what the server means until this round is committed; all else is of attempts that came to nothing."""
        if arrays:
            self._at(number).save(arrays)
        others = [one for one in self._there() if one != number and not self._is(one, kept)]
        self._run.remove(*map(self._path, others))

    def holds(self, kept: str) -> bool:
        return not kept or any(self._is(one, kept) for one in self._there())

    def _is(self, number: int, kept: str) -> bool:
        arrays = self._at(number).load() if kept else None
        return arrays is not None and updates.digest_of_kept(arrays) == kept

    def _there(self) -> list[int]:
        here = (path for path in self._run.owned() if path.parent == self._folder and path.exists())
        return [int(path.stem) for path in here if path.stem.isdecimal()]

    def _at(self, number: int) -> Checkpoints:
        return Checkpoints(self._run, self._folder, self._digest, str(number))

    def _path(self, number: int) -> Path:
        return self._folder / f"{number}.safetensors"


def holds(private: Path, name: str, digest: str, kept: str) -> bool:
    """Whether a simulated client still has what the server's state says that it keeps. name, digest: see `Training`."""
    return ClientStateStore(private, name, digest).holds(kept)
