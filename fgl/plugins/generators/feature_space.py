"""What generators of features share: the feature space that clients and server use alike."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import safe_open

import fgl
from fgl import hub
from fgl.contracts.classifier import FitContext
from fgl.contracts.generator import Footprint
from fgl.contracts.preparation import Preparation, cropped
from fgl.contracts.progress import NullProgress
from fgl.errors import ConfigError, ModelError, Problem
from fgl.plugins.generators.feature_options import FeatureOptions

if TYPE_CHECKING:
    from fgl.contracts.arrays import Array, Pixels
    from fgl.contracts.features import Extractor, FeatureSpace
    from fgl.contracts.progress import Progress
    from fgl.contracts.prompts import Prompt

_SIDE = 32
"""Pixels of a side, for a space that does not say what it reads."""
_NOT_OF_THE_FEATURES = ("neighbors", "dtype")


class FeatureEncoder:
    """The client side of a generator that accepts arrays alone (contract `Encoder`)."""

    def __init__(self, whose: str) -> None:
        self._whose = whose

    def encode(self, prompts: Sequence[Prompt]) -> tuple[Mapping[str, Array], Mapping[str, Array]]:
        """Raises ModelError: there is no text encoder."""
        raise ModelError(f"generator {self._whose!r} encodes no prompts; it accepts statistics of features alone")

    def truncated(self, prompts: Sequence[Prompt]) -> int:
        """No prompt is cut."""
        return 0


class FeatureSpaceUser:
    """The half of `SupportsProduct` that does not depend on the product. All methods raise ModelError if the space's
    model cannot be found or used, and ConfigError if the space must be trained first."""

    options: FeatureOptions

    @cached_property
    def _space(self) -> FeatureSpace:
        options, given = self.options, dict(self.options.space_options)
        for name in ("model", "revision"):
            if getattr(options, name) is not None:
                given[name] = getattr(options, name)
        space: FeatureSpace = fgl.create("features", options.space_name, **given)
        if getattr(getattr(space, "options", None), "dtype", None) == "auto":
            # half precision on one machine and not on another would be two spaces
            space = fgl.create("features", options.space_name, **{**given, "dtype": "fp32"})
        if space.learns():
            expected = "a space that is not trained: clients could not do it alike (random-filters, dinov2, pixels)"
            raise ConfigError([Problem("generator.space", repr(options.space), f"expected {expected}")])
        return space

    @cached_property
    def _extractor(self) -> Extractor:
        return self._load("cpu")

    def _load(self, device: str) -> Extractor:
        context = FitContext(class_names=(), seed=0, device=device)
        # a space that does not learn has no use for a classifier
        unused: Any = None
        return self._space.extractor({}, unused, context)

    def feature_space(self) -> Mapping[str, object]:
        """What the space says of itself, with the digest of its weights and the size of the images that it sees."""
        described = {key: value for key, value in self._extractor.describe().items() if key not in _NOT_OF_THE_FEATURES}
        norm = {} if self.options.max_norm is None else {"max_norm": self.options.max_norm}
        return {**described, "side": self._side, **norm}

    @property
    def feature_norm(self) -> float | None:
        """Largest L2 norm of a feature vector; None where it is not bounded."""
        return self.options.max_norm

    def preparation(self) -> Preparation:
        """Squares of `image_size` pixels, or of what the space's model reads."""
        return Preparation(self._side, self._side, self._side)

    def image_features(self, device: str) -> SquaresToFeatures:
        """The space, loaded on the device."""
        extractor = self._extractor if device == "cpu" else self._load(device)
        return SquaresToFeatures(extractor, self._side, self.width, self.options.max_norm)

    @cached_property
    def width(self) -> int:
        """d: number of features of an image."""
        return int(str(self._extractor.describe()["dimensions"]))

    @cached_property
    def _side(self) -> int:
        if self.options.image_size is not None:
            return self.options.image_size
        size = self._extractor.describe().get("image_size")
        sides = [value for value in size.values() if isinstance(value, int)] if isinstance(size, Mapping) else []
        return min(sides, default=_SIDE)

    def footprint(self, whole: bool) -> Footprint:
        """The space's model, from the headers of its weight files; nothing for a space without a model."""
        models = self.options.models()
        if not models:
            return Footprint((), 0, 0)
        folder = hub.resolve(models[0].model, models[0].revision, models[0].files)
        files = sorted(folder.glob("*.safetensors"))
        parameters = 0
        for file in files:
            with safe_open(file, framework="numpy") as tensors:
                shapes = [tensors.get_slice(name).get_shape() for name in tensors.keys()]  # noqa: SIM118
            parameters += sum(map(math.prod, shapes))
        return Footprint(("feature_space",), parameters, sum(file.stat().st_size for file in files))

    def space_digest(self) -> str:
        """sha256 of `feature_space`."""
        said = json.dumps(dict(self.feature_space()), sort_keys=True, allow_nan=False)
        return hashlib.sha256(said.encode()).hexdigest()


class SquaresToFeatures:
    """Contract `ImageFeatures`."""

    def __init__(self, extractor: Extractor, side: int, width: int, max_norm: float | None = None) -> None:
        self._extractor, self._side, self._width, self._max_norm = extractor, side, width, max_norm

    def features(self, pixels: Pixels, progress: Progress | None = None) -> Array:
        """uint8 [m, h, w, 3] → float32 [m, d]."""
        if not len(pixels):
            return np.empty((0, self._width), dtype=np.float32)
        squares = cropped(pixels, self._side, self._side)
        found = np.asarray(self._extractor.features(squares, progress or NullProgress()), dtype=np.float32)
        return found if self._max_norm is None else _shortened(found, self._max_norm)


def _shortened(features: Array, norm: float) -> Array:
    """float32 [m, d] with rows of norm at most `norm`, also after rounding: a guarantee is to hold, not nearly hold."""
    lengths = np.linalg.norm(features.astype(np.float64), axis=1, keepdims=True)
    scale = np.minimum(1, norm * (1 - 1e-6) / np.maximum(lengths, 1e-300))
    return np.asarray(features * scale, dtype=np.float32)
