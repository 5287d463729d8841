"""Counts and groups a client's samples by class and domain."""

from __future__ import annotations

from collections import Counter

from fgl.contracts.prompts import ClientContext
from fgl.errors import DataError


def count_classes(context: ClientContext) -> dict[int, int]:
    """Class id → number of the client's samples, in label order; only classes that it holds.

    Raises DataError if a label has no class name.
    """
    counts = Counter(context.images.labels.tolist())
    _check(context, counts)
    return {class_id: counts[class_id] for class_id in sorted(counts)}


def group_by_domain(context: ClientContext) -> dict[tuple[int, str], list[int]]:
    """(class id, domain) → positions of the client's samples, in order of the keys.

    Raises DataError if a label has no class name, the dataset has no domains, or a sample has none.
    """
    domains = context.images.domains
    if domains is None:
        raise DataError(
            f"client {context.client_id!r}: this dataset has no domains, so no template can be chosen by domain; "
            "use the prompt strategy 'class-name', or a dataset with domains"
        )
    labels = context.images.labels.tolist()
    _check(context, labels)
    groups: dict[tuple[int, str], list[int]] = {}
    for position, key in enumerate(zip(labels, domains, strict=True)):
        if not key[1]:
            raise DataError(
                f"{context.images.name(position)}: the sample has no domain, though the dataset has domains"
            )
        groups.setdefault(key, []).append(position)
    return dict(sorted(groups.items()))


def group_by_class(context: ClientContext) -> dict[tuple[int, None], list[int]]:
    """(class id, None) → positions of the client's samples, in label order.

    Raises DataError if a label has no class name.
    """
    labels = context.images.labels.tolist()
    _check(context, labels)
    groups: dict[tuple[int, None], list[int]] = {}
    for position, class_id in enumerate(labels):
        groups.setdefault((class_id, None), []).append(position)
    return dict(sorted(groups.items(), key=lambda item: item[0][0]))


def _check(context: ClientContext, labels: list[int] | Counter[int]) -> None:
    known = len(context.class_names)
    unknown = sorted({label for label in labels if not 0 <= label < known})
    if unknown:
        raise DataError(
            f"client {context.client_id!r} holds samples labelled {unknown[0]}, but there are {known} class names: "
            f"expected labels from 0 to {known - 1}"
        )


__all__ = ["count_classes", "group_by_class", "group_by_domain"]
