"""Run the pieces of the evidence, resumable, and write docs/evidence.md from what there is.

    python benchmarks/evidence/run.py --list
    python benchmarks/evidence/run.py --work DIR --piece eurosat-0.01 [--seed N ...] [--methods A,B] [--data DATA]
    python benchmarks/evidence/run.py --report

A piece (pieces.yaml) is one comparison (`fgl.core.experiments.comparison`), or one for each setting of an ablation;
killed, it resumes.
Its raw result goes to benchmarks/evidence/results/<piece>.json with the command, versions and processor. With --seed
and --methods a part of a piece runs, and what it gives joins what is in that file, if it was asked for in the same way:
a piece may take many sittings.
docs/evidence.md is generated from those files and from the findings in pieces.yaml. DATA is the folder that holds data
sets which may not be copied into this repository; a piece that needs it says so.
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
import yaml
from rich.console import Console

import fgl
from fgl.console import progress
from fgl.core.baselines import BASELINES, compared
from fgl.core.config.loader import set_option
from fgl.core.config.resolve import resolve
from fgl.core.config.saved import load_config
from fgl.core.config.schema import RunConfig
from fgl.core.experiments import comparison, method_results, sweep
from fgl.core.experiments.methods import Method, parse
from fgl.core.plugin_manager import PluginManager
from fgl.core.report.intervals import student
from fgl.core.store.run_dir import RunDir
from fgl.core.store.typed import from_json, to_json
from fgl.plots.comparisons import save_comparison
from fgl.text import counted

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
FIGURES = ROOT / "docs" / "evidence"
_OWN = shutil.ignore_patterns("rounds", "baselines", "ledger", "round-*.json", "clients.json")
"""Not taken over from an earlier setting: what was trained, and what clients answered, whose noise is of its price."""
FOLDED = ("dataset", "partition", "prompt_strategy")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, help="folder for the runs")
    parser.add_argument("--data", type=Path, help="folder with data sets that are not in this repository")
    parser.add_argument("--list", action="store_true", help="print the pieces and stop")
    parser.add_argument("--piece", action="append", default=[], help="repeatable")
    parser.add_argument("--seed", type=int, action="append", default=[], help="repeatable; default: all of the piece's")
    parser.add_argument("--methods", help="separated by commas; default: all of the piece's")
    parser.add_argument("--report", action="store_true", help="write docs/evidence.md")
    args = parser.parse_args()
    known = pieces()
    if args.list:
        for name, piece in known.items():
            print(f"{name}: {', '.join(piece['methods'])}{' (' + piece['scale'] + ')' if 'scale' in piece else ''}")
        return
    if args.piece and args.work is None:
        parser.error("--piece needs --work")
    for name in args.piece:
        if name not in known:
            parser.error(f"--piece {name}: no such piece (known: {', '.join(known)})")
        run(name, known[name], args)
    if args.report:
        (ROOT / "docs" / "evidence.md").write_text(report(known, FIGURES))


def pieces() -> dict[str, dict[str, Any]]:
    """The pieces, each with what is common to all, and what it takes from another."""
    loaded = yaml.safe_load((HERE / "pieces.yaml").read_text())
    found: dict[str, dict[str, Any]] = {}
    for name, piece in loaded["pieces"].items():
        base = found[piece["in"]] if "in" in piece else {**loaded["common"], "folder": name}
        found[name] = {**base, **{key: value for key, value in piece.items() if key != "in"}}
    return found


def run(name: str, piece: Mapping[str, Any], args: argparse.Namespace) -> None:
    manager, seeds = PluginManager.load(), args.seed or list(range(piece["seeds"]))
    wanted = args.methods.split(",") if args.methods else piece["methods"]
    made: dict[str, Any] = {
        "piece": name,
        "seeds": seeds,
        "command": _command(name, args),
        "versions": {"fgl": fgl.__version__, "torch": torch.__version__, "python": platform.python_version()},
        "threads": torch.get_num_threads(),
        "machine": platform.machine(),
        "settings": [],
        "dataset": piece["dataset"],
        "asked": {key: piece[key] for key in (*FOLDED, "base", "set", "rounds") if key in piece},
    }
    before: Path | None = None if not piece.get("like") else args.work / pieces()[piece["like"]]["folder"]
    for setting, folder, config in settings(piece, args, manager):
        configured = partial(load_config, config, manager)
        methods = parse(wanted, piece["rounds"], manager, config, configured)
        found = {}
        for seed in seeds:
            place = folder / f"seed-{seed}"
            if before is not None and not place.exists() and (before / place.name).exists():
                shutil.copytree(before / place.name, place, ignore=_OWN)
            found[seed] = seed_of(name, setting, config, methods, manager, place, seed)
        if setting:
            before = folder
        config_ = config.to_dict()
        if piece["dataset"].startswith("DATA/"):
            config_["dataset"]["path"] = piece["dataset"]  # not where it lay
        every = parse(piece["methods"], piece["rounds"], manager, config, configured)
        made["settings"].append({"setting": setting, "partition": config_["partition"], "config": config_})
        _join(made, made["settings"][-1], found, every)
    path = HERE / "results" / f"{name}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(made, indent=1) + "\n")


def _join(
    made: dict[str, Any],
    setting: dict[str, Any],
    found: Mapping[int, Mapping[str, method_results.SeedResult]],
    methods: Sequence[Method],
) -> None:
    """Put what a sitting found beside what earlier ones did, and sum it up. made: the result, with this sitting's."""
    each: dict[int, dict[str, method_results.SeedResult]] = {seed: dict(of_seed) for seed, of_seed in found.items()}
    path = HERE / "results" / f"{made['piece']}.json"
    earlier = json.loads(path.read_text()) if path.exists() else {}
    if earlier and earlier.get("asked") == made["asked"]:
        [same] = [one for one in earlier["settings"] if one["setting"] == setting["setting"]]
        for seed, of_seed in same["each"].items():
            known = {method: from_json(method_results.SeedResult, result) for method, result in of_seed.items()}
            each[int(seed)] = {**known, **each.get(int(seed), {})}
    each = dict(sorted(each.items()))
    made["seeds"] = list(each)
    rows = []
    for method in methods:
        of_method = {seed: of_seed for seed, of_seed in each.items() if method.name in of_seed}
        rows += comparison.summarize([method], of_method) if of_method else []
    setting |= {"methods": to_json(rows), "each": to_json(each)}


