"""A model's JSON files and model cards, read as untrusted input."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from fgl.text import plain

_MOST = 64 << 20  # bytes of a JSON file; an index of many shards has some megabytes
_CARD = 64_000  # characters of a model card that are read
_DEEP = 20  # nesting depth of collections
_LICENSE = 80  # characters of a license's name


def json_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file.

    Raises FileNotFoundError, OSError, and ValueError with the reason if the file is too large, nested too deeply, not
    JSON, or does not hold an object.
    """
    if path.exists() and not path.is_file():
        raise ValueError("it is not a regular file")
    with path.open("rb") as file:
        data = file.read(_MOST + 1)
    return parse_object(data)


def parse_object(data: bytes) -> dict[str, Any]:
    """As `json_object`, from bytes."""
    if len(data) > _MOST:
        raise ValueError(f"it is larger than {_MOST >> 20} MiB")
    try:
        # NaN and infinity are accepted: diffusers itself writes -Infinity into the configuration of some schedulers
        value = json.loads(data.decode("utf-8"))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8 text") from None
    if not isinstance(value, dict):
        raise ValueError(f"it holds a {type(value).__name__}; expected an object")
    return value


def license(card: Path) -> str:
    """The license that the front matter of a model card states, or "not stated".

    Only the beginning of the card is read, and only scalars without aliases: YAML can expand a few lines to gigabytes.
    """
    try:
        if not card.is_file():
            return "not stated"
        with card.open(encoding="utf-8", errors="replace") as file:
            text = file.read(_CARD)
        head = text.split("---", 2)[1] if text.startswith("---") else ""
        stated = _scalars(head)
    except (OSError, IndexError, yaml.YAMLError, RecursionError):
        return "not stated"
    return plain(stated.get("license_name") or stated.get("license") or "not stated", _LICENSE)


def _scalars(text: str) -> dict[str, str]:
    """The keys of a mapping whose values are scalars, with the values as written."""
    scalars: dict[str, str] = {}
    key, depth = "", 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth, key = depth + 1, ""
            if depth > _DEEP:  # the parser's time grows with the square of the depth
                break
        elif isinstance(event, yaml.CollectionEndEvent):
            depth, key = depth - 1, ""
        elif isinstance(event, yaml.AliasEvent):
            key = ""
        elif isinstance(event, yaml.ScalarEvent) and depth == 1:
            if key:
                scalars.setdefault(key, event.value)
                key = ""
            else:
                key = event.value or " "
    return scalars
