"""A client tests the classifier on its own images; counts leave it."""

from __future__ import annotations

import numpy as np

from fgl.contracts.classifier import FitContext
from fgl.contracts.preparation import Preparation
from fgl.contracts.progress import NullProgress
from fgl.core.client import policy
from fgl.core.client import site as client_site
from fgl.core.wire.requests import opened
from fgl.errors import DataError
from fgl.io import strict_json


def fit_context(device: str, site: client_site.Site) -> FitContext:
    return FitContext(class_names=site.class_names, seed=site.config.seed, device=device, product=site.product)


# --- testing the classifier at the client ---------------------------------------------------------------------------


def evaluate(payload: bytes) -> bytes:
    """How many of its own images the client finds the classifier right on. Counts leave it, and nothing else: by class
    only where it was asked for them, and for classes of which it holds enough images."""
    request, state = opened(payload)
    request = policy.allowed(request, "evaluate")
    site = client_site.site_of(request)
    images = site.samples(request["client_id"])
    if not len(images):
        raise DataError(f"{request['client_id']} holds no image to test on")
    model = site.classifier.restore(state, fit_context(request["device"], site))
    data = site.inputs(images, Preparation(**request["prepare"]), "decode")
    right = np.asarray(model.predict(data.values, "last", NullProgress())) == data.labels
    counts: dict[str, object] = {"client_id": request["client_id"], "right": int(right.sum()), "total": len(right)}
    if site.config.evaluation.per_class:
        counts["per_class"] = {
            name: [int(right[of_class].sum()), int(of_class.sum())]
            for index, name in enumerate(site.class_names)
            if (of_class := data.labels == index).sum() >= site.config.evaluation.min_images
        }
    return strict_json.dumps(counts).encode()
