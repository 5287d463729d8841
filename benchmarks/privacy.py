"""What two runs give away: membership against FedAvg and centralized training, memorized images, inverted uploads.

    python benchmarks/privacy.py --work DIR --out benchmarks/results/privacy.json --picture docs/images/privacy-roc.svg

The same clients, seeds and halves with class-name and with attribute prompts, by `fgl run` and `fgl audit` in
separate processes. FedAvg and centralized training are attacked once: they do not depend on prompts. A killed script
resumes where it stopped. docs/privacy.md explains what is measured.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

RUNS = {"attributes": "fgl,fedavg,centralized", "class-name": "fgl"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="where the runs go, and are gone on with")
    parser.add_argument("--dataset", default="eurosat", choices=["eurosat", "fashion_mnist"])
    parser.add_argument("--per-class", type=int, default=120, help="training images of each class, over all clients")
    parser.add_argument("--images-per-class", type=int, default=40)
    parser.add_argument("--shadows", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--local-epochs", type=int, default=3)
    parser.add_argument("--beta", type=float, default=0.5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--parts", default="membership,memorization,uploads")
    parser.add_argument("--out", type=Path, help="result file (JSON)")
    parser.add_argument("--picture", type=Path, help="where to copy the curves of the first run to (SVG)")
    args = parser.parse_args()
    found: dict[str, Any] = {
        "command": " ".join(["python", "benchmarks/privacy.py", *sys.argv[1:]]).replace(str(args.work), "DIR"),
        "threads": torch.get_num_threads(),
        "cores": len(os.sched_getaffinity(0)),
        "machine": platform.machine(),
        "torch": torch.__version__,
        "runs": {},
    }
    for strategy, methods in RUNS.items():
        run = args.work / strategy
        result = fgl(
            "run", "--dataset", f"bundled:{args.dataset}", "--prompt-strategy", strategy, "--beta", str(args.beta),
            "--seed", str(args.seed), "--images-per-class", str(args.images_per_class),
            "--set", f"dataset.max_per_class={args.per_class}", "--set", f"rounds.local_epochs={args.local_epochs}",
            "--set", "baselines=none", "--out", str(run),
        )  # fmt: skip
        audit = fgl(
            "audit",
            str(run),
            "--parts",
            args.parts,
            "--methods",
            methods,
            "--shadows",
            str(args.shadows),
            "--rounds",
            str(args.rounds),
        )
        found["runs"][strategy] = {
            "top1": result["result"]["selected"]["top1"],
            "samples": result["partition"]["samples"],
            "conditionings": result["synthetic"]["conditionings"],
            "audit": audit,
        }
        if args.picture is not None and "fedavg" in methods:
            shutil.copyfile(run / "audit" / "roc.svg", args.picture)
    if args.out is not None:
        args.out.write_text(json.dumps(found, indent=1) + "\n")


def fgl(*words: str) -> dict[str, Any]:
    """A command of fgl, with --json; its progress goes to stderr."""
    code = "from fgl.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code, *words, "--json"], stdout=subprocess.PIPE, check=True)
    return dict(json.loads(done.stdout))


if __name__ == "__main__":
    main()
