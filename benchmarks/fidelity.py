"""What limits a synthetic set: are its images of their class, and what would as many real ones give?

    python benchmarks/fidelity.py --dataset eurosat --seed 30 --out benchmarks/results/fidelity_eurosat.json

One run with the defaults; then the same classifier trained on (a) all real images of the clients, (b) as many real
images a class as the synthetic set has, (c) the whole synthetic set, each tested on real test images. And the other
way round: the share of synthetic images that (a) takes for what they were asked to be, by class. That is fidelity;
what is left of the gap is variety.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from fgl.contracts.dataset import LabelledPixels
from fgl.contracts.progress import NullProgress
from fgl.core.config.saved import load_config
from fgl.core.orchestrator import execute
from fgl.core.plugin_manager import PluginManager
from fgl.core.preflight import open_session
from fgl.core.stages import train
from fgl.core.store.run_dir import RunDir
from fgl.core.synthesis.shards import read_shards


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="eurosat", choices=["eurosat", "fashion_mnist", "emoji"])
    parser.add_argument("--seed", type=int, default=30)
    parser.add_argument("--images-per-class", type=int, default=160)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    manager = PluginManager.load()
    config = load_config(
        {
            "seed": args.seed,
            "dataset": f"bundled:{args.dataset}",
            "baselines": "none",
            "synthesis": {"images_per_class": args.images_per_class},
        },
        manager,
    )
    with tempfile.TemporaryDirectory() as folder:
        session = open_session(config, manager, RunDir(Path(folder)), NullProgress())
        execute(session)
        rows = list(read_shards(session.run.path("server", "shards")))
        synthetic = LabelledPixels(
            np.stack([rgb for _, rgb in rows]), np.array([row["label"] for row, _ in rows], dtype=np.int64)
        )
        real, test = session.pixels("train"), session.pixels("test")
        draw = np.random.default_rng(args.seed)
        chosen = np.concatenate(
            [
                draw.permutation(np.flatnonzero(real.labels == k))[: args.images_per_class]
                for k in np.unique(real.labels)
            ]
        )
        context = train.context(session, "fidelity")

        def fit(data: LabelledPixels) -> Any:
            return session.classifier.fit(data, None, context)

        judge = fit(real)
        few = fit(LabelledPixels(real.pixels[chosen], real.labels[chosen]))
        learned = fit(synthetic)

        def top1(model: Any, data: LabelledPixels) -> float:
            return round(float((model.predict(data.pixels, "last", NullProgress()) == data.labels).mean()), 4)

        told = judge.predict(synthetic.pixels, "last", NullProgress()) == synthetic.labels
        result = {
            "command": " ".join(["python", "benchmarks/fidelity.py", *sys.argv[1:]]),
            "images": {"real": len(real), "as many real": len(chosen), "synthetic": len(synthetic)},
            "top1_on_real_test": {
                "real": top1(judge, test),
                "as many real": top1(few, test),
                "synthetic": top1(learned, test),
            },
            "synthetic_taken_for_their_class": round(float(told.mean()), 4),
            "by_class": {
                name: round(float(told[synthetic.labels == k].mean()), 3)
                for k, name in enumerate(session.info.class_names)
                if (synthetic.labels == k).any()
            },
        }
    print(json.dumps(result, indent=1))
    if args.out is not None:
        args.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