def seed_of(
    name: str,
    setting: str,
    config: RunConfig,
    methods: Sequence[Method],
    manager: PluginManager,
    place: Path,
    seed: int,
) -> dict[str, method_results.SeedResult]:
    console = Console(stderr=True)
    said = f"{name}{', ' + setting if setting else ''}, seed {seed}"
    with progress(console) as display:
        one = config.model_copy(update={"seed": seed})
        return comparison.run_seed(
            one, methods, manager, RunDir(place), display, lambda method: console.print(f"{said}: {method.title}")
        )


def settings(
    piece: Mapping[str, Any], args: argparse.Namespace, manager: PluginManager
) -> Iterator[tuple[str, Path, RunConfig]]:
    """(name, folder, configuration) of each setting; one without a name where nothing is varied."""
    layers: list[dict[str, Any]] = [{key: piece[key] for key in FOLDED if key in piece}]
    if piece["dataset"].startswith("DATA/"):
        if args.data is None:
            sys.exit(f"{piece['dataset']} may not be copied into this repository: say where it lies with --data")
        layers[0]["dataset"] = str(args.data / piece["dataset"].removeprefix("DATA/"))
    layers.append(_layer([*piece["base"], *piece.get("set", ())]))
    folder = args.work / piece["folder"]
    if not piece.get("over") and "ablation" not in piece:
        yield "", folder, resolve(layers, manager.registry, "pieces.yaml")
        return
    for cell in sweep.cells(piece.get("ablation"), piece.get("over") or ()):
        own = [*layers, dict(cell.layer), _layer(cell.assignments)]
        yield cell.name, folder / cell.folder, resolve(own, manager.registry, "pieces.yaml")


