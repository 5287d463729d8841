"""JSON files and model cards of a model: whoever wrote them may have meant harm."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from fgl.text import plain

_MOST = 64 << 20  # bytes of a JSON file; an index of many shards has some megabytes
_CARD = 64_000  # characters of a model card that are looked at
_DEEP = 20  # collections within each other
_LICENCE = 80  # characters of a licence's name


def json_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file. Raises FileNotFoundError, OSError, and ValueError with the reason where it is too
    large, nested too deep, no JSON, or another value than an object."""
    if path.exists() and not path.is_file():
        raise ValueError("it is no regular file")
    with path.open("rb") as file:
        data = file.read(_MOST + 1)
    return parse_object(data)


def parse_object(data: bytes) -> dict[str, Any]:
    """As `json_object`, of bytes."""
    if len(data) > _MOST:
        raise ValueError(f"it is larger than {_MOST >> 20} MiB")
    try:
        # NaN and infinity are taken: diffusers itself writes -Infinity into the configuration of some schedulers
        value = json.loads(data.decode("utf-8"))
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8 text") from None
    if not isinstance(value, dict):
        raise ValueError(f"it holds a {type(value).__name__}; expected an object")
    return value


def licence(card: Path) -> str:
    """What the front matter of a model card states, "not stated" where it states none.

    Only the beginning is read, and of it only scalars without aliases: YAML can blow a few lines up to gigabytes."""
    try:
        if not card.is_file():
            return "not stated"
        with card.open(encoding="utf-8", errors="replace") as file:
            text = file.read(_CARD)
        head = text.split("---", 2)[1] if text.startswith("---") else ""
        stated = _scalars(head)
    except (OSError, IndexError, yaml.YAMLError, RecursionError):
        return "not stated"
    return plain(stated.get("license_name") or stated.get("license") or "not stated", _LICENCE)


def _scalars(text: str) -> dict[str, str]:
    """The keys of a mapping whose values are scalars, as they are written."""
    scalars: dict[str, str] = {}
    key, depth = "", 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth, key = depth + 1, ""
            if depth > _DEEP:  # the parser's time grows with the square of it
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
