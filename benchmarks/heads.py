"""Heads on features beside fgl's one-shot model: top-1, bytes that clients send, and seconds, on a bundled dataset.

    python benchmarks/heads.py --seeds 3 --out benchmarks/results/heads_eurosat.json

fgl and the three heads with their default space are one comparison (`fgl.compare`: the same split and test images for
all). Then the heads again with other feature spaces; `public` is a classifier `small` that was trained here on the
dataset's public split, which no client holds, and saved to a folder.
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

import fgl
from fgl.contracts.classifier import FitContext
from fgl.contracts.dataset import LabelledPixels

HEADS = ("analytic", "gaussian", "fedpft")


def public_model(dataset: str, folder: Path) -> None:
    """Train `small` on the public split, and save it as fgl exports a classifier."""
    data = fgl.create("dataset", "bundled", subset=dataset)
    split, names = data.split("public"), data.info().class_names
    pixels = np.stack([np.asarray(split.image(index)) for index in range(len(split))])
    context = FitContext(class_names=names, seed=0, device="cpu")
    fgl.create("classifier", "small").fit(LabelledPixels(pixels, split.labels), None, context).save(folder, "last")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="eurosat", choices=["eurosat", "fashion_mnist", "emoji"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--beta", type=float, default=0.01, help="skew of the split")
    parser.add_argument("--without-fgl", action="store_true", help="heads alone, which take seconds")
    parser.add_argument("--work", type=Path, help="where to keep the runs")
    parser.add_argument("--out", type=Path, help="result file (JSON)")
    args = parser.parse_args()
    work = args.work or Path(tempfile.mkdtemp())
    base: dict[str, Any] = {
        "dataset": f"bundled:{args.dataset}",
        "partition": {"name": "dirichlet", "beta": args.beta},
    }
    methods = HEADS if args.without_fgl else ("fgl", *HEADS)
    compared = fgl.compare(base, methods=methods, seeds=args.seeds, out=work / "compare").data
    rows = [_row(one["method"], "random-filters", one) for one in compared["methods"]]
    if not (work / "extractor").exists():
        public_model(args.dataset, work / "extractor")
    for space in ("pixels", "public"):
        options = {"space": "image-model", "model": str(work / "extractor")} if space == "public" else {"space": space}
        config = {**base, "baseline_options": dict.fromkeys(HEADS, options)}
        again = fgl.compare(config, methods=HEADS, seeds=args.seeds, out=work / space).data
        rows += [_row(one["method"], space, one) for one in again["methods"]]
    result = {
        "dataset": args.dataset,
        "beta": args.beta,
        "seeds": args.seeds,
        "rows": rows,
        "threads": torch.get_num_threads(),
        "machine": platform.machine(),
        "fgl": fgl.__version__,
    }
    for row in rows:
        print(row)
    if args.out:
        args.out.write_text(json.dumps(result, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def _row(method: str, space: str, one: dict[str, Any]) -> dict[str, Any]:
    """A method over the seeds. top1: mean; std: of it over the seeds; bytes: that all clients send."""
    return {
        "method": method,
        "space": "" if method == "fgl" else space,
        "top1": round(one["top1"]["mean"], 4),
        "std": round(one["top1"]["std"], 4),
        "bytes": one["bytes"],
        "seconds": one["seconds"],
    }


if __name__ == "__main__":
    main()
