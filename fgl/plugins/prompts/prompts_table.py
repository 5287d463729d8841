"""Reads the CSV or JSONL file of a prompts-file: rows, and every problem with its line."""

from __future__ import annotations

import csv
import difflib
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import TextIOWrapper
from json import JSONDecodeError
from pathlib import Path
from typing import Any

from fgl.errors import DataError
from fgl.io import strict_json
from fgl.io.files import open_regular
from fgl.plugins.prompts.identical_classes import folded
from fgl.plugins.prompts.options import PromptsFileOptions

COLUMNS = {
    "class": "class",
    "label": "class",
    "prompt": "prompt",
    "text": "prompt",
    "negative": "negative",
    "domain": "domain",
    "weight": "weight",
    "guidance_scale": "guidance_scale",
    "client": "client",
}
"""Accepted name of a column → the column."""

_LIMIT = 20  # problems that are listed
_MOST = 1000  # problems after which the rest of the file is not read: each takes time to report
_MAX_GUIDANCE = 100.0
_LEAST_SHARE = 1e-6  # of the largest weight of a class: no client can send less
ID = re.compile(r"0|[1-9][0-9]*")  # "01" is more likely a name that is misspelt than the number 1


@dataclass(frozen=True, slots=True)
class Row:
    """One prompt of the file."""

    class_id: int
    """Its class."""

    text: str
    """The prompt."""

    negative: str | None
    """The negative prompt, if any."""

    domain: str | None
    """Its domain, if any."""

    share: float
    """Its weight relative to the other prompts of the class."""

    guidance_scale: float | None
    """Its guidance scale; None: the generator's."""

    client: str
    """The client that it is for; "": all clients."""

    line: int
    """Its line in the file, from 1."""


def read(
    options: PromptsFileOptions, class_names: Sequence[str], has_domains: bool, domains: Sequence[str] | None = None
) -> list[Row]:
    """All rows of the file.

    Args:
        options: Names the file and its format.
        class_names: Names of all classes, in label order.
        has_domains: Whether the dataset has domains.
        domains: All domains; None: unknown.

    Raises DataError with every problem, each with its line.
    """
    if "\0" in options.path:
        raise DataError(f"path: got {short(options.path)}; expected a path, which holds no NUL character")
    path = Path(options.path).expanduser()
    problems: list[str] = []
    rows = []
    by_name = _by_name(class_names)
    try:
        lines = _jsonl(path, problems) if _is_jsonl(options, path) else _csv(path, problems)
        for line, values in lines:
            row, wrong = _row(line, values, class_names, by_name, options, has_domains, domains)
            problems += [f"line {line}: {reason}" for reason in wrong]
            if row is not None:
                rows.append(row)
            if len(problems) >= _MOST:
                break
    except UnicodeDecodeError as error:
        problems.append(
            f"line {_line_of_bad_byte(path)}: not UTF-8 ({error.reason}); save the file in the encoding UTF-8"
        )
    except OSError as error:
        raise DataError(
            f"path: cannot read {options.path}: {error.strerror or error}; expected a CSV or JSONL file with prompts"
        ) from error
    problems += _weights_apart(rows)
    problems += _same_of_two(rows, class_names)
    if not problems and not rows:
        problems.append("it holds no prompts; expected a row for each, with a class and a prompt")
    if problems:
        shown = "\n".join(f"  {problem}" for problem in problems[:_LIMIT])
        more = f"\n  and {len(problems) - _LIMIT} more" if len(problems) > _LIMIT else ""
        some = "at least " if len(problems) >= _MOST else ""
        count = f"{some}{len(problems)} problem{'s' if len(problems) > 1 else ''}"
        raise DataError(f"{options.path}: {count}:\n{shown}{more}")
    return rows


def texts_by_class(options: PromptsFileOptions, domains: Sequence[str]) -> dict[str, list[str]]:
    """What the file has for each value of its class column, as text, in the file's order, for whoever does not know the
    class list. Rows of domains other than `domains`, where there are any, are left out.

    Raises DataError where the file cannot be read as a table, with every problem."""
    path = Path(options.path).expanduser()
    problems: list[str] = []
    found: dict[str, list[str]] = {}
    try:
        for _, values in _jsonl(path, problems) if _is_jsonl(options, path) else _csv(path, problems):
            name, text, domain = values.get("class"), values.get("prompt"), values.get("domain")
            elsewhere = domain is not None and domains and domain not in domains
            if isinstance(text, str) and text.strip() and _is_unicode(text) and not elsewhere:
                found.setdefault(str(name).strip(), []).append(text.strip())
    except (UnicodeDecodeError, OSError) as error:
        raise DataError(
            f"path: cannot read {options.path}: {error}; expected a CSV or JSONL file with prompts"
        ) from error
    if problems:
        raise DataError(f"{options.path}: " + "; ".join(problems[:_LIMIT]))
    return found


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_jsonl(options: PromptsFileOptions, path: Path) -> bool:
    if options.format == "auto":
        return path.suffix.lower() in (".jsonl", ".ndjson", ".json")
    return options.format == "jsonl"


