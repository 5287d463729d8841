"""What learned prompts are worth where the generator does not know the classes by name.

    python benchmarks/learned.py --dataset FOLDER --name cifar10 --out benchmarks/results/learned_cifar10.json
    python benchmarks/learned.py --dataset FOLDER --name pacs --set prompt_strategy.rows_per_class=2 --work DIR

FOLDER has train.parquet and test.parquet. Each seed is a whole run (`fgl.run`) with two clients that hold equal shares
of every class, and beside it the baseline class-list: class-name prompts that need no client. Top-1 is on real test
images, bytes are those of the uploads. With --work the runs are kept, and resumed.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

import fgl
from fgl.core.config.loader import set_option


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", required=True, help="folder with train.parquet and test.parquet")
    parser.add_argument("--name", required=True, help="of the data, for the results")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--images-per-class", type=int, default=60)
    parser.add_argument("--set", dest="sets", action="append", default=[], metavar="KEY=VALUE", help="as of fgl run")
    parser.add_argument("--work", type=Path, help="where to keep the runs")
    parser.add_argument("--out", type=Path, help="result file (JSON)")
    args = parser.parse_args()
    runs = []
    for seed in range(args.first_seed, args.first_seed + args.seeds):
        config: dict[str, Any] = {
            "seed": seed,
            "dataset": args.dataset,
            "partition": {"name": "iid", "clients": 2},
            "prompt_strategy": {"name": "learned"},
            "upload": {"codec": "int8"},
            "generator": {"name": "tiny"},
            "synthesis": {"images_per_class": args.images_per_class},
            "baselines": ["class-list"],
        }
        for assignment in args.sets:
            set_option(config, assignment)
        with tempfile.TemporaryDirectory() as folder:
            out = args.work / f"{args.name}-{seed}" if args.work else Path(folder)
            report = fgl.run(config, out=out, progress=True).to_dict()
            notes = [
                json.loads(path.read_text())["notes"] for path in sorted(out.glob("clients/*/private/summary.json"))
            ]
        runs.append(
            {
                "seed": seed,
                "top1": report["result"]["selected"]["top1"],
                "class_list": [baseline["top1"] for baseline in report["baselines"]],
                "bytes": report["upload"]["bytes_total"],
                "rows": report["upload"]["prompts"],
                "clients": notes,
                "seconds": report["seconds"],
                "digest": report["synthetic"]["digest"],
                "settings": {key: report["config"][key] for key in ("prompt_strategy", "upload", "synthesis")},
            }
        )
        sys.stdout.write(json.dumps(runs[-1]) + "\n")
    given = ["FOLDER" if before == "--dataset" else word for before, word in zip(sys.argv, sys.argv[1:], strict=False)]
    given = ["DIR" if before == "--work" else word for before, word in zip(["", *given], given, strict=False)]
    summary = {
        "command": " ".join(["python", "benchmarks/learned.py", *given]),
        "data": args.name,
        "mean_top1": round(statistics.mean(run["top1"] for run in runs), 4),
        "mean_class_list": round(statistics.mean(run["class_list"][0] for run in runs), 4),
        "threads": torch.get_num_threads(),
        "machine": platform.machine(),
        "torch": torch.__version__,
        "runs": runs,
    }
    if args.out:
        args.out.write_text(json.dumps(summary, indent=1) + "\n")


if __name__ == "__main__":
    main()
