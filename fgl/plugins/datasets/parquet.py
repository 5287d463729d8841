"""A dataset in parquet files."""

from __future__ import annotations

from pathlib import Path

from fgl.core.errors import DataError
from fgl.plugins.datasets.labels import Listed
from fgl.plugins.datasets.loaded import Checks, Loaded, LoadedOnce, Origin, assemble
from fgl.plugins.datasets.options import ParquetOptions
from fgl.plugins.datasets.paths import existing
from fgl.plugins.datasets.tables import Columns, read_meta, read_split, to_images


class Parquet(LoadedOnce):
    """One .parquet file, or a folder with train.parquet (or train-*.parquet), and test, public and meta.json if any.

    Class names come from meta.json's class_names, else from what `datasets` wrote into the file, else from the labels.
    """

    def __init__(self, options: ParquetOptions) -> None:
        self.options = options

    def _load(self) -> Loaded:
        options = self.options
        path = existing(options.path, "the parquet dataset")
        files = {"train": [path]} if path.is_file() else _split_files(path, options.holds)
        meta = read_meta(path.with_name("meta.json") if path.is_file() else path / "meta.json")
        columns = Columns(options.image_column, options.label_column, options.domain_column)
        raw = {split: read_split(paths, columns) for split, paths in files.items()}
        class_names, images = to_images(
            raw, options.own_names or meta.get("class_names"), str(path), Listed.of(options)
        )
        origin = Origin(
            name=str(meta.get("name") or path.stem),
            licence=str(meta.get("licence") or "not stated"),
            attribution=str(meta.get("attribution") or ""),
            source=str(meta.get("source") or path),
        )
        return assemble(origin, class_names, images, Checks.of(options))


def _split_files(folder: Path, holds: str) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for split in ("train", "test", "public"):
        whole = folder / f"{split}.parquet"
        files = [whole] if whole.exists() else sorted(folder.glob(f"{split}-*.parquet"))
        if files:
            found[split] = files
    if "train" not in found and not (holds == "test" and "test" in found):
        names = sorted(child.name for child in folder.iterdir())
        held = f"it holds: {', '.join(names[:8])}{', ...' if len(names) > 8 else ''}" if names else "it is empty"
        raise DataError(f"'{folder}' has no train.parquet and no train-*.parquet; {held}")
    return found
