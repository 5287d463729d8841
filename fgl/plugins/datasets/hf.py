"""Datasets of the Hugging Face Hub, and local folders that the `datasets` library reads. Its only importer."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import datasets

from fgl.errors import BadImageError, DataError
from fgl.io.files import read_bytes
from fgl.plugins.datasets.base import Checks, Loaded, LoadedOnce, Origin, assemble
from fgl.plugins.datasets.class_list import ListedClasses, RawLabels, resolve
from fgl.plugins.datasets.images import LazyImages
from fgl.plugins.datasets.options import HuggingFaceOptions
from fgl.plugins.datasets.paths import existing
from fgl.plugins.datasets.splits import TEST
from fgl.text import first_line, kind_and_line, some

HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")
LABEL_COLUMNS = ("label", "labels", "class", "target", "fine_label")


class HuggingFace(LoadedOnce):
    """A dataset with an image and a label column. Code of a dataset is never run."""

    def __init__(self, options: HuggingFaceOptions) -> None:
        self.options = options

    def _load(self) -> Loaded:
        options = self.options
        splits = _open(options)
        train = splits.get(options.train_split)
        if train is None:
            raise DataError(
                f"'{options.path}' has no split '{options.train_split}'; it has {', '.join(splits)}; set train_split"
            )
        chosen = {"train": train}
        test_name = options.test_split or next(
            (name for name in TEST if name in splits and name != options.train_split), None
        )
        if test_name is not None:
            if test_name not in splits:
                raise DataError(
                    f"'{options.path}' has no split '{test_name}'; it has {', '.join(splits)}; set test_split"
                )
            chosen["test"] = splits[test_name]

        image, label, domain = _columns(train, options)
        namings = {split: _naming(options.path, split, options) for split in chosen}
        raw = {split: _labels(rows, label, namings[split]) for split, rows in chosen.items()}
        names = options.own_names or getattr(train.features[label], "names", None)
        class_names, labels = resolve(
            raw, names, lambda split, index: namings[split](index), f"'{options.path}'", ListedClasses.of(options)
        )
        images = {
            split: LazyImages(
                _reader(rows, image, namings[split]),
                labels[split],
                _domains(rows, domain, namings[split]),
                namings[split],
            )
            for split, rows in chosen.items()
        }
        left = [name for name in splits if name not in (options.train_split, test_name)]
        revision = f"@{options.revision}" if options.revision else ""
        origin = Origin(
            name=Path(options.path).name,
            license=str(train.info.license or "not stated"),
            attribution=str(train.info.citation or "").strip(),
            source=f"{options.path}{revision}{f' ({options.config})' if options.config else ''}",
            notes=(f"left out beside the splits: {some(left, 8)}",) if left else (),
        )
        return assemble(origin, class_names, images, Checks.of(options))


def _open(options: HuggingFaceOptions) -> Mapping[str, Any]:
    """Split name → datasets.Dataset. A saved dataset without splits is its own train split."""
    local = Path(options.path).expanduser()
    if local.exists() or not HUB_ID.fullmatch(options.path) or options.path.startswith("."):
        folder = existing(options.path, "the dataset folder")
        saved = (folder / "state.json").exists() or (folder / "dataset_dict.json").exists()
        return _read(
            (lambda: datasets.load_from_disk(str(folder)))
            if saved
            else (lambda: datasets.load_dataset(str(folder), name=options.config)),
            options,
            f"'{folder}' cannot be read by the datasets library",
            "expected a folder from save_to_disk, or parquet, CSV or image files; for class folders use the dataset "
            "imagefolder, for plain parquet use parquet",
        )
    return _read(
        lambda: datasets.load_dataset(options.path, name=options.config, revision=options.revision),
        options,
        f"the dataset '{options.path}' cannot be loaded from the Hugging Face Hub",
        "check its name, config and revision, and the network; a private or gated dataset needs HF_TOKEN; without a "
        "network, save it elsewhere with save_to_disk and give that folder as path",
    )


def _read(load: Callable[[], Any], options: HuggingFaceOptions, what: str, advice: str) -> Mapping[str, Any]:
    try:
        loaded = load()
    except Exception as error:  # the library and the network raise dozens of types, many of them plain ValueError
        raise DataError(f"{what}: {kind_and_line(error)}; {advice}") from error
    return loaded if isinstance(loaded, dict) else {options.train_split: loaded}


def _columns(rows: Any, options: HuggingFaceOptions) -> tuple[str, str, str | None]:
    """Names of the image, label and domain columns: from the options, or derived from the features."""
    features = rows.features
    for option in ("image_column", "label_column", "domain_column"):
        column = getattr(options, option)
        if column is not None and column not in features:
            raise DataError(f"'{options.path}' has no column '{column}'; it has {_listed(features)}; set {option}")
    images = [name for name, feature in features.items() if isinstance(feature, datasets.Image)]
    images = images or [name for name, feature in features.items() if isinstance(feature, dict) and "bytes" in feature]
    classes = [name for name, feature in features.items() if isinstance(feature, datasets.ClassLabel)]
    image = options.image_column or _only(images, ("image", "img"))
    if image is None:
        raise DataError(
            f"'{options.path}': which column holds the images? It has {_listed(features)}; set image_column"
        )
    if image not in images and not _is_encoded(features[image]):
        raise DataError(f"'{options.path}': column '{image}' holds {features[image]}; expected images or binary")
    label = (
        options.label_column
        or _only(classes, LABEL_COLUMNS)
        or _only([name for name in LABEL_COLUMNS if name in features], LABEL_COLUMNS)
    )
    if label is None:
        raise DataError(
            f"'{options.path}': which column holds the labels? It has {_listed(features)}; set label_column"
        )
    return image, label, options.domain_column or ("domain" if "domain" in features else None)


def _is_encoded(feature: Any) -> bool:
    return getattr(feature, "dtype", "") in ("binary", "large_binary", "binary_view")


def _only(columns: Sequence[str], preferred: Sequence[str]) -> str | None:
    """The only column, or the first preferred one of several."""
    if len(columns) == 1:
        return columns[0]
    return next((name for name in preferred if name in columns), None)


def _listed(features: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} ({type(feature).__name__})" for name, feature in features.items())


def _naming(path: str, split: str, options: HuggingFaceOptions) -> Callable[[int], str]:
    name = options.train_split if split == "train" else options.test_split or split
    return lambda index: f"{path} {name} row {index}"


def _labels(rows: Any, column: str, naming: Callable[[int], str]) -> RawLabels:
    if column not in rows.features:
        raise DataError(f"{naming(0)}: no column '{column}'; it has {_listed(rows.features)}")
    values = _column(rows, column, naming)
    for index, value in enumerate(values):
        if not isinstance(value, (int, str)) or isinstance(value, bool) or type(value) is not type(values[0]):
            raise DataError(f"{naming(index)}: label {value!r} in column '{column}'; expected integers or texts")
    return values


def _column(rows: Any, column: str, naming: Callable[[int], str]) -> list[Any]:
    """All values of a column. Raises DataError for text that is not UTF-8, which the library does not check."""
    cells = rows.select_columns([column]).with_format(None)
    try:
        return list(cells[column])
    except UnicodeDecodeError:
        for index in range(len(cells)):
            try:
                cells[index]
            except UnicodeDecodeError as error:
                raise DataError(
                    f"{naming(index)}: column '{column}' holds {error.object!r}, which is not UTF-8; write the data "
                    "again with texts in UTF-8"
                ) from error
        raise


def _domains(rows: Any, column: str | None, naming: Callable[[int], str]) -> list[str] | None:
    if column is None or column not in rows.features:
        return None
    names = getattr(rows.features[column], "names", None)
    values = _column(rows, column, naming)
    return [names[value] if names and isinstance(value, int) else str(value) for value in values]


def _reader(rows: Any, column: str, naming: Callable[[int], str]) -> Callable[[int], bytes]:
    """Reads the encoded bytes of a row: from the table, or from the file that it points to."""
    cells = rows.select_columns([column]).with_format(None)
    if isinstance(rows.features[column], datasets.Image):
        cells = cells.cast_column(column, datasets.Image(decode=False))

    def read(index: int) -> bytes:
        try:
            cell = cells[index][column]
        except Exception as error:  # a damaged table makes pyarrow raise almost anything
            raise BadImageError(f"cannot read the image {naming(index)}: {first_line(error)}") from error
        if isinstance(cell, bytes):
            return cell
        if not isinstance(cell, dict):
            return b""
        if cell.get("bytes") is not None:
            return bytes(cell["bytes"])
        try:
            return read_bytes(Path(cell["path"])) if cell.get("path") else b""
        except OSError as error:
            raise BadImageError(f"cannot read the image {naming(index)}: {error}") from error

    return read
