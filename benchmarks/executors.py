"""What a second process brings: images a second and peak memory of `processes` beside `local`, on as many threads.

    python benchmarks/executors.py --images 200 --out benchmarks/results/executors.json
    python benchmarks/executors.py --workers 4 --threads 8
    python benchmarks/executors.py --devices cuda:0 cuda:1

Each try is a process of its own that runs `tiny` on the bundled images as far as the synthetic set. Its time is that of
the stage, with the start of processes and the loading of models, which `local` has as well; so it takes some hundred
images for the rates to be those of a long run. Memory is the largest resident size of a process: of `local` that of the
whole run, of `processes` the sum over the workers, and that of the run's own process beside them. Digests are compared
where threads are equal.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any


def synthesize(executor: dict[str, Any], images: int, steps: int, device: str) -> dict[str, Any]:
    """Run in this process, as far as the synthetic set. Memory in bytes."""
    from fgl.contracts.progress import NullProgress
    from fgl.core.config.saved import load_config
    from fgl.core.plugin_manager import PluginManager
    from fgl.core.preflight import open_session
    from fgl.core.stages import pipeline, synthesize
    from fgl.core.store.run_dir import RunDir

    manager = PluginManager.load()
    config = {
        "device": device,
        "generator": {"name": "tiny", "num_inference_steps": steps},
        "synthesis": {"images_per_class": images // 10, "shard_size": 16},
        "executor": executor,
        "baselines": "none",
    }
    with tempfile.TemporaryDirectory() as folder:
        session = open_session(load_config(config, manager), manager, RunDir(Path(folder)), NullProgress())
        with session.run.lock():
            result = pipeline.run(session, "synthesize")[synthesize.STAGE]
    own = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    workers = result.notes.get("workers", [])
    seconds = session.seconds["synthesize"]
    return {
        "images": result.images,
        "seconds": seconds,
        "images_per_second": round(result.images / seconds, 2),
        "digest": result.digest,
        "peak_memory_bytes": own,
        "peak_memory_bytes_of_workers": sum(one["peak_memory_bytes"] for one in workers),  # type: ignore[attr-defined]
        "peak_gpu_memory_bytes_of_workers": [one.get("peak_gpu_memory_bytes", 0) for one in workers],  # type: ignore[attr-defined]
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=2, help="processes on the CPU")
    parser.add_argument("--threads", type=int, default=2, help="of all processes together")
    parser.add_argument("--devices", nargs="*", help="a process on each, in place of --workers")
    parser.add_argument("--images", type=int, default=200, help="of the set, a multiple of ten")
    parser.add_argument("--steps", type=int, default=16, help="steps an image")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help="result file (JSON)")
    args = parser.parse_args()
    first = args.devices[0] if args.devices else "cpu"
    if args.one:
        print(json.dumps(synthesize(json.loads(args.one), args.images, args.steps, first)))
        return
    count = len(args.devices) if args.devices else args.workers
    share = max(1, args.threads // count)
    several = {"name": "processes", "devices": args.devices or f"cpu:{count}", "threads": share}
    tries = []
    for executor, threads in (({"name": "local"}, args.threads), ({"name": "local"}, share), (several, args.threads)):
        command = [sys.executable, __file__, "--one", json.dumps(executor), "--images", str(args.images)]
        command += ["--steps", str(args.steps), *(["--devices", *args.devices] if args.devices else [])]
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        load = round(os.getloadavg()[0], 2)
        said = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout
        tries.append({"executor": executor, "threads": threads, "load_before": load, **json.loads(said)})
        print(json.dumps(tries[-1]), flush=True)
    assert tries[1]["digest"] == tries[2]["digest"], "equal threads, other images"
    if args.out:
        args.out.write_text(json.dumps({"cores": os.cpu_count(), "tries": tries}, indent=2) + "\n")


if __name__ == "__main__":
    main()
