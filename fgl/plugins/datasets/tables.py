"""Turns parquet files into labelled images: finds the columns and the class names."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from fgl.errors import DataError
from fgl.io import strict_json
from fgl.io.files import open_regular, read_text
from fgl.plugins.datasets import kinds
from fgl.plugins.datasets.class_list import ListedClasses, RawLabels, resolve
from fgl.plugins.datasets.images import LazyImages
from fgl.text import escaped, first_line, quoted

_FREE, _GROWTH = 1 << 30, 20
"""A file may take up this many bytes in memory, or this many times its own size, whichever is more."""
_BATCH = 256  # rows
_ARCHIVES = (b"PK\x03\x04", b"\x1f\x8b", b"BZh", b"7z\xbc\xaf", b"Rar!", b"\xfd7zXZ")


@dataclass(frozen=True, slots=True)
class Columns:
    """Names of the columns."""

    image: str = "image"
    label: str = "label"

    domain: str | None = None
    """None: the column "domain", if there is one."""


@dataclass(frozen=True, slots=True)
class RawTable:
    """One split as stored in its files."""

    images: pa.ChunkedArray
    """Encoded images."""

    labels: RawLabels
    """All integers, or all names."""

    domains: Sequence[str] | None
    """The domain of each sample, or None."""

    class_names: Sequence[object] | None
    """Class names from the files' metadata, or None."""

    naming: Callable[[int], str]
    """Position → a name for the sample that a person can look up."""


def read_meta(path: Path) -> Mapping[str, Any]:
    """The object in meta.json; empty if the file does not exist. Raises DataError if it is not a JSON object."""
    if not path.exists():
        return {}
    try:
        meta = strict_json.loads(read_text(path))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"'{path}' cannot be read: {error}; expected a JSON object with class_names") from error
    if not isinstance(meta, dict) or not isinstance(meta.get("class_names", []), list):
        raise DataError(f"'{path}' must be a JSON object whose class_names is a list of texts")
    return meta


def read_split(files: Sequence[Path], columns: Columns) -> RawTable:
    """Read the files of one split.

    Raises DataError for files that are not parquet, a column that is missing or of the wrong type, and missing labels
    or domains.
    """
    tables, starts, total = [], [], 0
    for file in files:
        tables.append(_read(file, columns))
        starts.append(total)
        total += tables[-1].num_rows
    first = tables[0]

    def naming(index: int) -> str:
        file = max(number for number, start in enumerate(starts) if start <= index)
        return f"{escaped(str(files[file]))} row {index - starts[file]}"

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
    raw: Mapping[str, RawTable], names: Sequence[object] | None, where: str, listed: ListedClasses | None = None
) -> tuple[tuple[str, ...], dict[str, LazyImages]]:
    """Class names, and the images of each split.

    Args:
        raw: The tables of the splits.
        names: Class names that override those in the files' metadata.
        where: Name of the dataset for errors.
        listed: See `class_list.resolve`.
    """
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
                    names = ", ".join(quoted(name) for name in schema.names)
                    raise DataError(
                        f"'{file}' has no column '{column}'; it has {names or 'none'}; set {_option(column, columns)}"
                    )
            if columns.domain is None and "domain" in schema.names:
                wanted.append("domain")
            table = _bounded(parquet, list(dict.fromkeys(wanted)), file)
        position = table.column_names.index(columns.image)
        return table.set_column(position, columns.image, _binary(table.column(columns.image), file, columns.image))
    except DataError:
        raise
    except Exception as error:  # damaged files make pyarrow raise almost anything: UnicodeDecodeError, MemoryError, ...
        raise DataError(
            f"'{file}' is not a readable parquet file: {_what(file) or first_line(error)}; expected a table in "
            "parquet, with a column of images"
        ) from error


