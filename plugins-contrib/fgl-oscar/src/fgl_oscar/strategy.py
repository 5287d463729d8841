"""The prompt strategy itself. Imported only by runs that select it."""

from __future__ import annotations

from collections.abc import Sequence

import fgl
from fgl import (
    ClientContext,
    DatasetInfo,
    FilterContext,
    Prepared,
    Prompt,
    PromptStrategy,
    SupportsCheck,
    UploadFilter,
)

from fgl_oscar.options import OscarOptions


class Oscar:
    """Captions every image, encodes the captions, and returns their mean for each class.

    Zaland et al. 2025, arXiv 2502.08488. Captions come from another strategy, which merges equal ones and counts their
    images: a mean weighted by these counts is the mean over images. Arrays that all rows of a class share, such as the
    negative prompt, stay as they are.
    """

    def __init__(self, options: OscarOptions) -> None:
        self.options = options
        self._captions: PromptStrategy = fgl.create("prompt_strategy", options.captions, **options.options)
        self._mean: UploadFilter = fgl.create("upload_filter", "aggregate", options={"per_domain": options.per_domain})

    def check(self, info: DatasetInfo) -> None:
        """Raise what the strategy that writes the captions has to say of its options."""
        if isinstance(self._captions, SupportsCheck):
            self._captions.check(info)

    def prompts(self, context: ClientContext) -> Sequence[Prompt] | Prepared:
        """One row for each class that the client holds, in order of class; its weight is the client's samples of it.

        The rows' texts are class names and no captions, because no text has a mean for its embedding.
        """
        captions = self._captions.prompts(context)
        if isinstance(captions, Prepared):
            expected = "expected a prompt strategy that writes texts: this one has arrays of its own"
            raise fgl.ConfigError([fgl.Problem("prompt_strategy.captions", repr(self.options.captions), expected)])
        if not captions:
            return []
        encoded = context.encode(captions)
        return self._mean.apply(
            encoded,
            encoded.indices,
            captions,
            FilterContext(
                client_id=context.client_id,
                round=0,
                seed=context.seed,
                class_names=context.class_names,
                declaration=context.declaration,
                private=context.private,
                device=context.device,
                progress=context.progress,
                note=context.note,
            ),
        )
