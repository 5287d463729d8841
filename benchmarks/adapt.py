"""What adapting `tiny` is worth on data that it does not know: CIFAR-10 and PACS, central and federated.

    python benchmarks/adapt.py central --data DATA --set cifar10 --work DIR --kind full --steps 400
    python benchmarks/adapt.py federated --data DATA --set pacs --work DIR --local-steps 250

DATA holds <set>/train.parquet and test.parquet. The images are those of docs/evidence.md (pieces cifar10-unseen and
pacs-unseen): 100 private and 100 test images of a class, or 40 of a class and domain. One JSON object for each run is
added to the list in --results: top-1 of the classifier that was trained on the synthetic set, of the class list (the
generator as it ships), bytes, seconds.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from pathlib import Path
from typing import Any

import fgl

SETS: dict[str, dict[str, Any]] = {
    "cifar10": {"limit": 100, "partition": {"name": "dirichlet", "clients": 5, "beta": 0.01}, "prompts": "class-name"},
    "pacs": {"limit": 40, "partition": {"name": "dirichlet", "clients": 5, "beta": 0.01}, "prompts": "domain"},
}


def config(args: argparse.Namespace) -> dict[str, Any]:
    chosen = SETS[args.set]
    return {
        "seed": args.seed,
        "dataset": {"name": "parquet", "path": str(args.data / args.set), "max_per_class": chosen["limit"]},
        "partition": chosen["partition"],
        "prompt_strategy": chosen["prompts"],
        "generator": "tiny",
        "synthesis": {"images_per_class": args.images_per_class},
        "baselines": args.baselines or "none",
    }


def central(args: argparse.Namespace) -> dict[str, Any]:
    """Adapted to the clients' images, pooled: the most that adaptation can give."""
    options = {"kind": args.kind, "rank": args.rank, "steps": args.steps, "samples": 0}
    place = args.work / f"{args.set}-{args.kind}-{args.steps}-{args.seed}"
    began = time.monotonic()
    made = fgl.adapt(config(args), place / "generator", progress=args.progress, **options)
    seconds = round(time.monotonic() - began, 1)
    adapted = {**config(args), "generator": dict(made.generator)}
    result = fgl.run(adapted, place / "run", progress=args.progress)
    return {
        "top1": result.top1,
        "baselines": result.baselines,
        "held_out_loss": made.held_out_loss,
        "trained_bytes": made.data["bytes"],
        "minutes": made.data["minutes"],
        "seconds": seconds,
        "settings": made.data["settings"],
    }


def federated(args: argparse.Namespace) -> dict[str, Any]:
    """Adapted in rounds at the clients."""
    options = {
        "kind": args.kind,
        "rank": args.rank,
        "factors": args.factors,
        "adapters": args.adapters,
        "rounds": args.rounds,
        "local_steps": args.local_steps,
        "batch_size": args.batch_size,
    }
    place = (
        args.work / f"{args.set}-{args.adapters}-{args.kind}-{args.rank}-{args.rounds}-{args.local_steps}-{args.seed}"
    )
    result = fgl.run({**config(args), "adaptation": options}, place, progress=args.progress)
    found = result["adaptation"]
    each = [entry["seconds"] / len(entry["clients"]) for entry in found["rounds"]]
    return {
        "top1": result.top1,
        "baselines": result.baselines,
        "bytes": found["bytes_up"] + found["bytes_down"] + result["upload"]["bytes_total"],
        "bytes_up": found["bytes_up"] + result["upload"]["bytes_total"],
        "adapter_bytes": found["adapter_bytes"],
        "losses": [round(entry["loss"], 4) for entry in found["rounds"]],
        "seconds_a_client_and_round": round(sum(each) / len(each), 1),
        "settings": {**found["settings"], **options},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["central", "federated"])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--set", choices=list(SETS), default="cifar10")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "results" / "adapt.json")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--images-per-class", type=int, default=100)
    parser.add_argument("--kind", choices=["lora", "full", "scratch"], default="lora")
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--factors", choices=["both", "up"], default="both")
    parser.add_argument("--adapters", choices=["per-client", "shared"], default="per-client")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--local-steps", type=int, default=100)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--baselines", nargs="*", default=["class-list"], help="beside the run; none: --baselines")
    parser.add_argument("--progress", action="store_true")
    args = parser.parse_args()
    made = {"central": central, "federated": federated}[args.what](args)
    row = {"what": args.what, "set": args.set, "seed": args.seed, "images_per_class": args.images_per_class, **made}
    row["peak_megabytes"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    earlier = json.loads(args.results.read_text()) if args.results.exists() else []
    args.results.write_text(json.dumps([*earlier, row], indent=1) + "\n")
    print(json.dumps(row))


if __name__ == "__main__":
    main()
