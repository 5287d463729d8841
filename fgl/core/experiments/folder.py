"""The folder of a comparison or a sweep: what its results are made with, so that no others silently replace them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from fgl.core import outputs
from fgl.core.config.schema import RunConfig
from fgl.core.status import differences
from fgl.core.store.run_dir import RunDir
from fgl.errors import ConfigError, Problem

FILE = "settings.json"
_BESIDE = ("seed", "device", "baselines", "features", "evaluation", "audit", "privacy")
"""What no result of a comparison depends on, or what is told apart by itself."""
_NAMES = {"compare": "comparison", "sweep": "sweep"}


def check(
    folder: RunDir, settings: Mapping[str, RunConfig], methods: Sequence[str], seeds: Sequence[int], replace: bool
) -> str:
    """A line on earlier results that the tables will lack, "" where there are none. settings: "" or a setting's name →
    configuration. replace: whether results of other settings are to make way. Raises ConfigError where `folder` holds
    something else, or such results."""
    outputs.check(folder, replace)
    for config in settings.values():
        outputs.check_beside(config, folder.root)
    earlier = folder.read_sealed(folder.path(FILE))
    if earlier is None or earlier["kind"] != folder.kind:
        return ""
    mine = _kept(settings)
    changed = [
        f"{name}: {change}" if name else change
        for name, config in earlier["settings"].items()
        if name in mine
        for change in differences(config, mine[name])
    ]
    changed += [f"{name}: not among these settings" for name in earlier["settings"] if name not in mine]
    if changed and not replace:
        some = "; ".join(changed[:3]) + ("; …" if len(changed) > 3 else "")
        expected = (
            f"the {_NAMES[folder.kind]} there was made with other settings ({some}); expected another folder, or "
            "--replace, which lets these results take their place"
        )
        raise ConfigError([Problem("--out", str(folder.root), expected)], "the command line")
    lost = [
        f"{what} {', '.join(map(str, missing))}"
        for what, old, new in (("methods", earlier["methods"], methods), ("seeds", earlier["seeds"], seeds))
        if (missing := [one for one in old if one not in new])
    ]
    return f"the tables there leave out what an earlier call had: {'; '.join(lost)}; their runs stay" if lost else ""


@contextmanager
def opened(
    folder: RunDir, settings: Mapping[str, RunConfig], methods: Sequence[str], seeds: Sequence[int], replace: bool
) -> Iterator[str]:
    """Hold the folder, and note what its results are made with. Yields what `check` returns, and raises as it does;
    StoreError where another process holds it."""
    check(folder, settings, methods, seeds, replace)
    with folder.lock():
        note = check(folder, settings, methods, seeds, replace)
        if outputs.must_make_way(folder):
            outputs.clear(folder)
        record = {"kind": folder.kind, "settings": _kept(settings), "methods": list(methods), "seeds": list(seeds)}
        folder.write_sealed(folder.path(FILE), record)
        yield note


def _kept(settings: Mapping[str, RunConfig]) -> dict[str, dict[str, object]]:
    return {
        name: {key: value for key, value in config.to_dict().items() if key not in _BESIDE}
        for name, config in settings.items()
    }
