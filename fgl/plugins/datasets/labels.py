"""From the labels that a table holds, numbers or names, to positions in a list of class names."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from fgl.core.errors import DataError

if TYPE_CHECKING:
    from fgl.core.types import Labels

MAX_CLASSES = 100_000

RawLabels = Sequence[int | str]


def check_class_names(names: Sequence[object], where: str) -> tuple[str, ...]:
    """The names as a tuple. Raises DataError unless they are two or more different, non-empty, encodable strings."""
    checked: list[str] = []
    for name in names:
        if not isinstance(name, str) or not name.strip():
            raise DataError(f"{where}: {name!r} is not a class name; expected a text that is not empty")
        try:
            name.encode("utf-8")
        except UnicodeEncodeError:
            raise DataError(f"{where}: the class name {name!r} is not valid Unicode; rename it") from None
        if name in checked:
            raise DataError(f"{where}: the class name '{name}' is there twice; class names must differ")
        checked.append(name)
    if len(checked) < 2:
        found = f"only one class, '{checked[0]}'" if checked else "no class"
        hint = "a classifier needs at least two; images that lack some state them all in class_names"
        raise DataError(f"{where}: found {found}; {hint}")
    return tuple(checked)


def resolve(
    splits: Mapping[str, RawLabels],
    names: Sequence[object] | None,
    naming: Callable[[str, int], str],
    where: str,
) -> tuple[tuple[str, ...], dict[str, Labels]]:
    """Class names, and int64 [n] labels of each split.

    splits: split name → labels, all integers or all names; the first is "train" where there is one. names: the class
    names, where they are stated; otherwise they are taken from the first split's labels: sorted, or "class 0", "class
    1", ... for integers. naming: (split, position) → what a person would call the sample. where: what to call the
    dataset in errors.
    """
    train = next(iter(splits.values()))
    if names is None:
        if not len(train):
            raise DataError(f"{where}: the {next(iter(splits))} split holds no images")
        if isinstance(train[0], str):
            names = sorted({str(label) for label in train})
        else:
            highest = max(int(label) for label in train)
            if highest >= MAX_CLASSES:
                raise DataError(f"{where}: label {highest} is too high; expected labels 0, 1, ... without large gaps")
            names = [f"class {number}" for number in range(highest + 1)]
    class_names = check_class_names(names, where)
    position = {name: number for number, name in enumerate(class_names)}
    resolved: dict[str, Labels] = {}
    for split, raw in splits.items():
        numbers = np.empty(len(raw), dtype=np.int64)
        for index, label in enumerate(raw):
            number = position.get(label, -1) if isinstance(label, str) else label
            if not 0 <= number < len(class_names):
                raise DataError(f"{naming(split, index)}: {_outside(label, class_names)}")
            numbers[index] = number
        resolved[split] = numbers
    return class_names, resolved


def _outside(label: object, class_names: Sequence[str]) -> str:
    if isinstance(label, str):
        shown = ", ".join(class_names[:10]) + (", ..." if len(class_names) > 10 else "")
        return f"label '{label}' is not one of the {len(class_names)} class names ({shown})"
    hint = "; -1 often marks a split without labels, choose another test split" if label == -1 else ""
    return f"label {label} is outside 0..{len(class_names) - 1} ({len(class_names)} class names){hint}"
