"""The client's side of a round that adapts the generator: an adapter comes in, learns from this client's own images,
captioned by its prompt strategy, and goes back."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from fgl.contracts.adaptation import AdaptContext
from fgl.contracts.progress import NullProgress
from fgl.contracts.prompts import ClientContext, Encoded
from fgl.core import captions, seeds
from fgl.core.adapters import adaptation_of, check_strategy
from fgl.core.client import policy, private_folder, training
from fgl.core.client import site as client_site
from fgl.core.client.captioning import asked as asked_texts
from fgl.core.data import decode
from fgl.core.encoding import encode_once_warned
from fgl.core.store.checkpoints import Checkpoints
from fgl.core.store.owned import digest_of
from fgl.core.wire import requests
from fgl.io import strict_json

if TYPE_CHECKING:
    from fgl.contracts.adaptation import Adaptation, Adapted, CaptionedImages
    from fgl.contracts.arrays import Array
    from fgl.contracts.classifier import TrainingHook


CHECKPOINT_STEPS = 50
"""Steps from one checkpoint of a client's training to the next."""


def adapt(asked: Mapping[str, object], message: memoryview) -> bytes:
    """One client's part of one round → the bytes of its update. Loads the denoiser and the encoder of images too, which
    no upload takes. Raises FGLError; to have diverged is an answer."""
    asked = policy.allowed(asked, "adapt")
    site = client_site.site_of(asked)
    client_id, number = str(asked["client_id"]), int(str(asked["round"]))
    key = (str(asked["data"]), strict_json.dumps(asked["config"], sort_keys=True), str(asked["device"]))
    adaptation = _adaptation(*key)
    images = _captioned(*key, client_id, str(asked["private"]))
    context = AdaptContext(
        seed=seeds.client_seed(site.config.seed, client_id, number),
        device=str(asked["device"]),
        label=f"round {number}, {client_id}",
        steps=site.config.adaptation.local_steps,
    )

    kept = _checkpoint(asked, message)

    def fit(state: Mapping[str, Array], hook: TrainingHook | None) -> Adapted:
        # what a hook carries from step to step is its own: with one, a killed round begins again
        if hook is None:
            return adaptation.fit(
                images, None, replace(context, start=state, checkpoint=kept, evaluate_every=CHECKPOINT_STEPS)
            )
        return adaptation.fit(images, None, replace(context, start=state, hook=hook))

    return training.local_round(asked, message, site, len(images), fit)


def _checkpoint(asked: Mapping[str, object], message: memoryview) -> Checkpoints:
    """Where this client's training in this round is kept while it is unfinished, and until another round takes its
    place: a process that is killed while the next client trains does not ask this one to train again."""
    private = Path(str(asked["private"]))
    what = {name: value for name, value in asked.items() if name != "private"}
    inputs = digest_of({"asked": what, "message": hashlib.sha256(message).hexdigest()})
    return Checkpoints(private_folder.private_files(private), private / "adaptation", inputs)


def release() -> None:
    """Let go of the denoiser, and of the clients' images and latents."""
    _captioned.cache_clear()
    _adaptation.cache_clear()
    client_site.release()


def _site(data: str, config: str, device: str) -> client_site.Site:
    return client_site.site_of({"config": strict_json.loads(config), "device": device, "data": data})


@lru_cache(maxsize=1)
def _adaptation(data: str, config: str, device: str) -> Adaptation:
    """Kept for all rounds: it holds the denoiser, which simulated clients of one process share."""
    site = _site(data, config, device)
    check_strategy(site.config, site.manager)
    return adaptation_of(site.config, site.generator)


@lru_cache(maxsize=256)
def _captioned(data: str, config: str, device: str, client_id: str, private: str) -> CaptionedImages:
    """A client's images with their captions, decoded once for all its rounds."""
    site = _site(data, config, device)
    images = site.samples(client_id)
    context = ClientContext(
        client_id=client_id,
        images=images,
        class_names=site.prompt_names,
        encode=lambda prompts: Encoded(*encode_once_warned(site.encoder, prompts)),
        seed=seeds.client_seed(site.config.seed, client_id, requests.ROUND),
        device=device,
        private=Path(private),
        domains=site.domains,
        declaration=site.declaration,
        generator_name=site.config.generator.name,
    )
    ask = partial(asked_texts, site.manager, site.config, site.strategy)
    each = site.config.adaptation.captions == "image"
    with private_folder.private_files(Path(private)).host():  # a strategy may keep what took it long
        described = captions.captions(ask, context, site.encoder, site.declaration, each)
    size = _adaptation(data, config, device).image_size()
    pixels = decode(images, size, NullProgress(), f"decode {client_id}")
    return described.whole(pixels)
