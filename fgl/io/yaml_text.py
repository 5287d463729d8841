"""Reads and writes YAML that means what it says, within limits.

Words and numbers are those of YAML 1.2: `no` and `off` are text, `010` is ten, `12:30` is text. In addition, `1e-3` and
`1_000` are numbers. A duplicate key is an error. A date is text: no option takes a date, and some take names.

Configurations are passed around, and their authors need not be trusted: size, depth, digits and the expansion of
aliases are limited before anything is built.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from fgl.io.files import open_regular
from fgl.text import is_unseen

MAX_BYTES = 1_000_000
MAX_NODES = 50_000
"""Limit on values and keys; those that an alias repeats count each time."""
MAX_DEPTH = 32
MAX_DIGITS = 40
_OPEN_PIPES = ("/dev/fd/", "/dev/stdin", "/proc/self/fd/")
"""Paths that a shell gives for <(command) and for pipes. They are open already, so opening them does not block."""


class Number(int):
    """A whole number that was written in another form: `010`, `0x1f`, `1_000`."""

    written: str
    """How it was written."""


class Fraction(float):
    """A number that was written in another form: `1.10`, `1e-3`."""

    written: str
    """How it was written."""


def read(path: Path) -> Any:
    """Read a file. Raises OSError (also for a device), YAMLError, ValueError (too large, or not UTF-8)."""
    opened = path.open("rb") if str(path).startswith(_OPEN_PIPES) else open_regular(path)
    with opened as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise ValueError(f"more than {MAX_BYTES:,} bytes")
    return load(data.decode("utf-8"))


def load(text: str) -> Any:
    """Parse a text. Raises YAMLError, or ValueError (a malformed or too large number)."""
    if len(text) > MAX_BYTES:
        raise ValueError(f"more than {MAX_BYTES:,} characters")
    return yaml.load(text, _Loader)


class _Loader(yaml.SafeLoader):
    def __init__(self, stream: Any) -> None:
        super().__init__(stream)
        self._depth = self._nodes = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        self._nodes += 1
        self._depth += 1
        if self._depth > MAX_DEPTH or self._nodes > MAX_NODES:
            what = f"deeper than {MAX_DEPTH} levels" if self._depth > MAX_DEPTH else f"more than {MAX_NODES:,} values"
            raise yaml.MarkedYAMLError(problem=what, problem_mark=self.peek_event().start_mark)  # type: ignore[no-untyped-call]
        try:
            return super().compose_node(parent, index)
        finally:
            self._depth -= 1

    def get_single_node(self) -> yaml.Node | None:
        node = super().get_single_node()
        if node is not None:
            _count(node, {}, 0)
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            identity = (key.tag, key.value if isinstance(key, yaml.ScalarNode) else id(key))
            if identity in seen:
                raise yaml.MarkedYAMLError(problem=f"the key {key.value!r} is there twice", problem_mark=key.start_mark)
            seen.add(identity)
        return super().construct_mapping(node, deep)

    def construct_number(self, node: yaml.ScalarNode) -> int:
        text = str(self.construct_scalar(node))
        plain = text.replace("_", "").lower()
        if len(plain) > MAX_DIGITS:
            raise yaml.MarkedYAMLError(problem=f"a number of {len(plain):,} digits", problem_mark=node.start_mark)
        kind = plain.lstrip("+-")[:2]
        try:
            value = int(plain, {"0o": 8, "0x": 16, "0b": 2}.get(kind, 10))
        except ValueError:
            raise yaml.MarkedYAMLError(problem=f"{text!r} is no whole number", problem_mark=node.start_mark) from None
        if str(value) == text:
            return value
        number = Number(value)
        number.written = text
        return number

    def construct_fraction(self, node: yaml.ScalarNode) -> float:
        text = str(self.construct_scalar(node))
        plain = text.replace("_", "").lower()
        for word in (".inf", ".nan"):
            plain = plain.replace(word, word[1:])
        try:
            value = float(plain)
        except ValueError:
            raise yaml.MarkedYAMLError(problem=f"{text!r} is no number", problem_mark=node.start_mark) from None
        if str(value) == text:
            return value
        number = Fraction(value)
        number.written = text
        return number


def _count(node: yaml.Node, known: dict[int, int], depth: int) -> int:
    """Number of values in a node with its aliases expanded. Raises YAMLError beyond the limits.

    known: id of a node → its number; 0 while it is being counted, so that a node that contains itself is noticed.
    """
    count = known.get(id(node))
    if count is None:
        known[id(node)] = 0
        children = node.value if isinstance(node, yaml.CollectionNode) else ()
        inner = [part for child in children for part in (child if isinstance(child, tuple) else (child,))]
        count = known[id(node)] = 1 + sum(_count(part, known, depth + 1) for part in inner)
    if not count or depth > MAX_DEPTH or count > MAX_NODES:
        problem = "an alias within what it names" if not count else "aliases of aliases beyond measure"
        raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)
    return count


_TAG = "tag:yaml.org,2002:"
_Loader.yaml_implicit_resolvers = {}
for _name, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("merge", r"<<", "<"),
    ("int", r"[-+]?(?:0o[0-7_]+|0x[0-9a-fA-F_]+|0b[01_]+|[0-9][0-9_]*)", "-+0123456789"),
    (
        "float",
        r"[-+]?(?:(?:\.[0-9][0-9_]*|[0-9][0-9_]*(?:\.[0-9_]*)?)(?:[eE][-+]?[0-9]+)?|\.(?:inf|Inf|INF))"
        r"|\.(?:nan|NaN|NAN)",
        "-+.0123456789",
    ),
):
    _Loader.add_implicit_resolver(_TAG + _name, re.compile(rf"^(?:{_pattern})$"), list(_first))
_Loader.add_constructor(_TAG + "int", _Loader.construct_number)
_Loader.add_constructor(_TAG + "float", _Loader.construct_fraction)


class _Dumper(yaml.SafeDumper):
    """Writes YAML that `load`, and readers of YAML 1.1, read back as it was."""


def _text(dumper: _Dumper, value: str) -> yaml.Node:
    """Quote a text that a reader could take for something else, or that needs an escape."""
    style = '"' if any(is_unseen(one) and one != "\n" for one in value) else None
    resolved = {loader: loader.yaml_implicit_resolvers.get(value[:1], []) for loader in (_Loader, yaml.SafeLoader)}
    if any(pattern.match(value) for found in resolved.values() for _, pattern in found):
        style = style or "'"
    return dumper.represent_scalar(f"{_TAG}str", value, style=style)


_Dumper.add_representer(str, _text)
_Dumper.add_multi_representer(int, lambda dumper, value: dumper.represent_int(int(value)))
_Dumper.add_multi_representer(float, lambda dumper, value: dumper.represent_float(float(value)))


def dump(value: Any) -> str:
    """YAML text of plain values: keys in their order, letters as they are, invisible characters as escapes."""
    text: str = yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True)
    if text.isascii():
        return text
    # all of these are in double quotes, see `_text`; PyYAML does not escape all invisible characters
    return "".join(_escape(one) if is_unseen(one) and one != "\n" else one for one in text)


def _escape(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
