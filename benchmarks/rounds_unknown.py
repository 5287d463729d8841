"""Five rounds after the one-shot model beside five rounds of FedAvg, whatever the generator knows of the domain.

    python benchmarks/rounds_unknown.py --work DIR --data cifar10=DIR --data pacs=DIR --data eurosat --beta 0.1

A data set is the name of a bundled one, or a name and a folder with train.parquet, test.parquet and meta.json. Of each,
800 training and 2,000 test images are taken, evenly by class. All methods of a setting share split, model, seeds and
test images, in one process after another. `one-shot` is the start that there was before clients could choose.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

HERE = Path(__file__).resolve().parent
BUNDLED = HERE.parent / "fgl" / "plugins" / "datasets" / "bundled"
TAKEN = {"train": 800, "test": 2000}
EPOCHS, CLIENTS, ROUNDS = 2, 4, 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--data", action="append", required=True, metavar="NAME[=DIR]", help="repeatable")
    parser.add_argument("--beta", type=float, action="append", help="repeatable; default: 0.1")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--images-per-class", type=int, default=40)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "rounds_unknown.json")
    args = parser.parse_args()
    settings: list[dict[str, Any]] = json.loads(args.out.read_text())["settings"] if args.out.exists() else []
    for given in args.data:
        name, _, source = given.partition("=")
        folder = args.work / "data" / name
        take(Path(source) if source else BUNDLED / name, folder)
        for beta in args.beta or [0.1]:
            setting = {"data": name, "beta": beta, "seeds": args.seeds, "images_per_class": args.images_per_class}
            settings = [one for one in settings if any(one[key] != setting[key] for key in ("data", "beta"))]
            settings.append({**setting, **measure(folder, args.work / f"{name}-{beta}", beta, args)})
            print(json.dumps(settings[-1]), flush=True)
            args.out.write_text(json.dumps(result(settings), indent=1) + "\n")


def result(settings: list[dict[str, Any]]) -> dict[str, Any]:
    fixed = {"images": TAKEN, "clients": CLIENTS, "rounds": ROUNDS, "local_epochs": EPOCHS, "classifier": "small"}
    command = "python benchmarks/rounds_unknown.py --work DIR --data NAME[=DIR] --beta B --seeds N"
    return {"command": command, **fixed, "generator": "tiny", "settings": settings}


def measure(data: Path, work: Path, beta: float, args: argparse.Namespace) -> dict[str, Any]:
    """Top-1 of each method by seed, and what the clients chose."""
    chosen = compare(data, work, beta, args, f"fgl,fgl-{ROUNDS}round,fedavg", "auto")
    before = compare(data, work, beta, args, f"fgl,fgl-{ROUNDS}round", "one-shot")
    # the record of the stage is of the last call: ask for the choice again, which reuses all rounds
    compare(data, work, beta, args, f"fgl-{ROUNDS}round", "auto")
    starts = []
    for seed in range(args.seeds):
        record = json.loads(next(work.glob(f"seed-{seed}/stages/method*fgl-{ROUNDS}round*.json")).read_text())
        starts.append(record["value"]["start"])
    rounds = [seed[f"fgl-{ROUNDS}round"] for seed in chosen.values()]
    fedavg = [seed["fedavg"] for seed in chosen.values()]
    found: dict[str, Any] = {
        "one_shot": [seed["fgl"]["top1"] for seed in chosen.values()],
        "rounds_from_one_shot": [seed[f"fgl-{ROUNDS}round"]["top1"] for seed in before.values()],
        "rounds": [one["top1"] for one in rounds],
        "fedavg": [one["top1"] for one in fedavg],
        "bytes": {"rounds": [one["bytes"] for one in rounds], "fedavg": [one["bytes"] for one in fedavg]},
        "start": [{key: one[key] for key in ("chosen", "reason")} for one in starts],
    }
    differences = [a - b for a, b in zip(found["rounds"], found["fedavg"], strict=True)]
    return {**found, "rounds_less_fedavg": round(statistics.mean(differences), 4)}


def compare(data: Path, work: Path, beta: float, args: argparse.Namespace, methods: str, start: str) -> dict[str, Any]:
    options = ["--dataset", str(data), "--methods", methods, "--seeds", str(args.seeds), "--rounds", str(ROUNDS),
               "--beta", str(beta), "--clients", str(CLIENTS), "--images-per-class", str(args.images_per_class),
               "--set", f"rounds.local_epochs={EPOCHS}", "--set", f"rounds.start={start}", "--out", str(work),
               "--replace", "--json", "--quiet"]  # fmt: skip
    program = Path(sys.executable).with_name("fgl")
    done = subprocess.run([str(program), "compare", *options], check=True, stdout=subprocess.PIPE)
    each: dict[str, Any] = json.loads(done.stdout)["each"]
    return each


def take(source: Path, folder: Path) -> None:
    """Some images of each class of a data set, by a fixed seed, as a data set of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(source / "meta.json", folder / "meta.json")
    for split, count in TAKEN.items():
        names = [name for name in (split, "private") if (source / f"{name}.parquet").exists()]
        table = pq.read_table(source / f"{names[0]}.parquet")
        labels, draw = table.column("label").to_numpy(), np.random.default_rng(0)
        each = count // (int(labels.max()) + 1)
        rows = [draw.permutation(np.flatnonzero(labels == label))[:each] for label in np.unique(labels)]
        pq.write_table(table.take(np.sort(np.concatenate(rows))), folder / f"{split}.parquet")


if __name__ == "__main__":
    main()
