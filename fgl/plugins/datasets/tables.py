"""Parquet files to labelled images: which column is which, what the classes are called."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from fgl.core import strict_json
from fgl.core.errors import DataError
from fgl.plugins.datasets.images import LazyImages
from fgl.plugins.datasets.labels import Listed, RawLabels, resolve


@dataclass(frozen=True, slots=True)
class Columns:
    """Names of the columns. domain: None takes a column called "domain" where there is one."""

    image: str = "image"
    label: str = "label"
    domain: str | None = None


@dataclass(frozen=True, slots=True)
class RawTable:
    """One split as it lies in its files. images: encoded bytes. class_names: from the files' own metadata."""

    images: pa.ChunkedArray
    labels: RawLabels
    domains: Sequence[str] | None
    class_names: Sequence[object] | None
    naming: Callable[[int], str]


def read_meta(path: Path) -> Mapping[str, Any]:
    """The object in meta.json, empty where there is no such file. Raises DataError where it is not a JSON object."""
    if not path.exists():
        return {}
    try:
        meta = strict_json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"'{path}' cannot be read: {error}; expected a JSON object with class_names") from error
    if not isinstance(meta, dict) or not isinstance(meta.get("class_names", []), list):
        raise DataError(f"'{path}' must be a JSON object whose class_names is a list of texts")
    return meta


def read_split(files: Sequence[Path], columns: Columns) -> RawTable:
    """Read the files of one split.

    Raises DataError: not parquet, a column that is missing or of the wrong type, labels or domains left empty."""
    tables, starts, total = [], [], 0
    for file in files:
        tables.append(_read(file, columns))
        starts.append(total)
        total += tables[-1].num_rows
    first = tables[0]

    def naming(index: int) -> str:
        file = max(number for number, start in enumerate(starts) if start <= index)
        return f"{files[file]} row {index - starts[file]}"

    features = _features(first.schema)
    labels = _plain([table.column(columns.label) for table in tables], columns.label, naming)
    domain = columns.domain or "domain"
    domains = None
    if domain in first.column_names:
        missing = [file for file, table in zip(files, tables, strict=True) if domain not in table.column_names]
        if missing:
            raise DataError(f"'{missing[0]}' has no column '{domain}', which '{files[0]}' has")
        values = _plain([table.column(domain) for table in tables], domain, naming)
        names = _names(features, domain)
        domains = [str(names[value]) if names and isinstance(value, int) else str(value) for value in values]
    images = pa.chunked_array(
        [chunk for table in tables for chunk in table.column(columns.image).chunks], type=pa.large_binary()
    )
    return RawTable(images, labels, domains, _names(features, columns.label), naming)


def to_images(
    raw: Mapping[str, RawTable], names: Sequence[object] | None, where: str, listed: Listed | None = None
) -> tuple[tuple[str, ...], dict[str, LazyImages]]:
    """Class names and images of each split. names: class names that the data states, over those in the files.
    listed: see `labels.resolve`."""
    stated = names if names is not None else next(iter(raw.values())).class_names
    class_names, labels = resolve(
        {split: table.labels for split, table in raw.items()},
        stated,
        lambda split, index: raw[split].naming(index),
        where,
        listed,
    )
    return class_names, {
        split: LazyImages(_reader(table.images), labels[split], table.domains, table.naming)
        for split, table in raw.items()
    }


def _reader(images: pa.ChunkedArray) -> Callable[[int], bytes]:
    def read(index: int) -> bytes:
        data = images[index].as_py()
        return data if isinstance(data, bytes) else b""

    return read


def _read(file: Path, columns: Columns) -> pa.Table:
    try:
        # ParquetFile and not read_table: the latter takes "key=value" in a folder's name for a column.
        with pq.ParquetFile(file) as parquet:
            schema = parquet.schema_arrow
            wanted = [columns.image, columns.label, *([columns.domain] if columns.domain else [])]
            for column in wanted:
                if column not in schema.names:
                    found = ", ".join(f"'{name}'" for name in schema.names)
                    raise DataError(
                        f"'{file}' has no column '{column}'; it has {found or 'none'}; set {_option(column, columns)}"
                    )
            if columns.domain is None and "domain" in schema.names:
                wanted.append("domain")
            table = parquet.read(columns=list(dict.fromkeys(wanted)))
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"'{file}' is not a readable parquet file: {str(error).splitlines()[0].rstrip('.')}; expected a table in "
            "parquet, with a column of images"
        ) from error
    position = table.column_names.index(columns.image)
    return table.set_column(position, columns.image, _binary(table.column(columns.image), file, columns.image))


def _option(column: str, columns: Columns) -> str:
    if column == columns.image:
        return "image_column"
    return "label_column" if column == columns.label else "domain_column"


def _binary(column: pa.ChunkedArray, file: Path, name: str) -> pa.ChunkedArray:
    """The encoded bytes: of the column itself, or of its field `bytes`, as `datasets` writes images."""
    kind = column.type
    if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
        column = pa.chunked_array([chunk.field("bytes") for chunk in column.chunks], type=kind.field("bytes").type)
        kind = column.type
    if not (pa.types.is_binary(kind) or pa.types.is_large_binary(kind)):
        raise DataError(
            f"'{file}': column '{name}' holds {kind}; expected encoded images (PNG, JPEG, ...) as binary, or as a "
            "struct with a field `bytes`"
        )
    return column.cast(pa.large_binary())  # 64-bit offsets: a table may hold more than 2 GiB of images


def _plain(parts: Sequence[pa.ChunkedArray], name: str, naming: Callable[[int], str]) -> RawLabels:
    """Integers or texts, without gaps, as Python values."""
    values: list[Any] = []
    for part in parts:
        kind = part.type.value_type if pa.types.is_dictionary(part.type) else part.type
        if not (pa.types.is_integer(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind)):
            raise DataError(f"{naming(len(values))}: column '{name}' holds {kind}; expected integers or texts")
        if values and isinstance(values[0], int) != pa.types.is_integer(kind):
            raise DataError(f"{naming(len(values))}: column '{name}' changes its type to {kind} in this file")
        values += part.to_pylist()
    if None in values:
        raise DataError(f"{naming(values.index(None))}: column '{name}' is empty (null) there")
    return values


def _features(schema: pa.Schema) -> Mapping[str, Any]:
    """Features that `datasets` left in the schema; empty where there are none or where they make no sense."""
    try:
        features = strict_json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
    except (KeyError, TypeError, ValueError):
        return {}
    return features if isinstance(features, dict) else {}


def _names(features: Mapping[str, Any], column: str) -> Sequence[object] | None:
    feature = features.get(column)
    names = feature.get("names") if isinstance(feature, dict) else None
    return names if isinstance(names, list) and names else None
