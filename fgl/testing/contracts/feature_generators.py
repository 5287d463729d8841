"""What every generator must hold to whose product is not images."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from fgl.contracts.aggregator import Conditioning
from fgl.contracts.arrays import Array
from fgl.contracts.conditioning import unite
from fgl.contracts.generator import Shard
from fgl.contracts.product import ArrayBatch, SupportsProduct, features_of
from fgl.contracts.progress import NullProgress
from fgl.contracts.prompts import ClientContext, Prepared
from fgl.io import strict_json
from fgl.testing.contracts.generators import _item, _statements, _uploaded
from fgl.testing.data import DrawnImages, client_context
from fgl.testing.randomness import global_state_untouched

_DEVICE = "cpu"


class FeatureGeneratorContract:
    """A server accepts what its prompt strategy sends, real images become its product, and an item of a product that is
    synthesized depends on its plan item alone.

    Override the fixture `prepared` with what a client of yours sends: `return self.strategy.prompts(context)`."""

    @staticmethod
    def make() -> Any:
        raise NotImplementedError("set `make = staticmethod(lambda: YourGenerator(YourOptions()))` in the test class")

    @pytest.fixture
    def context(self) -> ClientContext:
        """A client with images of three classes, whose context has the generator and its declaration."""
        labels = np.array([0] * 9 + [1] * 8 + [3] * 7, dtype=np.int64)
        generator = self.make()
        return replace(
            client_context(DrawnImages(labels, None)),
            declaration=generator.declare(),
            generator_name="yours",
            generator=lambda: generator,
        )

    @pytest.fixture
    def prepared(self, context: ClientContext) -> Prepared:
        raise NotImplementedError("override the fixture `prepared`: what a client sends to this generator")

    @pytest.fixture
    def conditioning(self, prepared: Prepared) -> Conditioning:
        generator = self.make()
        data = _uploaded(generator.declare(), prepared.arrays, prepared.indices, prepared.prompts)
        return unite([data], generator.fingerprint())

    @pytest.fixture
    def shard(self, conditioning: Conditioning) -> Shard:
        """Six items; two of them of one row, from other seeds."""
        rows = [0, 1, 2, 0, 1, 0]
        return Shard(0, tuple(_item(conditioning, row % len(conditioning), 11 + k) for k, row in enumerate(rows)))

    # --- what it says of itself

    def test_it_states_its_product(self) -> None:
        generator = self.make()
        assert isinstance(generator, SupportsProduct)
        product = generator.product()
        assert product.kind
        assert product.shape
        assert all(size > 0 for size in product.shape)
        assert np.dtype(product.dtype).kind in "fiu"

    def test_another_instance_says_the_same(self) -> None:
        one, other = self.make(), self.make()
        assert one.declare() == other.declare()
        assert one.product() == other.product()
        assert one.feature_space() == other.feature_space()
        assert re.fullmatch("[0-9a-f]{64}", one.fingerprint()), "fingerprint: expected 64 hex digits"
        assert one.fingerprint() == other.fingerprint()

    def test_what_it_says_is_json(self) -> None:
        generator = self.make()
        for statement in (*_statements(generator), generator.feature_space()):
            assert isinstance(statement, Mapping)
            strict_json.dumps(strict_json.finite(statement))  # raises where JSON does not have a value

    # --- real images

    def test_real_images_become_its_product_each_by_itself(self, context: ClientContext) -> None:
        straight = self._features(context.images)
        turned = self._features(_Reversed(context.images))[::-1]
        np.testing.assert_allclose(straight, turned, rtol=1e-5, atol=1e-6)
        assert len(np.unique(straight, axis=0)) > 1, "all images have the same features"

    def test_another_instance_has_the_same_features_to_the_bit(self, context: ClientContext) -> None:
        assert self._features(context.images).tobytes() == self._features(context.images).tobytes()

    def _features(self, images: Any) -> Array:
        return features_of(images, self.make(), _DEVICE, NullProgress())

    # --- uploads

    def test_a_server_accepts_what_a_client_sends(self, conditioning: Conditioning, prepared: Prepared) -> None:
        assert 0 < len(conditioning) <= len(prepared.prompts)
        assert {int(class_id) for class_id in conditioning.class_id} == {prompt.class_id for prompt in prepared.prompts}

    # --- items

    def test_every_item_is_made_as_stated(self, conditioning: Conditioning, shard: Shard) -> None:
        generator, done = self.make(), list[int]()
        product = generator.product()
        if not product.synthesized:
            pytest.skip("nothing is synthesized")
        made = list(generator.synthesizer(_DEVICE).synthesize(shard, conditioning, done.append))
        assert all(isinstance(batch, ArrayBatch) for batch in made)
        values = np.concatenate([batch.values for batch in made])
        assert values.shape == (len(shard.items), *product.shape)
        assert values.dtype == np.dtype(product.dtype)
        assert np.isfinite(values).all()
        assert sum(done) == len(shard.items), f"progress counted {sum(done)} of {len(shard.items)} items"

    def test_an_item_depends_on_its_plan_item_alone_to_the_last_bit(
        self, conditioning: Conditioning, shard: Shard
    ) -> None:
        if not self.make().product().synthesized:
            pytest.skip("nothing is synthesized")
        straight = self._made(shard, conditioning)
        turned = self._made(Shard(9, shard.items[::-1]), conditioning)[::-1]
        alone = self._made(Shard(1, shard.items[2:3]), conditioning)
        assert straight.tobytes() == np.ascontiguousarray(turned).tobytes()
        assert straight[2:3].tobytes() == alone.tobytes()
        assert straight[0].tobytes() != straight[3].tobytes(), "another seed gave the same item"

    def test_work_leaves_global_random_numbers_alone(self, context: ClientContext, shard: Shard) -> None:
        with global_state_untouched():
            self._features(context.images)

    def _made(self, shard: Shard, conditioning: Conditioning) -> Array:
        batches = self.make().synthesizer(_DEVICE).synthesize(shard, conditioning, lambda _: None)
        return np.concatenate([batch.values for batch in batches])


class _Reversed:
    """The same images in the opposite order."""

    def __init__(self, images: Any) -> None:
        self._images, self.labels, self.domains = images, images.labels[::-1], None

    def __len__(self) -> int:
        return len(self._images)

    def image(self, index: int) -> Any:
        return self._images.image(len(self) - 1 - index)

    def name(self, index: int) -> str:
        return str(self._images.name(len(self) - 1 - index))


__all__ = ["FeatureGeneratorContract"]
