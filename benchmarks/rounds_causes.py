"""Why rounds after a useless one-shot model stay behind FedAvg from scratch: the rate, or the start? One at a time.

    python benchmarks/rounds_causes.py --work DIR --data cifar10=DIR --beta 0.5 --try scratch:0.004 --try head:0.004

Data are those of rounds_unknown.py. A try is a start and the learning rate of local training. Starts: scratch;
one-shot; statistics (the one-shot weights with the running statistics of BatchNorm of a fresh model); mixed (0.4 of the
one-shot weights, 0.6 of fresh ones); head (the one-shot model with a fresh last layer). Top-1 after each round is
measured on every other test image.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import rounds_unknown
from safetensors.numpy import load_file

from fgl.contracts.progress import NullProgress
from fgl.core.config.saved import load_config
from fgl.core.config.schema import RoundsOptions
from fgl.core.plugin_manager import PluginManager
from fgl.core.preflight import open_session
from fgl.core.session import Session
from fgl.core.stages import evaluate, partition, pipeline, rounds_spec, train
from fgl.core.stages.classifier_engine import ClassifierEngine
from fgl.core.store.run_dir import RunDir

MIXED = 0.4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--data", required=True, metavar="NAME[=DIR]")
    parser.add_argument("--beta", type=float, default=0.5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--try", dest="tries", action="append", required=True, metavar="START:RATE", help="repeatable")
    parser.add_argument("--out", type=Path, default=rounds_unknown.HERE / "results" / "rounds_causes.json")
    args = parser.parse_args()
    name, _, source = args.data.partition("=")
    folder = args.work / "data" / name
    rounds_unknown.take(Path(source) if source else rounds_unknown.BUNDLED / name, folder)
    manager = PluginManager.load()
    settings = {
        "seed": args.seed,
        "baselines": "none",
        "dataset": {"name": "parquet", "path": str(folder)},
        "partition": {"name": "dirichlet", "beta": args.beta, "clients": rounds_unknown.CLIENTS},
        "synthesis": {"images_per_class": 40},
    }
    out = args.work / f"causes-{name}-{args.beta}-{args.seed}"
    out.mkdir(parents=True, exist_ok=True)
    session = open_session(load_config(settings, manager), manager, RunDir(out), NullProgress())
    found: list[dict[str, Any]] = json.loads(args.out.read_text())["tries"] if args.out.exists() else []
    with session.run.lock():
        done = pipeline.run(session, "evaluate")
        one_shot = done[evaluate.STAGE].selected["top1"]
        held, digest = partition.divided(session, done), done.made(partition.STAGE)
        for text in args.tries:
            start, _, rate = text.partition(":")
            options = RoundsOptions(
                count=rounds_unknown.ROUNDS, local_epochs=rounds_unknown.EPOCHS, local={"lr": float(rate)}
            )
            session.config = session.config.model_copy(update={"rounds": options})
            spec = rounds_spec.RoundsSpec(
                f"{start}-{rate}", "rounds", session.config.algorithm, options, options.local_epochs
            )
            began = rounds_spec.Start() if start == "scratch" else rounds_spec.Start(state(session, start), text)
            curve = run(session, ClassifierEngine(session, spec, held, digest, began))
            entry = {"data": name, "beta": args.beta, "seed": args.seed, "start": start, "lr": float(rate)}
            found = [one for one in found if any(one[key] != value for key, value in entry.items())]
            found.append({**entry, "one_shot": round(one_shot, 4), "top1": curve})
            print(found[-1], flush=True)
            args.out.write_text(json.dumps(result(found), indent=1) + "\n")


def result(tries: list[dict[str, Any]]) -> dict[str, Any]:
    fixed = {"images": rounds_unknown.TAKEN, "clients": rounds_unknown.CLIENTS, "rounds": rounds_unknown.ROUNDS}
    command = "python benchmarks/rounds_causes.py --work DIR --data NAME[=DIR] --beta B --try START:RATE"
    return {"command": command, **fixed, "local_epochs": rounds_unknown.EPOCHS, "generator": "tiny", "tries": tries}


def run(session: Session, engine: ClassifierEngine) -> list[float]:
    """Top-1 after each round."""
    test, curve = session.inputs("test"), []
    reached = engine.begin()
    for _ in range(engine.track.options.count):
        reached = engine.step(reached)
        model = session.classifier.restore(reached.state.model, train.context(session, "test"))
        predicted = np.asarray(model.predict(test.pixels[::2], "last", NullProgress()))
        curve.append(round(float((predicted == test.labels[::2]).mean()), 4))
    return curve


def state(session: Session, start: str) -> Any:
    shot = dict(load_file(train.state_path(session, "selected")))
    fresh = dict(session.classifier.initial(train.context(session, "fresh")).state("last"))
    for name, array in shot.items():
        is_statistic = "running" in name or "num_batches" in name
        if (start == "statistics" and is_statistic) or (start == "head" and name.startswith("classifier")):
            shot[name] = fresh[name]
        elif start == "mixed" and not is_statistic:
            shot[name] = (MIXED * array + (1 - MIXED) * fresh[name]).astype(array.dtype)
    return lambda: shot


if __name__ == "__main__":
    main()