def _layer(assignments: Sequence[str]) -> dict[str, Any]:
    layer: dict[str, Any] = {}
    for assignment in assignments:
        set_option(layer, assignment)
    return layer


def _command(name: str, args: argparse.Namespace) -> str:
    """What gives all of it again, whatever this sitting was for."""
    words = ["python", "benchmarks/evidence/run.py", "--work", "DIR", "--piece", name]
    words += ["--data", "DATA"] if args.data else []
    return " ".join(words)


def report(known: Mapping[str, Mapping[str, Any]], pictures: Path) -> str:
    """docs/evidence.md. pictures: folder for its figures."""
    loaded = yaml.safe_load((HERE / "pieces.yaml").read_text())
    about = (
        "Generated by `python benchmarks/evidence/run.py --report` from `benchmarks/evidence/results/` and the "
        "findings in `benchmarks/evidence/pieces.yaml`; do not edit. The generator is `tiny`, trained on data of the "
        "same kind as the clients' unless stated otherwise: this is evidence about the method's mechanics on a small "
        "model, not about SDXL. Test images are real, and nothing was selected by them; learning rates of local "
        "training were chosen on the public split (`benchmarks/evidence/tune.py`). [comparing.md](comparing.md) "
        "explains the columns; differences are paired by seed, with 95 % intervals by Student's t, which are wide "
        "for three seeds. Seconds were measured with one thread on a machine that also did other work, and include "
        "tests and commits; images that an earlier piece made are not counted again."
    )
    lines = ["# Evidence", "", textwrap.fill(about, 120, break_on_hyphens=False), ""]
    lines += [*loaded.get("summary", "").strip().splitlines(), ""]
    missing = []
    for name, piece in known.items():
        path = HERE / "results" / f"{name}.json"
        if not path.exists():
            missing.append(name)
            continue
        lines += section(name, piece, json.loads(path.read_text()), pictures)
        lines += [*finding.strip().splitlines(), ""] if (finding := loaded.get("findings", {}).get(name)) else []
    if missing:
        lines += [
            "## Not run yet",
            "",
            f"{', '.join(missing)}: their figures are not here, and nothing is claimed.",
            "",
        ]
    return "\n".join(lines)


def section(name: str, piece: Mapping[str, Any], one: Mapping[str, Any], pictures: Path) -> list[str]:
    """A piece's table, with how it was made."""
    first, count = one["settings"][0], len(one["seeds"])
    options = first["partition"]["options"] if "options" in first["partition"] else first["partition"]
    varied = bool(first["setting"])
    rows = [_row(row, piece) for row in first["methods"]]
    how = ", ".join(f"{key} {value}" for key, value in options.items() if key in ("clients", "beta") and value)
    how = "" if varied or not how else f" ({how})"
    seeds = f"{count} seed{'s' * (count > 1)}"
    lines = [
        f"## {name}",
        "",
        f"{one['dataset']}{'' if varied else ', ' + first['partition']['name'] + how}, {seeds}"
        f"{'; ' + piece['scale'] if 'scale' in piece else ''}. {one['threads']} thread"
        f"{'s' * (one['threads'] > 1)}. `{one['command']}`",
        "",
    ]
    if varied:
        titles = [row.title for row in rows]
        change = "change of the last method from the first setting, points"
        lines += [f"| {piece.get('axis', 'setting')} | {' | '.join(titles)} | {change} |"]
        lines += ["|---" * (len(titles) + 2) + "|"]
        for setting in one["settings"]:
            cells = [method_results.spread(row.top1, row.seeds) for row in map(_row, setting["methods"])]
            lines.append(f"| {setting['setting']} | {' | '.join(cells)} | {_against(first, setting)} |")
    elif piece.get("field"):
        lines += field_table(rows, yaml.safe_load((HERE / "pieces.yaml").read_text())["leaves"])
        missing = [method for method in piece["methods"] if method not in {row.method for row in rows}]
        lines += ["", f"Not run yet: {', '.join(missing)}."] if missing else []
    else:
        lines += [f"| {' | '.join(method_results.COLUMNS)} |", "|---" * len(method_results.COLUMNS) + "|"]
        lines += [f"| {' | '.join(method_results.cells_of(row))} |" for row in rows]
        lines += against_best(first)
        lines += figures(name, one, pictures)
    return [*lines, ""]


