"""Writes docs/report.md, the schema of report.json, from the dataclasses that it is written with.

python tools/report_page.py
"""

from __future__ import annotations

import ast
import inspect
import sys
import textwrap
import types
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, Union, get_args, get_origin

from fgl.core.report.schema import RunReport
from fgl.core.store import typed

PAGE = Path(__file__).parent.parent / "docs" / "report.md"
_HEAD = """# report.json

Every number of a run. `fgl run --json` prints it on one line, `fgl.run(...).to_dict()` returns it, and report.md in the
run directory shows it to people. This page is made from the types that it is written with, by
`python tools/report_page.py`: each section is an object, each row a key. Shares lie from 0 to 1, times are in seconds,
digests are sha256 in hexadecimal. Numbers are finite; null stands where a number does not exist.

`schema_version` changes when a key is taken away or comes to mean something else; keys may be added without notice.
"""
_WORDS = {str: "text", int: "whole number", float: "number", bool: "true or false"}


def page() -> str:
    """The text of docs/report.md."""
    lines = [_HEAD]
    for kind in _kinds(RunReport):
        rows = [(_key(one), _type(typed.hints(kind)[one.name], one), _about(kind)[one.name]) for one in fields(kind)]
        lines += [f"## {kind.__name__}", "", inspect.getdoc(kind) or "", "", "| key | value | what it is |"]
        lines += ["|---|---|---|", *(f"| {' | '.join(row)} |" for row in rows), ""]
    return "\n".join(lines)


def _kinds(kind: Any) -> list[Any]:
    """The dataclasses that make up one, itself first, each before those that it is made of."""
    order, queue = [], [kind]
    while queue:
        one = queue.pop(0)
        if one in order:
            continue
        order.append(one)
        inner = [each for hint in typed.hints(one).values() for each in _within(hint)]
        queue = [*dict.fromkeys(inner), *queue]
    return order


def _within(hint: Any) -> list[Any]:
    if is_dataclass(hint):
        return [hint]
    return [one for each in get_args(hint) for one in _within(each)]


def _key(one: Any) -> str:
    return "any other" if typed.is_rest(one) else f"`{typed.key_of(one)}`"


def _type(hint: Any, one: Any) -> str:
    if typed.is_rest(one):
        return "any"
    text = _words(hint)
    return text.removesuffix(" or null") + ", may be missing" if typed.is_omitted(one) else text


def _words(hint: Any) -> str:
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return " or ".join("null" if each is type(None) else _words(each) for each in inner)
    if hint == typed.JsonObject:
        return "object"
    if origin is dict:
        return f"object of {_words(inner[1])}"
    if origin is list:
        return f"list of {_words(inner[0])}"
    if is_dataclass(hint):
        return f"[{hint.__name__}](#{hint.__name__.lower()})"
    return _WORDS[hint]


def _about(kind: type) -> dict[str, str]:
    """Field → its docstring, those of the classes that it extends too."""
    found: dict[str, str] = {}
    for base in kind.__bases__:
        if is_dataclass(base):
            found |= _about(base)
    body = ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0]
    assert isinstance(body, ast.ClassDef)
    for first, second in zip(body.body, body.body[1:], strict=False):
        if isinstance(first, ast.AnnAssign) and isinstance(second, ast.Expr) and isinstance(first.target, ast.Name):
            assert isinstance(second.value, ast.Constant)
            found[first.target.id] = " ".join(str(second.value.value).split())
    return found


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    sys.stdout.write(f"wrote {PAGE}\n")
