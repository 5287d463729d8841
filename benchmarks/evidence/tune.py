"""Choose the learning rate of local training, without a test image and without an image of a client.

    python benchmarks/evidence/tune.py --work DIR --beta 0.01 --method fedavg --rounds 20
    python benchmarks/evidence/tune.py --work DIR --beta 0.5 --method fgl-5round --epochs 5

What the generator was trained on (the `public` split) is parted into 70 % that five clients share, and 30 % to judge
by. One seed. The choice goes into pieces.yaml by hand.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

HERE = Path(__file__).resolve().parent
BUNDLED = HERE.parent.parent / "fgl" / "plugins" / "datasets" / "bundled"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--dataset", default="eurosat")
    parser.add_argument("--method", default="fedavg", help="fedavg, or fgl-Nround")
    parser.add_argument("--beta", type=float, default=0.01)
    parser.add_argument("--rounds", type=int, default=20, help="of fedavg")
    parser.add_argument("--epochs", type=int, default=1, help="passes of a client in a round")
    parser.add_argument("--rate", type=float, action="append", help="repeatable; default: 1e-3, 3e-4, 1e-4")
    args = parser.parse_args()
    data = args.work / f"tune-{args.dataset}"
    part(args.dataset, data)
    result = HERE / "results" / f"tune-{args.dataset}.json"
    result.parent.mkdir(exist_ok=True)
    found = json.loads(result.read_text()) if result.exists() else []
    rounds = args.rounds if args.method == "fedavg" else 1
    for rate in args.rate or (1e-3, 3e-4, 1e-4):
        out = args.work / f"tune-{args.dataset}-{args.method}-{args.beta}-{args.epochs}"
        methods = args.method if args.method == "fedavg" else f"fgl,{args.method}"
        options = ["--dataset", str(data), "--methods", methods, "--seeds", "1", "--beta", str(args.beta), "--rounds",
                   str(rounds), "--set", f"rounds.local_epochs={args.epochs}", "--set", f"rounds.local.lr={rate}",
                   "--set", "rounds.evaluate_every=1", "--out", str(out), "--json", "--quiet"]  # fmt: skip
        program = Path(sys.executable).with_name("fgl")
        done = subprocess.run([str(program), "compare", *options], check=True, stdout=subprocess.PIPE)
        each = json.loads(done.stdout)["each"]["0"]
        setting = {"method": args.method, "beta": args.beta, "lr": rate, "local_epochs": args.epochs, "rounds": rounds}
        found = [one for one in found if any(one[key] != value for key, value in setting.items())]
        found.append({**setting, "top1": [point[1] for point in each[args.method]["curve"]]})
        print(found[-1], flush=True)
        result.write_text(json.dumps(found, indent=1) + "\n")


def part(name: str, folder: Path) -> None:
    """The public split as a dataset of its own: 70 % train, 30 % test, by a fixed seed."""
    folder.mkdir(parents=True, exist_ok=True)
    table = pq.read_table(BUNDLED / name / "public.parquet")
    order = np.random.default_rng(0).permutation(table.num_rows)
    cut = int(0.7 * len(order))
    pq.write_table(table.take(np.sort(order[:cut])), folder / "train.parquet")
    pq.write_table(table.take(np.sort(order[cut:])), folder / "test.parquet")
    (folder / "meta.json").write_bytes((BUNDLED / name / "meta.json").read_bytes())


if __name__ == "__main__":
    main()