def field_table(rows: Sequence[method_results.MethodRow], leaves: Mapping[str, str]) -> list[str]:
    """Methods against what they cost the clients, the best first. leaves: method → what leaves a client."""
    columns = ("method", "top-1", "best round", "bytes up", "s at a client", "what leaves a client")
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    most = max(row.seeds for row in rows)
    for row in sorted(rows, key=lambda row: -row.top1.mean):
        cells = dict(zip(method_results.COLUMNS, method_results.cells_of(row), strict=True))
        shown = [row.title, *(cells[name] for name in columns[1:-1]), leaves[row.method]]
        if row.seeds < most:
            shown[1] += f" ({counted(row.seeds, 'seed')})"
        lines.append(f"| {' | '.join(shown)} |")
    return lines


def figures(name: str, one: Mapping[str, Any], folder: Path) -> list[str]:
    """Curves of a piece that has long ones."""
    [setting] = one["settings"]
    titles = {row["method"]: row["title"] for row in setting["methods"]}
    if max(len(found["curve"]) for each in setting["each"].values() for found in each.values()) < 20:
        return []
    folder.mkdir(exist_ok=True)
    what = f"{one['dataset']}, {len(one['seeds'])} seeds"
    paths = save_comparison(folder, titles, setting["each"], what, (".svg",), name)
    return ["", *(f"![{path.stem}]({FIGURES.name}/{path.name})" for path in paths)]


def _row(recorded: Mapping[str, Any], piece: Mapping[str, Any] | None = None) -> method_results.MethodRow:
    """A method's row. A baseline has today's title, whatever it was called when the piece ran; a piece whose
    configuration makes another method of `fgl` says which (`titles`)."""
    row = from_json(method_results.MethodRow, recorded)
    if piece is not None and row.method in piece.get("titles", {}):
        return replace(row, title=piece["titles"][row.method])
    return replace(row, title=BASELINES[row.method].title) if row.method in compared() else row


def _against(first: Mapping[str, Any], setting: Mapping[str, Any]) -> str:
    """The last method's difference to its own figure in the first setting."""
    if setting is first:
        return ""
    name = first["methods"][-1]["method"]
    pairs = [(setting["each"][seed][name]["top1"], first["each"][seed][name]["top1"]) for seed in first["each"]]
    return interval([a - b for a, b in pairs])


def against_best(setting: Mapping[str, Any]) -> list[str]:
    """fgl's one round against the best round of each federated baseline, chosen by the test images."""
    lines: list[str] = []
    for row in setting["methods"]:
        if row["reached"] is None:
            continue
        each = [setting["each"][seed] for seed in setting["each"]]
        best = [max(point[1] for point in one[row["method"]]["curve"]) for one in each]
        differences = [one["fgl"]["top1"] - top for one, top in zip(each, best, strict=True)]
        ratio = row["bytes"] / next(one["bytes"] for one in setting["methods"] if one["method"] == "fgl")
        lead = f"fgl's one round minus the best round of {row['title']}, points: {interval(differences)}"
        passes = setting["config"]["rounds"]["local_epochs"] * each[0][row["method"]]["curve"][-1][0]
        pace = f"{passes} passes over the clients' images, {passes / row['seconds']:.2f} per second"
        lines += ["", f"{lead}; {row['title']}, takes {ratio:,.0f} times the bytes; {pace}."]
    return lines


def interval(differences: Sequence[float]) -> str:
    found = student(differences)
    if found.low is None or found.high is None:
        return f"{100 * found.mean:+.1f}"
    return f"{100 * found.mean:+.1f} ({100 * found.low:+.1f} to {100 * found.high:+.1f})"


if __name__ == "__main__":
    main()
