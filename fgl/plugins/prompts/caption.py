"""The paper's instance-level prompt: the class name and a caption of each image."""

from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path

from PIL import Image

from fgl.contracts.dataset import DatasetInfo
from fgl.contracts.prompts import ClientContext, Prompt
from fgl.errors import ModelError
from fgl.plugins.prompts.budget import fit_budget
from fgl.plugins.prompts.caption_cache import CaptionCache, image_digest
from fgl.plugins.prompts.caption_model import Captioner, check, identity
from fgl.plugins.prompts.clean import clean
from fgl.plugins.prompts.grouping import group_by_class, group_by_domain
from fgl.plugins.prompts.model_loading import CAPTIONER, find, found_here
from fgl.plugins.prompts.options import CaptionOptions
from fgl.plugins.prompts.scrub import scrub
from fgl.plugins.prompts.template import CAPTION, DOMAIN, LABEL, fill, names_domain

log = logging.getLogger(__name__)


class Caption:
    """One prompt for each distinct caption of the client's images of a class, within the budget."""

    def __init__(self, options: CaptionOptions) -> None:
        self.options = options
        self._loaded: tuple[str, Captioner] | None = None

    def check(self, info: DatasetInfo) -> None:
        """Raise ModelError if the model is on this machine and cannot caption. Loads no weights, and asks no Hub."""
        folder = found_here(self.options.model, self.options.pulled_revision, CAPTIONER)
        if folder is not None:
            check(self.options, folder)

    def prompts(self, context: ClientContext) -> list[Prompt]:
        """In order of class, domain, frequency. The weight of a prompt is the number of images that it stands for.

        Raises DataError if a label has no class name, BadImageError if an image cannot be decoded, ModelError if the
        model cannot be used or yields no caption for any image, and StoreError if captions cannot be stored.
        """
        options = self.options
        with_domain = names_domain(options.template)
        groups = group_by_domain(context) if with_domain else group_by_class(context)
        if not groups:
            return []
        texts = self._texts(context)
        prompts = []
        for (class_id, domain), positions in groups.items():
            values = {LABEL: context.class_names[class_id], **({} if domain is None else {DOMAIN: domain})}
            seen = Counter(
                fill(options.template, {**values, CAPTION: texts[position]})
                if texts[position]
                else fill(options.fallback_template, values)
                for position in positions
            )
            prompts += [
                Prompt(class_id, text, negative=options.negative_prompt or None, domain=domain, weight=float(count))
                for text, count in sorted(seen.items(), key=lambda item: (-item[1], item[0]))
            ]
        return fit_budget(prompts, options, context)

    def _texts(self, context: ClientContext) -> list[str]:
        """A clean caption for each of the client's images, or "". Missing captions are counted in notes."""
        options = self.options
        written = self._captions(context)
        cleaned = [clean(text, options.max_words) for text in written]
        silent = cleaned.count("")
        if silent == len(cleaned):
            raise ModelError(
                f"model: {options.model} wrote nothing about any of the {len(cleaned)} images; expected a model that "
                "was trained to caption. Check its folder or id, try dtype: fp32 (half precision overflows in some "
                "models), and look at prefix and max_new_tokens"
            )
        texts, removed = scrub(cleaned, options.scrub, context.class_names, options.keep_words, options.rare_below)
        context.note("captions", len(texts))
        for kind in sorted(removed):
            context.note(f"scrubbed_{kind}", removed[kind])
        emptied = texts.count("") - silent
        for kind, count, reason in (
            ("captions_missing", silent, "the model wrote nothing"),
            ("captions_scrubbed_away", emptied, "nothing was left after scrubbing"),
        ):
            if count:
                context.note(kind, count)
                log.warning(
                    "%s: no caption for %d of %d images (%s); they get the class-level prompt",
                    context.client_id,
                    count,
                    len(texts),
                    reason,
                )
        if removed:
            counts = ", ".join(f"{count} {kind}" for kind, count in sorted(removed.items()))
            log.info("%s: scrubbed from %d captions: %s", context.client_id, len(texts), counts)
        return texts

    def _captions(self, context: ClientContext) -> list[str]:
        """The model's caption of each image. At most one batch of images is in memory at a time."""
        folder = find(self.options.model, self.options.pulled_revision, CAPTIONER)
        key = identity(self.options, folder, context.device)
        cache = CaptionCache(context.private, key)
        digests: list[str] = []
        waiting: dict[str, Image.Image] = {}
        with context.progress.track(f"caption {context.client_id}", len(context.images)) as task:

            def write() -> None:
                if waiting:
                    captions = self._captioner(folder, context.device, key).caption(list(waiting.values()))
                    cache.add(dict(zip(waiting, captions, strict=True)))
                    waiting.clear()

            reported = 0
            for position in range(len(context.images)):
                image = context.images.image(position)
                digests.append(image_digest(image))
                if digests[-1] not in cache and digests[-1] not in waiting:
                    waiting[digests[-1]] = image
                if len(waiting) == self.options.batch_size:
                    write()
                if not waiting:
                    task.advance(position + 1 - reported)
                    reported = position + 1
            write()
            task.advance(len(digests) - reported)
        return [cache[digest] for digest in digests]

    def _captioner(self, folder: Path, device: str, key: str) -> Captioner:
        """The captioner, loaded when the first image needs it: never, if all captions are cached."""
        if self._loaded is None or self._loaded[0] != key:
            self._loaded = None  # two do not fit side by side
            self._loaded = (key, Captioner(self.options, folder, device))
        return self._loaded[1]


__all__ = ["Caption"]
