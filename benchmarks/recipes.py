"""Choose how `small` is trained on synthetic images, without the test split.

    python benchmarks/recipes.py --source DATA --dataset eurosat --runs RUN [RUN ...] --per-class 640 \\
        --try '{}' --try '{"label_smoothing": 0.1, "epochs": 28}' --out FILE

Each try trains the classifier on the synthetic images of each run (without a validation set, so that all of them
count) and tests it on real images of the *public* half, which trained the generator. A try is a JSON object of options
that are others than those of `small`. The seed is the position of the run.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from PIL import Image
from rich.console import Console

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from fgl.contracts.classifier import FitContext  # noqa: E402
from fgl.contracts.dataset import LabelledPixels  # noqa: E402
from fgl.core.config.schema import Selected  # noqa: E402
from fgl.core.plugin_manager import PluginManager  # noqa: E402
from tools.tiny.data import load  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, required=True, help="folder with <dataset>/{train,test}.parquet")
    parser.add_argument("--dataset", default="eurosat", choices=["eurosat", "fashion_mnist", "emoji"])
    parser.add_argument("--runs", type=Path, nargs="+", required=True, help="run directories with synthetic images")
    parser.add_argument("--per-class", type=int, required=True, help="images of each class to train on")
    parser.add_argument("--test-images", type=int, default=2500)
    parser.add_argument("--try", dest="tries", action="append", required=True, help="options, as JSON")
    parser.add_argument("--out", type=Path, help="result file (JSON)")
    args = parser.parse_args()
    console, manager = Console(), PluginManager.load()
    public = load(args.source, args.dataset, "public")
    every = max(1, len(public.labels) // args.test_images)
    pixels, labels = public.images[::every], public.labels[::every]
    sets = [read(run, args.per_class, len(public.class_names)) for run in args.runs]
    component = manager.registry.find("classifier", "small").component
    found = []
    for text in args.tries:
        options: dict[str, Any] = {**component.defaults, **json.loads(text)}
        began, scores = time.monotonic(), []
        for seed, images in enumerate(sets):
            classifier = manager.create("classifier", Selected(name="small", options=options))
            trained = classifier.fit(images, None, FitContext(tuple(public.class_names), seed, "cpu"))
            scores.append(round(float((trained.predict(pixels, "last") == labels).mean()), 4))
        seconds = round((time.monotonic() - began) / len(sets), 1)
        mean = round(statistics.mean(scores), 4)
        found.append({"try": json.loads(text), "top1": scores, "mean": mean, "seconds_each": seconds})
        console.print(f"{text}: {mean:.1%} ({', '.join(f'{score:.1%}' for score in scores)}), {seconds} s each")
        if args.out is not None:  # after each: a try takes minutes
            command = " ".join(["python", "benchmarks/recipes.py", *sys.argv[1:]])
            result = {"command": command, "threads": torch.get_num_threads(), "tries": found}
            args.out.write_text(json.dumps(result, indent=1) + "\n")


def read(run: Path, per_class: int, classes: int) -> LabelledPixels:
    """The first `per_class` images of each class of a run's synthetic set."""
    tables = [pq.read_table(path) for path in sorted((run / "server" / "shards").glob("*.parquet"))]
    images = [row["bytes"] for table in tables for row in table.column("image").to_pylist()]
    labels = np.concatenate([table.column("label").to_numpy() for table in tables])
    keep = np.concatenate([np.flatnonzero(labels == label)[:per_class] for label in range(classes)])
    pixels = np.stack([np.asarray(Image.open(io.BytesIO(images[row])).convert("RGB")) for row in keep])
    return LabelledPixels(pixels, labels[keep])


if __name__ == "__main__":
    main()
