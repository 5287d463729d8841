"""What a generator must hold to that makes variations of images, where it does."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from fgl.contracts.generator import Generator, PlanItem, Shard, SupportsVariation
from fgl.testing.contracts.denoisers import image_size
from fgl.testing.randomness import global_state_untouched

if TYPE_CHECKING:
    from fgl.contracts.aggregator import Conditioning
    from fgl.contracts.arrays import Pixels

_DEVICE = "cpu"
_WEAK, _STRONG = 0.3, 1.0


class VariationTests:
    """Part of `GeneratorContract`; skipped for generators without the method `varying`."""

    @staticmethod
    def make() -> Generator:
        raise NotImplementedError

    @pytest.fixture
    def varying(self, conditioning: Conditioning) -> Callable[..., list[Pixels]]:
        """Items, originals by image id, strength -> what another instance of the generator makes of them, uint8
        [height, width, 3] each."""

        def varied(items: Sequence[PlanItem], originals: Mapping[str, Pixels], strength: float) -> list[Pixels]:
            generator = self.make()
            assert isinstance(generator, SupportsVariation)
            synthesizer = generator.varying(_DEVICE, lambda item: originals[item.image_id], strength)
            done: list[int] = []
            batches = list(synthesizer.synthesize(Shard(0, tuple(items)), conditioning, done.append))
            assert sum(done) == len(items), f"progress counted {sum(done)} of {len(items)} images"
            return [image.copy() for batch in batches for image in batch.pixels]

        if not isinstance(self.make(), SupportsVariation):
            pytest.skip("no method `varying`")
        return varied

    @pytest.fixture
    def items(self, shard: Shard) -> tuple[PlanItem, ...]:
        """The first two of `shard`."""
        return shard.items[:2]

    @pytest.fixture
    def originals(self, items: tuple[PlanItem, ...]) -> dict[str, Pixels]:
        """An image of noise for each item: a dark one and a light one."""
        draw, size = np.random.default_rng(0), image_size(self.make())
        return {
            item.image_id: draw.integers(low, low + 100, (*size, 3), dtype=np.uint8)
            for item, low in zip(items, (0, 150), strict=True)
        }

    def test_every_item_gets_one_variation_of_the_stated_size(
        self,
        varying: Callable[..., list[Pixels]],
        items: tuple[PlanItem, ...],
        originals: dict[str, Pixels],
    ) -> None:
        size = image_size(self.make())
        for strength, asked in ((1e-6, items), (_STRONG, items[:1])):
            images = varying(asked, originals, strength)
            assert len(images) == len(asked), f"{len(images)} variations of {len(asked)} items"
            assert all(image.dtype == np.uint8 for image in images)
            assert all(image.shape == (*size, 3) for image in images), f"variations of {list(images[0].shape)}"
        assert varying((), originals, _WEAK) == [], "variations of nothing"

    def test_a_variation_depends_on_its_item_and_its_original_alone_to_the_last_bit(
        self,
        varying: Callable[..., list[Pixels]],
        items: tuple[PlanItem, ...],
        originals: dict[str, Pixels],
    ) -> None:
        straight = varying(items, originals, _WEAK)
        turned = varying(items[::-1], originals, _WEAK)[::-1]
        alone = varying(items[1:], originals, _WEAK)
        for name, ours, others in (("in another order", straight, turned), ("alone", straight[1:], alone)):
            for image, other in zip(ours, others, strict=True):
                assert image.tobytes() == other.tobytes(), f"a variation is another one {name}"

    def test_another_seed_is_another_variation(
        self,
        varying: Callable[..., list[Pixels]],
        items: tuple[PlanItem, ...],
        originals: dict[str, Pixels],
    ) -> None:
        item = items[0]
        other = replace(item, image_id=f"{item.image_id}-2", seed=item.seed + 1)
        both = {**originals, other.image_id: originals[item.image_id]}
        one, two = varying((item, other), both, _STRONG)
        assert one.tobytes() != two.tobytes()

    def test_the_weaker_a_variation_is_the_more_is_left_of_its_original(
        self,
        varying: Callable[..., list[Pixels]],
        items: tuple[PlanItem, ...],
        originals: dict[str, Pixels],
    ) -> None:
        """By how much the same items differ that begin as other images: it must not grow with the strength."""
        others = {item.image_id: 255 - originals[item.image_id] for item in items}
        apart = {
            strength: _distance(varying(items, originals, strength), varying(items, others, strength))
            for strength in (_WEAK, _STRONG)
        }
        assert apart[_WEAK] > 0, "another original gives the same image"
        assert apart[_WEAK] >= apart[_STRONG] - 1, f"more is left at strength {_STRONG} than at {_WEAK}: {apart}"

    def test_originals_and_global_random_numbers_are_left_alone(
        self,
        varying: Callable[..., list[Pixels]],
        items: tuple[PlanItem, ...],
        originals: dict[str, Pixels],
    ) -> None:
        before = {name: pixels.tobytes() for name, pixels in originals.items()}
        with global_state_untouched():
            varying(items, originals, _WEAK)
        assert {name: pixels.tobytes() for name, pixels in originals.items()} == before, "an original was written to"


def _distance(ours: Sequence[Pixels], theirs: Sequence[Pixels]) -> float:
    """Mean difference of two lists of images, in steps of 255."""
    pairs = zip(ours, theirs, strict=True)
    return float(np.mean([np.abs(one.astype(np.int64) - other).mean() for one, other in pairs]))
