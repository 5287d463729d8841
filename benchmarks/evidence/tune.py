"""Choose the learning rate of local training, without a test image and without an image of a client.

    python benchmarks/evidence/tune.py --work DIR --dataset eurosat [--rounds 20]

What the generator was trained on (the `public` split) is parted into 70 % that five clients share by Dirichlet 0.01,
and 30 % to judge by. FedAvg from fresh weights, one seed. The choice goes into pieces.yaml by hand.
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
RATES = (4e-3, 1e-3, 3e-4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--dataset", default="eurosat")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=1)
    args = parser.parse_args()
    data = args.work / f"tune-{args.dataset}"
    part(args.dataset, data)
    result = HERE / "results" / f"tune-{args.dataset}.json"
    found = json.loads(result.read_text())["settings"] if result.exists() else []
    for rate in RATES:
        out = args.work / f"tune-{args.dataset}-{rate}-{args.epochs}"
        command = ["fgl", "compare", "--dataset", str(data), "--methods", "fedavg", "--seeds", "1", "--beta", "0.01",
                   "--rounds", str(args.rounds), "--set", f"rounds.local_epochs={args.epochs}", "--set",
                   f"rounds.local.lr={rate}", "--set", "rounds.evaluate_every=5", "--out", str(out), "--json",
                   "--quiet"]  # fmt: skip
        done = subprocess.run(
            [str(Path(sys.executable).with_name("fgl")), *command[1:]], check=True, capture_output=True
        )
        [row] = json.loads(done.stdout)["methods"]
        setting = {"lr": rate, "local_epochs": args.epochs, "rounds": args.rounds}
        found = [one for one in found if any(one[key] != value for key, value in setting.items())]
        found.append({**setting, "last": row["top1"], "best": row["best"]})
        print(found[-1], flush=True)
        command_ = " ".join(["python", "benchmarks/evidence/tune.py", "--work", "DIR", *sys.argv[3:]])
        result.write_text(json.dumps({"command": command_, "settings": found}, indent=1) + "\n")


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
