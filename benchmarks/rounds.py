"""Images a second of a round's local training against a bare loop over the same clients, turn by turn in one process.

    python benchmarks/rounds.py --repeats 3 --out benchmarks/results/rounds.json

The round is the engine's own: model to bytes, bytes to each client, training, bytes back, validation, averaging,
commit; without the test, which is a measurement. The bare loop trains the same model on the same pixels, in batches of
the same sizes, with the same optimizer and augmentation, and neither sends nor keeps anything.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from fgl.contracts.progress import NullProgress
from fgl.core.config.saved import load_config
from fgl.core.config.schema import RoundsOptions
from fgl.core.plugin_manager import PluginManager
from fgl.core.preflight import open_session
from fgl.core.session import Session
from fgl.core.stages import partition, pipeline, rounds, rounds_spec
from fgl.core.store.run_dir import RunDir
from fgl.plugins.classifiers.architectures import build
from fgl.plugins.classifiers.augment import Augmenter
from fgl.plugins.classifiers.classifier import batches, make_optimizer, rate
from fgl.plugins.classifiers.model import Network
from fgl.plugins.classifiers.options import ClassifierOptions

EPOCHS = 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--algorithm", default="fedavg")
    parser.add_argument("--out", type=Path, help="result file (JSON)")
    args = parser.parse_args()
    config = load_config({"baselines": "none"}, PluginManager.load())
    ours, bare, busy = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(args.repeats + 1):
            session = open_session(config, PluginManager.load(), RunDir(Path(folder) / str(turn)), NullProgress())
            session.run.root.mkdir()
            done = pipeline.run(session, "partition")
            divided, digest = partition.divided(session, done), done.made(partition.STAGE)
            clock, spent = time.perf_counter(), time.process_time()
            one = engine(session, args.algorithm, divided, digest)
            cores = (time.process_time() - spent) / (time.perf_counter() - clock)
            other = loop(session, divided)
            if turn:  # the first one warms up
                ours.append(one)
                bare.append(other)
                busy.append(cores)
    images = EPOCHS * sum(map(len, divided.values()))
    result = {
        "command": f"python benchmarks/rounds.py --repeats {args.repeats} --algorithm {args.algorithm}",
        "images_a_round": images,
        "seconds": {"fgl": statistics.median(ours), "bare": statistics.median(bare)},
        "images_per_second": round(images / statistics.median(ours)),
        "fgl_to_bare": round(statistics.median(a / b for a, b in zip(ours, bare, strict=True)), 3),
        "each": [round(a / b, 3) for a, b in zip(ours, bare, strict=True)],
        "cores_busy": round(statistics.median(busy), 2),
        "cores": len(os.sched_getaffinity(0)),
        "torch": torch.__version__,
    }
    print(json.dumps(result, indent=1))
    if args.out is not None:
        args.out.write_text(json.dumps(result, indent=1) + "\n")


def engine(session: Session, name: str, divided: dict[str, list[int]], digest: str) -> float:
    """Seconds of the second of three rounds: the first reads the data, the last is tested."""
    options = RoundsOptions(count=3, local_epochs=EPOCHS, evaluate_every=100)
    track = rounds_spec.RoundsSpec("own", "rounds", rounds_spec.baseline(session, name), options, EPOCHS)
    with session.run.lock():
        result = rounds.run(session, track, divided, digest, rounds_spec.Start())
    return float(result.rounds[1]["seconds"])


def loop(session: Session, divided: dict[str, list[int]]) -> float:
    options = ClassifierOptions(**session.config.classifier.options)
    data = session.pixels("train")
    parts: list[Any] = [(data.pixels[rows], data.labels[rows]) for rows in divided.values()]
    began = time.perf_counter()
    for pixels, labels in parts:
        network = Network(build(options, session.info.class_names, 0), options, torch.device("cpu"))
        augmenter = Augmenter(options, options.image_size, network.device, 0)
        optimizer = make_optimizer(options, network.model)
        network.model.train()
        steps, step = EPOCHS * len(batches(np.arange(len(labels)), options.batch_size)), 0
        for epoch in range(EPOCHS):
            for chosen in batches(np.random.default_rng(epoch).permutation(len(labels)), options.batch_size):
                logits = network.logits(augmenter.train(torch.from_numpy(pixels[chosen])))
                loss = F.cross_entropy(
                    logits, torch.from_numpy(labels[chosen]), label_smoothing=options.label_smoothing
                )
                for group in optimizer.param_groups:
                    group["lr"] = options.lr * rate(options, step, steps)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                step += 1
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
