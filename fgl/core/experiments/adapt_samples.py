"""Pictures that a generator makes while it is adapted: a row a class, of the same seeds each time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from fgl.contracts.aggregator import ClientUpload
from fgl.contracts.conditioning import unite
from fgl.contracts.generator import PlanItem, Shard
from fgl.core.report import contact_sheet
from fgl.core.seeds import image_seed

if TYPE_CHECKING:
    from fgl.contracts.adaptation import Adapted
    from fgl.contracts.generator import Encoder
    from fgl.contracts.prompts import Prompt
    from fgl.core.store.run_dir import RunDir


class Samples:
    """Writes a sheet a step: DIR/samples/step-000100.png.

    Args:
        run: The folder.
        encoder: Encodes the prompts.
        class_names: In label order.
        prompts: The captions; the first of each class is shown.
        count: Pictures of each class.
        seed: The run's.
    """

    def __init__(
        self,
        run: RunDir,
        encoder: Encoder,
        class_names: Sequence[str],
        prompts: Sequence[Prompt],
        count: int,
        seed: int,
    ) -> None:
        self._run, self._count = run, count
        first = {prompt.class_id: prompt for prompt in reversed(prompts)}
        shown = [first[class_id] for class_id in range(len(class_names)) if class_id in first]
        arrays, indices = encoder.encode(shown)
        upload = ClientUpload(
            client_id="samples",
            round=0,
            encoder="",
            arrays=arrays,
            indices=indices,
            class_id=np.array([prompt.class_id for prompt in shown], dtype=np.int64),
            weight=np.ones(len(shown)),
            domain=("",) * len(shown),
            guidance_scale=np.array(
                [np.nan if prompt.guidance_scale is None else prompt.guidance_scale for prompt in shown]
            ),
        )
        self._conditioning = unite([upload], "samples")
        items = []
        for row, class_id in enumerate(self._conditioning.class_id.tolist()):
            for number in range(count):
                name = f"samples/{class_id}/{number}"
                items.append(
                    PlanItem(
                        image_id=name,
                        conditioning=row,
                        conditioning_id=self._conditioning.ids[row],
                        class_id=class_id,
                        domain="",
                        guidance_scale=None,
                        seed=image_seed(seed, name),
                    )
                )
        self._shard = Shard(0, tuple(items))

    def draw(self, step: int, adapted: Adapted) -> None:
        """Have the adapter as it is now make the pictures, and write them."""
        synthesizer = adapted.synthesizer("last")
        batches = synthesizer.synthesize(self._shard, self._conditioning, lambda count: None)
        pixels = [image for batch in batches for image in batch.pixels]
        path = self._run.path("samples", f"step-{step:06d}.png")
        self._run.write(path, contact_sheet.grid(pixels, self._count))