def _csv(path: Path, problems: list[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line, column → text). Columns without a value are left out."""
    with TextIOWrapper(open_regular(path), encoding="utf-8-sig", newline="") as file:
        table = csv.reader(file, strict=True)
        try:
            header = [name.strip() for name in next(table, [])]
            if not header:
                return
            problems += [f"line 1: {reason}" for reason in _wrong_columns(header)]
            if problems:
                return
            for cells in table:
                if not any(cell.strip() for cell in cells):
                    continue
                if len(cells) > len(header):
                    problems.append(
                        f"line {table.line_num}: {len(cells)} values, but {len(header)} columns; put quotes around a "
                        "text with commas"
                    )
                    continue
                named = zip(header, cells, strict=False)
                yield table.line_num, {COLUMNS[name]: cell.strip() for name, cell in named if cell.strip()}
        except csv.Error as error:
            problems.append(f"line {table.line_num}: not CSV ({error}); expected quotes in pairs")


def _jsonl(path: Path, problems: list[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line, key → value). Keys whose value is null or empty are left out."""
    with TextIOWrapper(open_regular(path), encoding="utf-8-sig") as file:
        for line, text in enumerate(file, 1):
            if not text.strip():
                continue
            try:
                entry = strict_json.loads(text)
            except ValueError as error:
                reason = error.msg if isinstance(error, JSONDecodeError) else str(error)
                problems.append(f"line {line}: not JSON ({reason}); expected one object per line")
                continue
            if not isinstance(entry, dict):
                problems.append(f'line {line}: got {short(entry)}; expected an object such as {{"class": "…", …}}')
                continue
            wrong = _wrong_columns(list(entry))
            problems += [f"line {line}: {reason}" for reason in wrong]
            if not wrong:
                yield line, {COLUMNS[name]: value for name, value in entry.items() if value not in (None, "")}


def _wrong_columns(names: Sequence[str]) -> list[str]:
    unknown = [name for name in names if name not in COLUMNS]
    if len(names) == 1 and unknown and any(sign in names[0] for sign in ";\t|"):
        return [f"got the one column {short(names[0])}; expected columns separated by commas"]
    wrong = []
    for name in unknown:
        close = difflib.get_close_matches(name.casefold(), COLUMNS, n=1)
        hint = f": did you mean {close[0]!r}?" if close else f"; expected of {', '.join(COLUMNS)}"
        wrong.append(f"unknown column {short(name)}{hint}")
    meant = [COLUMNS[name] for name in names if name in COLUMNS]
    for column, other in (("class", "label"), ("prompt", "text")):
        if column not in meant:
            wrong.append(f"no column {column!r} (or {other!r})")
    wrong += [f"the column {column!r} occurs twice" for column in sorted({c for c in meant if meant.count(c) > 1})]
    return wrong


def _row(
    line: int,
    values: Mapping[str, Any],
    class_names: Sequence[str],
    by_name: Mapping[str, int],
    options: PromptsFileOptions,
    has_domains: bool,
    domains: Sequence[str] | None,
) -> tuple[Row | None, list[str]]:
    """(the row, or None if it is wrong; what is wrong with it)."""
    wrong: list[str] = []
    class_id = _class_id(values.get("class"), class_names, by_name, wrong)
    texts: dict[str, str | None] = {}
    for name in ("prompt", "negative", "domain", "client"):
        value = values.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and name == "client":
            value = str(value)
        if value is not None and not isinstance(value, str):
            wrong.append(f"{name}: got {short(value)}; expected text")
            value = None
        if value is not None and not _is_unicode(value):
            wrong.append(f"{name}: holds half of a character (a lone surrogate): write the whole character")
            value = None
        texts[name] = None if value is None else value.strip() or None
    if texts["prompt"] is None and not any(reason.startswith("prompt:") for reason in wrong):
        wrong.append("prompt: is empty; expected text")
    if texts["domain"] is not None and not has_domains:
        wrong.append(f"domain: got {texts['domain']!r}, but the dataset has no domains; expected no such column")
    elif texts["domain"] is not None and domains is not None and texts["domain"] not in domains:
        wrong.append(f"domain: unknown {_meant(texts['domain'], domains)}")
    share = _number("weight", values.get("weight"), 1.0, math.inf, wrong)
    guidance = _number("guidance_scale", values.get("guidance_scale"), None, _MAX_GUIDANCE, wrong)
    if wrong or class_id is None or texts["prompt"] is None or share is None:
        return None, wrong
    negative = texts["negative"] or options.negative_prompt or None
    return Row(
        class_id, texts["prompt"], negative, texts["domain"], share, guidance, texts["client"] or "", line
    ), wrong


def _by_name(class_names: Sequence[str]) -> dict[str, int]:
    """Class names as they are, and in lower case unless that is ambiguous."""
    exact = {name: class_id for class_id, name in enumerate(class_names)}
    folded = [name.casefold() for name in class_names]
    loose = {name: class_id for class_id, name in enumerate(folded) if folded.count(name) == 1}
    return {**loose, **exact}


def _class_id(value: Any, class_names: Sequence[str], by_name: Mapping[str, int], wrong: list[str]) -> int | None:
    """The class of a row, by name first, since a class may be called "7"."""
    if isinstance(value, str):
        name = value.strip()
        class_id = by_name.get(name, by_name.get(name.casefold()))
        if class_id is not None:
            return class_id
        if name.isascii() and name.isdigit():
            if not ID.fullmatch(name):
                wrong.append(f"class: got {short(name)}; expected an id without leading zeros, or a name")
                return None
            value = int(name) if len(name) < 10 else name
    if isinstance(value, int) and not isinstance(value, bool):
        if 0 <= value < len(class_names):
            return value
        wrong.append(f"class: got {value}; expected an id from 0 to {len(class_names) - 1}, or a name")
    elif value is None:
        wrong.append("class: is empty; expected a class name or id")
    elif isinstance(value, str):
        wrong.append(f"class: unknown {_meant(value, class_names)}")
    else:
        wrong.append(f"class: got {short(value)}; expected a class name or id")
    return None


def _meant(value: str, known: Sequence[str]) -> str:
    """The value, and what was probably meant, or else what is known."""
    close = difflib.get_close_matches(value, known, n=1)
    some = ", ".join(map(repr, known[:8])) + (", …" if len(known) > 8 else "")
    return short(value) + (f": did you mean {close[0]!r}?" if close else f" ({some})")


def _number(name: str, value: Any, default: float | None, high: float, wrong: list[str]) -> float | None:
    """A number. A weight must be above 0, a guidance scale may be 0."""
    if value is None:
        return default
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if math.isfinite(number) and 0 <= number <= high and (number > 0 or name != "weight"):
        return number
    expected = "a number above 0" if name == "weight" else f"a number from 0 to {high:g}"
    wrong.append(f"{name}: got {short(value)}; expected {expected}")
    return None


def short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def _line_of_bad_byte(path: Path) -> int:
    with open_regular(path) as file:
        for line, data in enumerate(file, 1):
            try:
                data.decode("utf-8")
            except UnicodeDecodeError:
                return line
    return 1


def _weights_apart(rows: Sequence[Row]) -> list[str]:
    """Weights that are too small compared with others of their class for any client to send."""
    largest: dict[int, float] = {}
    for row in rows:
        largest[row.class_id] = max(largest.get(row.class_id, 0.0), row.share)
    return [
        f"line {row.line}: weight: got {row.share:g}; expected more than a millionth of the largest of its class, "
        f"{largest[row.class_id]:g}"
        for row in rows
        if row.share <= largest[row.class_id] * _LEAST_SHARE
    ]


def _same_of_two(rows: Sequence[Row], class_names: Sequence[str]) -> list[str]:
    """Classes of which every prompt is also a prompt of another class: their images could not be told apart."""
    first: dict[tuple[str, str], dict[int, Row]] = {}
    keys: dict[int, set[tuple[str, str]]] = {}
    for row in rows:
        key = (folded(row.text), folded(row.negative or ""))
        first.setdefault(key, {}).setdefault(row.class_id, row)
        keys.setdefault(row.class_id, set()).add(key)
    problems = []
    for class_id, class_keys in keys.items():
        others = set.intersection(*(set(first[key]) for key in class_keys)) - {class_id}
        for other in sorted(others):
            if other < class_id or keys[other] != class_keys:  # two that are equal are said once
                key = next(iter(sorted(class_keys)))
                mine, its = first[key][class_id], first[key][other]
                problems.append(
                    f"line {mine.line}: prompt: class {class_names[class_id]!r} has no prompt that class "
                    f"{class_names[other]!r} does not have too (line {its.line}); expected words that tell them apart"
                )
    return problems
