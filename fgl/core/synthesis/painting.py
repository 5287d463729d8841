"""What a generator makes of the items of a shard, checked, and drawn again where it blanks an image."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fgl.contracts.generator import Shard
from fgl.contracts.product import IMAGES, Product, shape_of
from fgl.core.synthesis import plan
from fgl.errors import BrokenPluginError, ModelError

if TYPE_CHECKING:
    from fgl.contracts.aggregator import Conditioning
    from fgl.contracts.generator import PlanItem
    from fgl.core.session import Session


MOST_DRAWS = 20
"""Times that an image is drawn before its prompt is given up as one that is always blanked."""


@dataclass(frozen=True, slots=True)
class Painting:
    """What a run says of its items, whoever makes them: a value, which other processes get."""

    generator: str
    """The generator's name in the configuration."""
    seed: int
    """Of the run."""
    class_names: Sequence[str]
    product: Product

    @classmethod
    def of(cls, session: Session) -> Painting:
        config = session.config
        return cls(config.generator.name, config.seed, session.info.class_names, session.product)

    def items(
        self, synthesizer: Any, shard: Shard, conditioning: Conditioning, advance: Callable[[int], None]
    ) -> Iterator[tuple[PlanItem, Any]]:
        """Every item of the shard with what is kept of it: of a product that is not synthesized, its row's weight."""
        if self.product.synthesized:
            yield from self.paint(synthesizer, shard, conditioning, advance)
            return
        for item in shard.items:
            advance(1)
            yield item, np.asarray(conditioning.weight[item.conditioning])

    def paint(
        self, synthesizer: Any, shard: Shard, conditioning: Conditioning, advance: Callable[[int], None]
    ) -> Iterator[tuple[PlanItem, Any]]:
        """Every item of the shard with its value, [*shape]; where the generator blanks an image, its next draw."""
        wanted, again = list(shard.items), []
        for _ in range(MOST_DRAWS):
            place = 0
            for painted in synthesizer.synthesize(Shard(shard.index, tuple(wanted)), conditioning, advance):
                values = self.values_of(painted)
                blanked = set(painted.rejected)
                for position, value in enumerate(values[: len(wanted) - place]):
                    item = wanted[place + position]
                    if position in blanked:
                        again.append(plan.redraw(item, self.seed))
                    else:
                        yield item, value
                place += len(values)
            if place != len(wanted):
                raise BrokenPluginError(
                    f"generator {self.generator!r} made {place} images where {len(wanted)} were asked for"
                )
            if not again:
                return
            # Counted when they were first painted.
            wanted, again, advance = again, [], lambda count: None
        names = sorted({self.class_names[item.class_id] for item in wanted})
        raise ModelError(
            f"{len(wanted)} images of {', '.join(names)} were blanked by the safety checker in each of {MOST_DRAWS} "
            "draws; change the prompts of these classes, or switch generator.safety_checker off"
        )

    def values_of(self, batch: Any) -> Any:
        """The items of a batch, [b, ...]. Raises BrokenPluginError where they are not what the generator says they are:
        they would be stretched in silence, or be an error of a library's after hours."""
        product, name = self.product, self.generator
        values = getattr(batch, "pixels" if product.kind == IMAGES else "values", None)
        shape, dtype = product.shape, np.dtype(product.dtype)
        if not isinstance(values, np.ndarray) or values.dtype != dtype or values.shape[1:] != shape:
            made = f"{values.dtype} {list(values.shape)}" if isinstance(values, np.ndarray) else type(values).__name__
            sizes = ", ".join(map(str, ("n", *shape)))
            raise BrokenPluginError(f"generator {name!r} made {made}; expected {product.kind} of {dtype} [{sizes}]")
        if dtype.kind == "f" and not np.isfinite(values).all():
            raise BrokenPluginError(f"generator {name!r} made {shape_of(product)} with NaN or infinite values")
        beyond = [position for position in batch.rejected if not 0 <= position < len(values)]
        if beyond:
            raise BrokenPluginError(
                f"generator {name!r} says that the image at {beyond[0]} was blanked; it made {len(values)}, from 0 on"
            )
        return values
