"""How many threads the classifier is best trained with, on an idle machine and on a busy one.

    python benchmarks/threads.py --busy 0 --out benchmarks/results/threads_idle.json
    python benchmarks/threads.py --busy 4 --out benchmarks/results/threads_busy.json

Each try is a process of its own that trains the classifier `small` on random images for as long as `--seconds`.
`--busy` processes that only compute run beside it. The wait policy says what OpenMP's threads do when they wait for
each other: spin (its default), which takes the core from whoever has work, or sleep (`passive`).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path


def train(threads: int, seconds: float) -> float:
    """Images a second, over whole epochs."""
    import numpy as np
    import torch

    from fgl.contracts.classifier import FitContext
    from fgl.contracts.dataset import LabelledPixels
    from fgl.core.config.schema import Selected
    from fgl.core.plugin_manager import PluginManager

    torch.set_num_threads(threads)
    manager = PluginManager.load()
    entry = manager.registry.find("classifier", "small")
    options = manager.registry.options_class(entry)(**entry.component.defaults).model_dump()
    classifier = manager.create("classifier", Selected(name="small", options=options))
    draw = np.random.default_rng(0)
    data = LabelledPixels(draw.integers(0, 256, (320, 32, 32, 3), dtype=np.uint8), np.arange(320) % 10)
    context = FitContext(class_names=tuple("abcdefghij"), seed=0, device="cpu", epochs=1)
    classifier.fit(data, None, context)
    start, seen = time.monotonic(), 0
    while (taken := time.monotonic() - start) < seconds:
        classifier.fit(data, None, context)
        seen += len(data)
    return seen / taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--busy", type=int, default=0, help="processes that compute beside it")
    parser.add_argument("--seconds", type=float, default=10, help="of each try, at least")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help="result file (JSON)")
    args = parser.parse_args()
    if args.one:
        print(json.dumps(train(args.one, args.seconds)))
        return
    cores = len(os.sched_getaffinity(0))
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(args.busy)]
    tries = []
    try:
        for threads in sorted({1, 2, max(1, cores // 2), cores}):
            for policy in ("default", "passive") if threads > 1 else ("default",):
                environment = {k: v for k, v in os.environ.items() if k not in ("OMP_NUM_THREADS", "OMP_WAIT_POLICY")}
                environment |= {} if policy == "default" else {"OMP_WAIT_POLICY": "PASSIVE"}
                command = [sys.executable, __file__, "--one", str(threads), "--seconds", str(args.seconds)]
                load = os.getloadavg()[0]
                said = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
                speed = {"images_per_second": round(json.loads(said), 1), "load_before": round(load, 2)}
                tries.append({"threads": threads, "wait_policy": policy, **speed})
                print(tries[-1], flush=True)
    finally:
        for process in busy:
            process.kill()
    if args.out:
        args.out.write_text(json.dumps({"cores": cores, "busy": args.busy, "tries": tries}, indent=2) + "\n")


if __name__ == "__main__":
    main()
