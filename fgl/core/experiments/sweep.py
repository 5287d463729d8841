"""Settings of a sweep: a grid over options, a list, or one of the ablations that ship with fgl."""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from fgl.core.config.loader import set_option
from fgl.core.config.schema import RunConfig
from fgl.core.experiments.method_results import MethodRow, SeedResult, spread
from fgl.core.report import metrics
from fgl.core.report.scores import ChanceLevels
from fgl.core.report.tables import Table
from fgl.core.store.owned import digest_of
from fgl.core.store.run_dir import RunDir
from fgl.core.store.typed import to_json
from fgl.errors import ConfigError, Problem, suggestion
from fgl.text import markdown as md

FOLDER = Path(__file__).parents[2] / "presets" / "ablations"


@dataclass(frozen=True, slots=True)
class Cell:
    """One setting. assignments: as for --set. layer: configuration below the user's own. values: for the result."""

    name: str
    assignments: tuple[str, ...] = ()
    layer: Mapping[str, object] = field(default_factory=dict)
    values: Mapping[str, object] = field(default_factory=dict)

    @property
    def folder(self) -> str:
        """A name for its folder: readable, and another for other settings whose letters are the same."""
        plain = re.sub(r"[^\w.=-]+", "-", self.name).strip("-")[:60]
        return f"{plain}-{hashlib.sha256(self.name.encode()).hexdigest()[:6]}"


@dataclass(frozen=True, slots=True)
class Ablation:
    title: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingRow:
    """The results of a setting: a row of the table."""

    setting: str
    """Its name."""
    values: Mapping[str, object]
    """What is varied, as it is set here."""
    seeds: Mapping[int, Mapping[str, SeedResult]]
    """Seed → method → its result."""
    test_set: ChanceLevels
    """What guesses would score on the test images."""
    methods: Sequence[MethodRow]
    """Over the seeds."""


def ablations() -> dict[str, Ablation]:
    """The paper's, by name."""
    by_name = {}
    for path in sorted(FOLDER.glob("*.yaml")):
        loaded = yaml.safe_load(path.read_text(encoding="utf-8"))
        cells_ = tuple(Cell(name, layer=layer or {}, values=layer or {}) for name, layer in loaded["settings"].items())
        by_name[path.stem] = Ablation(loaded["title"], cells_)
    return by_name


def cells(ablation: str | None, over: Sequence[str]) -> list[Cell]:
    """The settings of an ablation, or of a grid. Raises ConfigError where there are none or they cannot be read."""
    if (ablation is None) == (not over):
        expected = "expected either --ablation NAME or --over family.option=A,B"
        raise ConfigError([Problem("--over, --ablation", "both" if over else "neither", expected)], "the command line")
    if ablation is not None:
        known = ablations()
        if ablation not in known:
            expected = f"no such ablation{suggestion(ablation, known)} (known: {', '.join(known)})"
            raise ConfigError([Problem("--ablation", repr(ablation), expected)], "the command line")
        return list(known[ablation].cells)
    axes = [_axis(one) for one in over]
    keys = [key for key, _ in axes]
    if len(set(keys)) < len(keys):
        raise ConfigError([Problem("--over", ", ".join(keys), "expected each option once")], "the command line")
    grid = []
    for values in itertools.product(*(values for _, values in axes)):
        pairs = list(zip(keys, values, strict=True))
        # the option's last word is enough for a name, as long as it is the only one
        names = [key if len({k.split(".")[-1] for k in keys}) < len(keys) else key.split(".")[-1] for key in keys]
        name = ", ".join(f"{short} {value}" for short, (_, value) in zip(names, pairs, strict=True))
        grid.append(Cell(name, tuple(f"{key}={value}" for key, value in pairs), values=dict(pairs)))
    return grid


def check_different(ready: Sequence[tuple[Cell, RunConfig]]) -> None:
    """Raises ConfigError where two settings come to the same configuration, since something above them decides."""
    seen: dict[str, str] = {}
    for cell, config in ready:
        other = seen.setdefault(digest_of(config.to_dict()), cell.name)
        if other != cell.name:
            expected = "both come to the same: leave out the flag or line of the configuration that decides instead"
            raise ConfigError([Problem("--over, --ablation", f"{other!r} and {cell.name!r}", expected)])


def _axis(text: str) -> tuple[str, list[str]]:
    """family.option=A,B: values in YAML; commas within brackets or braces do not part them."""
    key, equals, rest = text.partition("=")
    values = [value.strip() for value in re.split(r",(?![^\[{]*[\]}])", rest)]
    if not equals or not key.strip() or not all(values):
        raise ConfigError([Problem("--over", repr(text), "expected family.option=A,B,…")], "the command line")
    if len(set(values)) < len(values):
        raise ConfigError([Problem("--over", repr(text), "expected values that differ")], "the command line")
    for value in values:
        set_option({}, f"{key.strip()}={value}")  # raises for a key that is none
    return key.strip(), values


def write(store: RunDir, cells_: Sequence[Cell], rows: Sequence[SettingRow]) -> dict[str, object]:
    """sweep.json and sweep.md; returns what the first holds."""
    summary = {
        "schema_version": 1,
        "folder": str(store.root),
        "settings": [
            {
                **to_json(row),
                "folder": cell.folder,
                "seeds": {str(seed): to_json(of_seed) for seed, of_seed in row.seeds.items()},
            }
            for cell, row in zip(cells_, rows, strict=True)
        ],
    }
    store.write_json(store.path("sweep.json"), summary)
    lines = [
        "# Sweep",
        "",
        *results_table(rows).markdown(),
        "",
        "Top-1 on real test images, mean ± standard deviation over seeds.",
    ]
    lines += [
        "",
        *(f"{md(line)}\n" for line in scales(rows)),
        *(f"{md(line)}\n" for line in unmoved(rows)),
        "![](sweep.png)",
        "",
    ]
    store.write(store.path("sweep.md"), "\n".join(lines).encode())
    return summary


def results_table(rows: Sequence[SettingRow]) -> Table:
    """A setting a row, a method a column."""
    cells_ = [(row.setting, *(spread(method.top1, method.seeds) for method in row.methods)) for row in rows]
    title = "Top-1 on real test images, mean ± standard deviation over seeds"
    return Table(("setting", *(method.title for method in rows[0].methods)), cells_, title=title)


def scales(rows: Sequence[SettingRow]) -> list[str]:
    """What top-1 is held against: one line, or one for each setting where settings have other test images."""
    scale_lines = [metrics.scale(row.test_set) for row in rows]
    if len(set(scale_lines)) == 1:
        return scale_lines[:1]
    return [f"{row.setting}: {line}" for row, line in zip(rows, scale_lines, strict=True)]


def unmoved(rows: Sequence[SettingRow]) -> list[str]:
    """A line for each method that every setting gives the same result, seed by seed: a table of equal figures would
    read as a finding."""
    lines = []
    for method in rows[0].methods if len(rows) > 1 else ():
        results = [
            {seed: (of_seed[method.method].top1, of_seed[method.method].curve) for seed, of_seed in row.seeds.items()}
            for row in rows
        ]
        if all(result == results[0] for result in results):
            lines.append(
                f"{method.title}: the same to the last digit at every setting. What was varied does not reach it, "
                "which is no finding about what it does."
            )
    return lines
