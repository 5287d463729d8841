"""The datasets that ship inside the package."""

from __future__ import annotations

import hashlib
from pathlib import Path

from fgl.errors import DataError, suggestion
from fgl.plugins.datasets.base import Checks, Loaded, LoadedOnce, Origin, assemble
from fgl.plugins.datasets.images import LazyImages
from fgl.plugins.datasets.options import BundledOptions
from fgl.plugins.datasets.tables import Columns, read_meta, read_split, to_images

FOLDER = Path(__file__).parent / "bundled"
# Clients hold the private half; the public half is what the tiny generator was trained on.
FILES = {"train": "private.parquet", "test": "test.parquet", "public": "public.parquet"}


class Bundled(LoadedOnce):
    """A small 32x32 dataset: `train` is its private half, `public` the half that `tiny` was trained on, and `test`.

    The files are compared with the sha256 in meta.json, which replaces decoding every image on each opening.
    """

    def __init__(self, options: BundledOptions) -> None:
        self.options = options

    def _load(self) -> Loaded:
        options = self.options
        folder = FOLDER / options.subset
        meta = read_meta(folder / "meta.json")
        files = {split: folder / file for split, file in FILES.items()}
        missing = [str(file) for file in files.values() if not file.exists()]
        if not meta or missing:
            raise DataError(f"the bundled data is incomplete: {', '.join(missing) or folder} missing; reinstall fgl")
        damaged = [
            str(file)
            for file in files.values()
            if hashlib.sha256(file.read_bytes()).hexdigest() != meta["splits"][file.stem]["sha256"]
        ]
        if damaged and not options.skip_bad_images:
            raise DataError(f"the bundled data is damaged: {', '.join(damaged)}; reinstall fgl, or set skip_bad_images")
        raw = {split: read_split([file], Columns()) for split, file in files.items()}
        class_names, images = to_images(raw, meta["class_names"], options.subset)
        if options.domains:
            images = {
                split: _of_domains(found, options.domains, meta["domains"], options.subset)
                for split, found in images.items()
            }
        origin = Origin(options.subset, meta["license"], meta["attribution"], meta["source"])
        return assemble(
            origin,
            class_names,
            images,
            Checks(
                decode=bool(damaged),
                skip_bad_images=options.skip_bad_images,
                max_per_class=options.max_per_class,
                seed=options.seed,
                prompt_names=options.prompt_names,
            ),
        )


def _of_domains(images: LazyImages, wanted: list[str], known: list[str], name: str) -> LazyImages:
    if images.domains is None:
        raise DataError(f"{name} has no domains, got domains={wanted}; leave `domains` empty")
    for domain in wanted:
        if domain not in known:
            hint = suggestion(domain, known)
            raise DataError(f"{name} has no domain '{domain}'{hint} (domains: {', '.join(known)})")
    return images.select([index for index, domain in enumerate(images.domains) if domain in wanted])
