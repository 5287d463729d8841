"""From the labels that a table holds, numbers or names, to positions in a list of class names."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fgl.errors import ClassListError, DataError, suggestion
from fgl.text import escaped, some

if TYPE_CHECKING:
    from fgl.contracts.arrays import Labels
    from fgl.plugins.datasets.options import SplitOptions


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
            raise DataError(f"{where}: the class name '{name}' occurs twice; class names must differ")
        checked.append(name)
    if len(checked) < 2:
        held = f"only one class, '{checked[0]}'" if checked else "no class"
        hint = "a classifier needs at least two; images that lack some state them all in class_names"
        raise DataError(f"{where}: found {held}; {hint}")
    return tuple(checked)


def check_prompt_names(
    given: Sequence[str] | Mapping[str, str] | None, class_names: Sequence[str], where: str
) -> tuple[str, ...]:
    """What prompts call each class, in label order; () where nothing is given. given: all names in label order, or some
    by class name. Raises ClassListError, which lists everything that does not fit the classes."""
    if not given:
        return ()
    if isinstance(given, Mapping):
        problems = [f"no class '{name}'{suggestion(name, class_names)}" for name in given if name not in class_names]
        names = [given.get(name, name) for name in class_names]
    else:
        problems = [f"{len(given)} names for {len(class_names)} classes"] if len(given) != len(class_names) else []
        names = list(given)
    problems += [f"'{escaped(name)}' is empty or has invisible characters" for name in names if not _is_sayable(name)]
    if problems:
        known = some([f"'{escaped(name)}'" for name in class_names], 10, total=True)
        raise ClassListError(
            f"{where}: prompt_names does not fit the classes: {'; '.join(problems[:10])}; expected a mapping of class "
            f"names or a list in label order; the classes: {known}"
        )
    return () if tuple(names) == tuple(class_names) else tuple(names)


def _is_sayable(name: str) -> bool:
    return bool(name.strip()) and name.isprintable()


@dataclass(frozen=True, slots=True)
class ListedClasses:
    """The classes as the options list them."""

    class_names: Sequence[str]
    """In label order."""

    labels: Mapping[str, str]
    """Label in the data → class name."""

    leave_out: bool = False
    """Whether images with other labels are left out; otherwise they are an error."""

    complete: bool = True
    """Whether the data must have all of the classes."""

    @classmethod
    def of(cls, options: SplitOptions) -> ListedClasses | None:
        """From the options; None if they list no labels."""
        if options.labels is None or options.class_names is None:
            return None
        return cls(options.class_names, options.labels, options.unlisted_labels == "leave out", options.holds == "all")


def resolve(
    splits: Mapping[str, RawLabels],
    names: Sequence[object] | None,
    naming: Callable[[str, int], str],
    where: str,
    listed: ListedClasses | None = None,
) -> tuple[tuple[str, ...], dict[str, Labels]]:
    """Class names, and int64 [n] labels of each split.

    Args:
        splits: Split name → labels, all integers or all names. If there is a "train", it comes first.
        names: The class names, if the data states them. Otherwise they come from the first split's labels: sorted, or
            "class 0", "class 1", ... for integers.
        naming: (split, position) → a name for the sample that a person can look up.
        where: Name of the dataset for errors.
        listed: Other names for the classes, and which labels count. Labels that are left out become -1.

    Raises DataError, and ClassListError if labels and class list do not match.
    """
    if listed is not None:
        return _listed(splits, names, naming, where, listed)
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
                if isinstance(label, str):
                    labels_in_data = {str(other) for labels in splits.values() for other in labels}
                    missing = {name: [name] for name in class_names if name not in labels_in_data}
                    surplus = sorted(labels_in_data - set(class_names))
                    raise ClassListError(_mismatch(where, missing, surplus, class_names, naming(split, index)))
                raise DataError(f"{naming(split, index)}: {_outside(label, class_names)}")
            numbers[index] = number
        resolved[split] = numbers
    return class_names, resolved


def _listed(
    splits: Mapping[str, RawLabels],
    names: Sequence[object] | None,
    naming: Callable[[str, int], str],
    where: str,
    listed: ListedClasses,
) -> tuple[tuple[str, ...], dict[str, Labels]]:
    class_names = check_class_names(listed.class_names, where)
    position = {name: number for number, name in enumerate(class_names)}
    known = {**position, **{label: position[name] for label, name in listed.labels.items()}}
    texts = {split: [_text(label, names) for label in raw] for split, raw in splits.items()}
    labels_in_data = {label for labels in texts.values() for label in labels}
    surplus = sorted(labels_in_data - set(known))
    first = next(iter(texts.values()))
    present = {known[label] for label in set(first) if label in known}
    lacking = [name for name in class_names if position[name] not in present] if listed.complete else []
    if lacking or (surplus and not listed.leave_out):
        missing = {
            name: [*(label for label, other in listed.labels.items() if other == name and label != name), name]
            for name in lacking
        }
        example = next(
            (
                naming(split, index)
                for split, labels in texts.items()
                for index, label in enumerate(labels)
                if label not in known
            ),
            "",
        )
        raise ClassListError(_mismatch(where, missing, surplus, class_names, "" if listed.leave_out else example))
    numbers = {
        split: np.array([known.get(label, -1) for label in labels], dtype=np.int64) for split, labels in texts.items()
    }
    return class_names, numbers


def _text(label: int | str, names: Sequence[object] | None) -> str:
    """A label as the option `labels` writes it: the data's name for a number if it has one, else the number."""
    if isinstance(label, str):
        return label
    return str(names[label]) if names is not None and 0 <= label < len(names) else str(label)


def _mismatch(
    where: str, missing: Mapping[str, Sequence[str]], surplus: Sequence[str], known: Sequence[str], example: str
) -> str:
    """One message about a class list that does not match the data.

    Args:
        where: Name of the dataset.
        missing: Class without images → the labels that would stand for it.
        surplus: Labels in the data that are not in the list.
        known: All class names.
        example: A sample with such a label, or "".
    """
    parts = []
    if missing:
        described = []
        for name, labels in missing.items():
            others = f" ({', '.join(labels[:-1])})" if len(labels) > 1 else ""
            described.append(f"'{name}'{others}{_nearest(labels, surplus)}")
        parts.append(f"no images of {some(described, 10, total=True)}")
    if surplus:
        # A near miss is mentioned once: beside the missing class, if any is missing.
        described = [f"'{label}'{'' if missing else _nearest([label], known)}" for label in surplus]
        parts.append(f"not in the list: {some(described, 10, total=True)}{f' (such as {example})' if example else ''}")
    if len(missing) < len(known):  # else all of it has just been listed
        parts.append(f"the list: {some(known, 10, total=True)}")
    return f"{where}: its labels do not match the class list: {'; '.join(parts)}"


def _nearest(names: Sequence[str], candidates: Sequence[str]) -> str:
    """A hint at the candidate most similar to one of the names, regardless of case and of what separates words."""
    plain = {_plain(candidate): candidate for candidate in candidates}
    for name in names:
        close = difflib.get_close_matches(_plain(name), plain, n=1, cutoff=0.7)
        if close:
            return f" - did you mean '{plain[close[0]]}'?"
    return ""


def _plain(name: str) -> str:
    return " ".join("".join(sign if sign.isalnum() else " " for sign in name).casefold().split())


def _outside(label: object, class_names: Sequence[str]) -> str:
    hint = "; -1 often marks a split without labels, choose another test split" if label == -1 else ""
    return f"label {label} is outside 0..{len(class_names) - 1} ({len(class_names)} class names){hint}"
