"""A dataset in parquet files."""

from __future__ import annotations

from fgl.plugins.datasets.base import Checks, Loaded, LoadedOnce, Origin, assemble
from fgl.plugins.datasets.class_list import ListedClasses
from fgl.plugins.datasets.options import ParquetOptions
from fgl.plugins.datasets.paths import existing
from fgl.plugins.datasets.shards import find
from fgl.plugins.datasets.tables import Columns, read_meta, read_split, to_images
from fgl.text import escaped


class Parquet(LoadedOnce):
    """One .parquet file, or a folder with train.parquet (or train-*.parquet), and test, public and meta.json if any;
    see `shards.find`.

    Class names come from meta.json's class_names, else from the metadata that `datasets` writes, else from the labels.
    """

    def __init__(self, options: ParquetOptions) -> None:
        self.options = options

    def _load(self) -> Loaded:
        options = self.options
        path = existing(options.path, "the parquet dataset")
        files = find(path, options.holds)
        meta = read_meta(files.folder / "meta.json")
        columns = Columns(options.image_column, options.label_column, options.domain_column)
        raw = {split: read_split(paths, columns) for split, paths in files.files.items()}
        class_names, images = to_images(
            raw, options.own_names or meta.get("class_names"), str(path), ListedClasses.of(options)
        )
        origin = Origin(
            name=str(meta.get("name") or escaped(path.stem)),
            license=str(meta.get("license") or meta.get("licence") or "not stated"),
            attribution=str(meta.get("attribution") or ""),
            source=str(meta.get("source") or escaped(str(path))),
            notes=files.notes,
        )
        return assemble(origin, class_names, images, Checks.of(options))