def _what(file: Path) -> str:
    """What a file is that is not parquet; "" if unknown."""
    try:
        with open_regular(file) as opened:
            head = opened.read(kinds.HEAD)
    except OSError:
        return ""
    if head.startswith(_ARCHIVES):
        return "it is an archive; unpack it and give the folder"
    kind = kinds.by_content(head)
    return "" if kind is None else f"it is {kind}: {kinds.advice(kind)}; a dataset is a folder of class folders"


def _bounded(parquet: pq.ParquetFile, wanted: list[str], file: Path) -> pa.Table:
    """Read the columns piece by piece.

    Raises DataError if they take up many times the size of the file: encoded images hardly compress, so such a file
    repeats some of them, or is meant to exhaust memory.
    """
    most = max(_FREE, _GROWTH * file.stat().st_size)
    batches, size = [], 0
    for batch in parquet.iter_batches(batch_size=_BATCH, columns=wanted):
        size += batch.nbytes
        if size > most:
            raise DataError(
                f"'{file}' has {file.stat().st_size:,} bytes and becomes more than {most:,} in memory: encoded images "
                "do not compress like that; write it again without repeated rows"
            )
        batches.append(batch)
    schema = batches[0].schema if batches else pa.schema([parquet.schema_arrow.field(name) for name in wanted])
    return pa.Table.from_batches(batches, schema)


def _option(column: str, columns: Columns) -> str:
    if column == columns.image:
        return "image_column"
    return "label_column" if column == columns.label else "domain_column"


def _binary(column: pa.ChunkedArray, file: Path, name: str) -> pa.ChunkedArray:
    """The encoded bytes: the column itself, or its field `bytes`, as `datasets` writes images."""
    kind = column.type
    if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
        column = pa.chunked_array([chunk.field("bytes") for chunk in column.chunks], type=kind.field("bytes").type)
        kind = column.type
    if not (pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind)):
        raise DataError(
            f"'{file}': column '{name}' holds {kind}; expected encoded images (PNG, JPEG, ...) as binary, or as a "
            "struct with a field `bytes`"
        )
    return column.cast(pa.large_binary())  # 64-bit offsets: a table may hold more than 2 GiB of images


def _plain(parts: Sequence[pa.ChunkedArray], name: str, naming: Callable[[int], str]) -> RawLabels:
    """The values of a column, integers or texts without gaps, as Python values."""
    values: list[Any] = []
    for part in parts:
        kind = part.type.value_type if pa.types.is_dictionary(part.type) else part.type
        if not (pa.types.is_integer(kind) or _is_text(kind)):
            raise DataError(f"{naming(len(values))}: column '{name}' holds {kind}; expected integers or texts")
        if values and isinstance(values[0], int) != pa.types.is_integer(kind):
            raise DataError(f"{naming(len(values))}: column '{name}' changes its type to {kind} in this file")
        values += _listed(part, name, len(values), naming)
    if None in values:
        raise DataError(f"{naming(values.index(None))}: column '{name}' is empty (null)")
    return values


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _listed(part: pa.ChunkedArray, name: str, start: int, naming: Callable[[int], str]) -> list[Any]:
    """The values of a part. Raises DataError for text that is not UTF-8, which parquet does not check. start: position
    of the first."""
    try:
        found: list[Any] = part.to_pylist()
        return found
    except UnicodeDecodeError:
        for row, value in enumerate(part):
            try:
                value.as_py()
            except UnicodeDecodeError as error:
                raise DataError(
                    f"{naming(start + row)}: column '{name}' holds {error.object!r}, which is not UTF-8; write the "
                    "file again with texts in UTF-8"
                ) from error
        raise


def _features(schema: pa.Schema) -> Mapping[str, Any]:
    """Features that `datasets` stored in the schema; empty if there are none, or if they make no sense."""
    try:
        features = strict_json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
    except (KeyError, TypeError, ValueError, RecursionError):
        return {}
    return features if isinstance(features, dict) else {}


def _names(features: Mapping[str, Any], column: str) -> Sequence[object] | None:
    feature = features.get(column)
    names = feature.get("names") if isinstance(feature, dict) else None
    return names if isinstance(names, list) and names else None
