"""What hostile clients do to rounds under each aggregation rule: one of five, two of ten.

    python benchmarks/robust_rounds.py --out benchmarks/results/robust_rounds.json --seeds 0,1,2

EuroSAT, a few images a class, FedAvg from scratch with the classifier `small`. The attackers are here alone, not in
fgl. They stand between the clients and the server (`Hostile`) or change what a client learns from (`flipped_labels`):

sign-flip    the client sends the model that was sent to it minus its change: all arrays, BatchNorm's statistics too
scale        it sends its change ten times; within rounds.max_update_ratio, so nothing else refuses it
label-flip   it trains on class c as class 9 - c, and sends what comes out

Honest answers to the same model are computed once: first rounds are the same under every rule. Each run is kept in the
result file as soon as it is done, and none is done twice: start it again to resume. Runs of a seed come before those
of the next.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from fgl.contracts.federation import ClientFailure
from fgl.contracts.progress import NullProgress
from fgl.core.client import training
from fgl.core.config.saved import load_config
from fgl.core.config.schema import RoundsOptions
from fgl.core.plugin_manager import PluginManager
from fgl.core.preflight import open_session
from fgl.core.session import Session
from fgl.core.stages import partition, pipeline, rounds_spec
from fgl.core.stages.classifier_engine import ClassifierEngine
from fgl.core.store.run_dir import RunDir
from fgl.core.wire import updates

CASES = ((5, 1), (10, 2))
"""Clients, and hostile ones among them: the first by id."""
SPLITS: dict[str, dict[str, Any]] = {"iid": {"name": "iid"}, "dirichlet 0.5": {"name": "dirichlet", "beta": 0.5}}
ATTACKS = ("none", "sign-flip", "scale", "label-flip")
RULES = ("mean", "median", "trimmed-mean", "krum", "multi-krum", "norm-clip")
FACTOR = {"sign-flip": -1.0, "scale": 10.0}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--epochs", type=int, default=2, help="local epochs of a round")
    parser.add_argument("--images", type=int, default=40, help="training images a class, of all clients together")
    parser.add_argument("--attacks", default=",".join(ATTACKS))
    parser.add_argument("--rules", default=",".join(RULES))
    args = parser.parse_args()
    fixed = {"images_per_class": args.images, "rounds": args.rounds, "local_epochs": args.epochs}
    found = json.loads(args.out.read_text()) if args.out.exists() else {**fixed, "runs": []}
    if any(found[key] != value for key, value in fixed.items()):
        raise SystemExit(f"{args.out} is of other settings: {fixed} expected")
    for seed in map(int, args.seeds.split(",")):
        for split, (clients, hostile) in itertools.product(SPLITS, CASES):
            wanted = [
                (attack, rule)
                for attack, rule in itertools.product(args.attacks.split(","), args.rules.split(","))
                if not any(same(one, seed, split, clients, attack, rule) for one in found["runs"])
            ]
            if wanted:
                for entry in of_federation(args, seed, split, clients, hostile, wanted):
                    found["runs"].append(entry)
                    args.out.write_text(json.dumps(found, indent=1) + "\n")
    table(found["runs"])


def same(one: dict[str, Any], seed: int, split: str, clients: int, attack: str, rule: str) -> bool:
    return (one["seed"], one["split"], one["clients"], one["attack"], one["rule"]) == (
        seed,
        split,
        clients,
        attack,
        rule,
    )


def of_federation(
    args: argparse.Namespace, seed: int, split: str, clients: int, hostile: int, wanted: Sequence[tuple[str, str]]
) -> Iterator[dict[str, Any]]:
    """Each attack under each rule, on one division of one set of images."""
    settings = {
        "seed": seed,
        "baselines": "none",
        "dataset": {"name": "bundled", "max_per_class": args.images},
        "partition": {**SPLITS[split], "clients": clients},
        "classifier": {"name": "small", "batch_size": 16},
    }
    manager = PluginManager.load()
    with tempfile.TemporaryDirectory() as scratch:
        session = open_session(load_config(settings, manager), manager, RunDir(Path(scratch)), NullProgress())
        with session.run.lock():
            done = pipeline.run(session, "partition")
            held, digest = partition.divided(session, done), done.made(partition.STAGE)
            names = sorted(held)
            memory: dict[bool, Any] = {}
            for attack, rule in wanted:
                began = time.monotonic()
                options = RoundsOptions(
                    count=args.rounds,
                    local_epochs=args.epochs,
                    aggregation=rule_options(rule, hostile),
                    evaluate_every=args.rounds,
                )
                with attacked(session, attack, names[:hostile], memory) as wrap:
                    top1, entries = train(session, f"{attack}-{rule}", options, held, digest, wrap)
                judged = [entry["rule"] for entry in entries if "rule" in entry]
                yield {
                    "seed": seed,
                    "split": split,
                    "clients": clients,
                    "hostile": hostile,
                    "attack": attack,
                    "rule": rule,
                    "top1": top1,
                    "rounds_without_hostile": sum(set(names[:hostile]) <= set(one["left_out"]) for one in judged),
                    "refused": sum(len(entry["failed"]) for entry in entries),
                    "seconds": round(time.monotonic() - began, 1),
                }


def rule_options(rule: str, hostile: int) -> dict[str, Any]:
    """Each rule is told how many are hostile, where it asks."""
    return {
        "trimmed-mean": {"name": "trimmed-mean", "trim": hostile},
        "krum": {"name": "krum", "hostile": hostile, "keep": 1},
        "multi-krum": {"name": "krum", "hostile": hostile, "keep": 2 * hostile},
        "norm-clip": {"name": "norm-clip", "max_norm": None, "factor": 1.0},
    }.get(rule, {"name": rule})


def train(
    session: Session, name: str, options: RoundsOptions, held: Any, digest: str, wrap: Callable[[Any], Any]
) -> tuple[float, list[Any]]:
    """(top-1 after the last round, entries of the rounds)."""
    track = rounds_spec.RoundsSpec(name, "rounds", session.config.algorithm, options, options.local_epochs)
    engine = ClassifierEngine(session, track, held, digest, rounds_spec.Start())
    engine.federation = wrap(engine.federation)
    _, entries = engine.train()
    return round(float(entries[-1]["top1"]), 4), entries


# --- the attackers ----------------------------------------------------------------------------------------------------


class Hostile:
    """A federation whose hostile clients send their change times a factor, and which remembers honest answers."""

    def __init__(self, inner: Any, clients: Sequence[str], factor: float, memory: dict[bytes, bytes]) -> None:
        self.inner, self.clients, self.factor, self.memory = inner, clients, factor, memory

    def call(
        self, client_ids: Sequence[str], task: str, payload: Callable[[str], bytes], progress: Any
    ) -> Iterator[tuple[str, bytes | ClientFailure]]:
        for client_id in client_ids:
            request = payload(client_id)
            message = request[8 + int.from_bytes(request[:8], "little") :]
            key = hashlib.sha256(message).digest()
            if key not in self.memory:
                ((_, reply),) = self.inner.call([client_id], task, lambda _, request=request: request, progress)
                if isinstance(reply, ClientFailure):
                    yield client_id, reply
                    continue
                if len(self.memory) < len(client_ids):  # those of the first round, which come again
                    self.memory[key] = reply
            else:
                reply = self.memory[key]
            yield client_id, self.altered(message, reply) if client_id in self.clients else reply

    def altered(self, message: bytes, reply: bytes) -> bytes:
        start, _, _ = updates.received(message)
        header, status, model, extra = updates.described(reply)
        for name, array in model.items():
            if array.dtype.kind == "f":
                model[name] = (start[name] + self.factor * (array - start[name])).astype(array.dtype)
        return updates.encode(header, model, extra, status)


class attacked:  # noqa: N801 (read as a word of the with statement)
    """Wraps a federation, or what hostile clients learn from, for as long as it is entered. memory: of honest answers,
    by whether labels are flipped."""

    def __init__(self, session: Session, attack: str, hostile: Sequence[str], memory: dict[bool, Any]) -> None:
        self.classes = len(session.info.class_names)
        self.attack, self.hostile = attack, hostile
        self.memory = memory.setdefault(attack == "label-flip", {})
        self.honest = training._pixels

    def __enter__(self) -> Callable[[Any], Any]:
        if self.attack == "label-flip":
            training._pixels = flipped_labels(self.honest, self.hostile, self.classes)
        factor = FACTOR.get(self.attack)
        return lambda federation: Hostile(
            federation, () if factor is None else self.hostile, factor or 1.0, self.memory
        )

    def __exit__(self, *_: object) -> None:
        training._pixels = self.honest


def flipped_labels(honest: Any, hostile: Sequence[str], classes: int) -> Any:
    """What a client trains on, with other labels at hostile ones."""

    def pixels(data: str, config: str, device: str, client_id: str, prepare: Any) -> Any:
        found = honest(data, config, device, client_id, prepare)
        return replace(found, labels=classes - 1 - found.labels) if client_id in hostile else found

    pixels.cache_clear = honest.cache_clear  # type: ignore[attr-defined]
    return pixels


# --- the table --------------------------------------------------------------------------------------------------------


def table(runs: list[dict[str, Any]]) -> None:
    """Mean top-1 over seeds in percent, Markdown."""
    for split, (clients, hostile) in itertools.product(SPLITS, CASES):
        here = [one for one in runs if (one["split"], one["clients"]) == (split, clients)]
        if not here:
            continue
        seeds = len({one["seed"] for one in here})
        print(f"\n{split}, {hostile} of {clients} hostile, seeds: {seeds}\n", file=sys.stderr)
        print(f"| rule | {' | '.join(ATTACKS)} |\n|---|{'---|' * len(ATTACKS)}", file=sys.stderr)
        for rule in RULES:
            cells = []
            for attack in ATTACKS:
                top1 = [one["top1"] for one in here if (one["rule"], one["attack"]) == (rule, attack)]
                cells.append(f"{100 * sum(top1) / len(top1):.1f}" if top1 else "")
            print(f"| `{rule}` | {' | '.join(cells)} |", file=sys.stderr)


if __name__ == "__main__":
    main()
