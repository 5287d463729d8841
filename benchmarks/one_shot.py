"""The marks of the embedded generator: one round, class-name prompts, 5 clients, Dirichlet 0.01, several seeds.

    python benchmarks/one_shot.py --dataset eurosat --seeds 3 --out benchmarks/results/one_shot_eurosat.json
    python benchmarks/one_shot.py --images-per-class 640 --set generator.num_inference_steps=32 --work DIR

Each seed is a whole run (`fgl.run`): its own partition, synthetic images and classifier. Top-1 is of the selected
checkpoint on the bundled real test images. With --centralized, the ceiling is measured too. With --work they
are kept, and gone on with where they stopped.
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
from rich.console import Console

import fgl
from fgl.core.config.loader import set_option


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="eurosat", choices=["eurosat", "fashion_mnist", "emoji"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--images-per-class", type=int, default=160)
    parser.add_argument("--prompt-strategy", default="class-name")
    parser.add_argument("--classifier", default="small")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--set", dest="sets", action="append", default=[], metavar="KEY=VALUE", help="as of fgl run")
    parser.add_argument("--work", type=Path, help="where to keep the runs")
    parser.add_argument("--centralized", action="store_true", help="also train on the pooled real data of all clients")
    parser.add_argument("--out", type=Path, help="result file (JSON)")
    args = parser.parse_args()
    runs = []
    for seed in range(args.first_seed, args.first_seed + args.seeds):
        config: dict[str, Any] = {
            "seed": seed,
            "dataset": f"bundled:{args.dataset}",
            "prompt_strategy": args.prompt_strategy,
            "generator": {"name": "tiny"},
            "classifier": args.classifier,
            "synthesis": {"images_per_class": args.images_per_class},
            "baselines": ["centralized"] if args.centralized else [],
        }
        for assignment in args.sets:
            set_option(config, assignment)
        with tempfile.TemporaryDirectory() as folder:
            result = fgl.run(config, out=args.work / f"{args.dataset}-{seed}" if args.work else folder)
        one = {
            "seed": seed,
            "selected": result["result"]["selected"]["top1"],
            "last": result["result"]["last"]["top1"],
            "per_class": result["result"]["per_class"],
            "bytes": result["upload"]["bytes_total"],
            "seconds": result["seconds"],
            "digest": result["synthetic"]["digest"],
            "centralized": [baseline["top1"] for baseline in result["baselines"]],
        }
        runs.append(one)
        Console().print(
            f"seed {seed}: selected {one['selected']:.1%}, last {one['last']:.1%}, centralized {one['centralized']}"
        )
    selected = [one["selected"] for one in runs]
    said = ["DIR" if before == "--work" else word for before, word in zip(sys.argv, sys.argv[1:], strict=False)]
    summary = {
        "command": " ".join(["python", "benchmarks/one_shot.py", *said]),
        "mean_top1": round(statistics.mean(selected), 4),
        "stdev": round(statistics.pstdev(selected), 4),
        "threads": torch.get_num_threads(),
        "machine": platform.machine(),
        "torch": torch.__version__,
        "runs": runs,
    }
    Console().print(f"{args.dataset}: mean {summary['mean_top1']:.1%} over {len(runs)} seeds")
    if args.out is not None:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(summary, indent=1) + "\n")


if __name__ == "__main__":
    main()
