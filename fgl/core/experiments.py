"""The folder of a comparison or a sweep: what its results are made with, so that no others silently replace them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from fgl.core import outputs
from fgl.core.errors import ConfigError, Problem
from fgl.core.settings import RunConfig
from fgl.core.status import differences
from fgl.core.store import RunDir

FILE = "settings.json"
_BESIDE = ("seed", "device", "controls", "features", "evaluation", "audit")
"""What no result of a comparison depends on, or what is told apart by itself."""


def check(
    folder: RunDir, settings: Mapping[str, RunConfig], methods: Sequence[str], seeds: Sequence[int], replace: bool
) -> None:
    """Raises ConfigError where `folder` holds something else, or results of other settings, or more results than these
    would be: a second call adds methods, seeds and settings, and leaves none out. settings: "" or a setting's name →
    configuration. replace: whether they are to make way."""
    outputs.check(folder, replace)
    for config in settings.values():
        outputs.check_beside(config, folder.root)
    there = folder.read_sealed(folder.path(FILE))
    if there is None or there["kind"] != folder.kind or replace:
        return
    mine = _said(settings)
    changed = [
        f"{name}: {change}" if name else change
        for name, config in there["settings"].items()
        if name in mine
        for change in differences(config, mine[name])
    ]
    lost = [
        f"{what} {', '.join(map(str, missing))}"
        for what, old, new in (
            ("settings", there["settings"], mine), ("methods", there["methods"], methods),
            ("seeds", there["seeds"], seeds),
        )
        if (missing := [one for one in old if one not in new])
    ]  # fmt: skip
    if changed or lost:
        why = f"was made with other options ({'; '.join(changed[:3])}{'; …' * (len(changed) > 3)})" if changed else ""
        left = f"has results that this one would leave out ({'; '.join(lost)})" if lost else ""
        what = {"compare": "comparison", "sweep": "sweep"}[folder.kind]
        expected = (
            f"the {what} there {' and '.join(part for part in (why, left) if part)}; expected another folder, or "
            "--replace, which lets these results take their place"
        )
        raise ConfigError([Problem("--out", str(folder.root), expected)], "the command line")


@contextmanager
def opened(
    folder: RunDir, settings: Mapping[str, RunConfig], methods: Sequence[str], seeds: Sequence[int], replace: bool
) -> Iterator[None]:
    """Hold the folder, and note what its results are made with. Raises as `check`, StoreError where another process
    holds it."""
    check(folder, settings, methods, seeds, replace)
    with folder.lock():
        check(folder, settings, methods, seeds, replace)
        if outputs.kind_of(folder.root) not in (outputs.NEW, folder.kind):
            outputs.clear(folder)
        said = {"kind": folder.kind, "settings": _said(settings), "methods": list(methods), "seeds": list(seeds)}
        folder.write_sealed(folder.path(FILE), said)
        yield


def _said(settings: Mapping[str, RunConfig]) -> dict[str, Any]:
    return {
        name: {key: value for key, value in config.to_dict().items() if key not in _BESIDE}
        for name, config in settings.items()
    }
