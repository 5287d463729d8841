"""What one hostile client of five does to the classifier, with and without the bound on weights.

    python benchmarks/poisoning.py --out benchmarks/results/poisoning.json

EuroSAT, iid. The hostile client sends the embedding of each class under the next class's id; at first with the weights
that it has, then with 10^12 a row. Each is tried with both aggregators, with `upload.max_weight_ratio` at its default,
at 2, and so high that nothing is bounded. Top-1 on real test images; what is to be read are the ratios to the row
without an attack, for with so few images and steps the figures themselves are low.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from fgl.contracts.progress import NullProgress
from fgl.contracts.prompts import Prompt
from fgl.core.client import site
from fgl.core.config.saved import load_config
from fgl.core.orchestrator import client_ids, run_session
from fgl.core.plugin_manager import PluginManager
from fgl.core.preflight import open_session
from fgl.core.server import encoding, ingest
from fgl.core.store import folder_kind
from fgl.core.store.run_dir import RunDir
from fgl.core.wire import upload, upload_reader

HOSTILE = "client-01"
OFF = 1e15


def settings(args: argparse.Namespace, aggregator: str, ratio: float | None) -> dict[str, Any]:
    return {
        "seed": args.seed,
        "partition": {"name": "iid", "clients": 5},
        "prompt_strategy": "class-name",
        "aggregator": aggregator,
        "generator": {"name": "tiny", "num_inference_steps": args.steps},
        "synthesis": {"images_per_class": args.images},
        "classifier": {"name": "small", "epochs": args.epochs},
        "baselines": "none",
        "upload": {} if ratio is None else {"max_weight_ratio": ratio},
    }


def poisoned(data: bytes, expected: upload_reader.UploadPolicy, weight: float | None) -> bytes:
    """The upload with each row's class moved on by one. weight: of each row, None for its own."""
    sent = upload_reader.decode(data, expected)
    classes = len(expected.class_names)
    prompts = [
        Prompt((int(class_id) + 1) % classes, "", None, domain or None, own if weight is None else weight)
        for class_id, domain, own in zip(sent.class_id, sent.domain, sent.weight.tolist(), strict=True)
    ]
    arrays = {name: np.array(array, dtype=np.float32) for name, array in sent.arrays.items()}
    sender = upload.UploadHeader(sent.client_id, sent.round, expected.class_names, expected.run)
    return upload.encode(sender, expected.declaration, sent.codec, prompts, arrays, dict(sent.indices))


def run(
    args: argparse.Namespace, folder: Path, uploads: Path, aggregator: str, ratio: float | None, attack: str
) -> dict[str, Any]:
    manager = PluginManager.load()
    config = load_config(settings(args, aggregator, ratio), manager)
    session = open_session(config, manager, RunDir(folder), NullProgress(), apart=True)
    session = replace(session, run=RunDir(folder))
    clients = client_ids(session)
    expected = encoding.expectation(session, clients)
    files = []
    for name in clients:
        file = uploads / f"{name}.safetensors"
        if not file.exists():
            site.prepare_file(config, manager, name, file, uploads / f"{name}.private")
        if name == HOSTILE and attack != "none":
            data = poisoned(file.read_bytes(), expected, 1e12 if attack == "weight 1e12" else None)
            file = folder / "hostile.safetensors"
            session.run.write(file, data)
        files.append(file)
    with session.run.lock():
        folder_kind.mark_remote(session.run)
        found = ingest.ingest(session, clients, files)
    assert all(one["outcome"] == "accepted" for one in found.values()), found
    report = run_session(session)
    share = report.intake.limited.get(HOSTILE)
    top1 = report.result.selected.top1
    print(f"{aggregator:>10}  ratio {ratio or 'default':>8}  {attack:<12}  top-1 {top1:.1%}", file=sys.stderr)
    return {
        "aggregator": aggregator,
        "ratio": ratio or "default",
        "attack": attack,
        "top1": top1,
        "limited": share,
        "named": [one.class_name for one in report.intake.dominant],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=60, help="synthetic images a class")
    parser.add_argument("--steps", type=int, default=16)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        for aggregator in ("union", "class-mean"):
            for attack in ("none", "own weights", "weight 1e12"):
                for ratio in (None, 2.0, OFF) if attack == "weight 1e12" else (None,):
                    folder = Path(scratch) / f"run-{len(rows)}"
                    folder.mkdir()
                    rows.append(run(args, folder, Path(scratch) / "uploads", aggregator, ratio, attack))
    honest = {row["aggregator"]: row["top1"] for row in rows if row["attack"] == "none"}
    for row in rows:
        row["of_honest"] = round(row["top1"] / honest[row["aggregator"]], 3)
    result = {
        "command": " ".join(["python", "benchmarks/poisoning.py", *sys.argv[1:]]),
        "images_per_class": args.images,
        "steps": args.steps,
        "epochs": args.epochs,
        "seed": args.seed,
        "rows": rows,
    }
    text = json.dumps(result, indent=2) + "\n"
    if args.out is None:
        print(text, end="")
    else:
        args.out.write_text(text)


if __name__ == "__main__":
    main()
