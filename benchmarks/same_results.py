"""Whether two versions of fgl make the same of the same commands: digests, figures and files, to the last bit.

    python benchmarks/same_results.py BEFORE AFTER --out benchmarks/results/same_results.json

BEFORE, AFTER: folders of two checkouts. Both run with this Python and its libraries, on one thread, at small sizes:
`fgl run` of class names with every baseline, of attributes, and of class names with a round after the one-shot model;
the split deployment (two clients, ingest, server); `fgl compare` of two methods over two seeds; `fgl audit`. What is
called otherwise in the two, flags and keys and files, is mapped to one word first.

Compared are: every number, boolean and digest that a command prints as JSON, seconds and versions left out; the sha256
of every file of arrays or images in the folders, and of the partitions; and what each stage recorded as its inputs.
Sentences are not. A figure that only AFTER has is counted, one that it lacks is a difference. Exit code 1 where
anything differs.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

WORDS = {
    "controls": "baselines",
    "control": "baseline",
    "pooled": "centralized",
    "memorisation": "memorization",
    "memorised": "memorized",
    "licence": "license",
    "recognised": "recognized",
    "colour": "color",
    "neighbours": "neighbors",
}
"""Of the version before → of this one."""
UNTIMED = re.compile("second|version|environment|run_dir|folder|path|file|plot|config|threads|began|created|speed")
"""Keys whose values are of this machine, this moment or this version."""
HELD = (".safetensors", ".parquet", ".npz", "partition.json")
SMALL = [
    *("--dataset", "bundled:eurosat", "--clients", "2", "--partition", "iid", "--images-per-class", "4"),
    *("--set", "dataset.max_per_class=20", "--set", "generator.num_inference_steps=2"),
    *("--set", "classifier.epochs=1", "--set", "rounds.local_epochs=1"),
]


class Tree:
    """A checkout, and a folder in which its commands run."""

    def __init__(self, source: Path, folder: Path) -> None:
        self.source, self.folder = source.resolve(), folder
        self.seconds: dict[str, float] = {}
        folder.mkdir(parents=True, exist_ok=True)
        place = self._call("-c", "import fgl; print(fgl.__file__)").strip()
        if self.source not in Path(place).parents:
            raise SystemExit(f"{source}: its commands would run {place}")
        self.flag = "--baselines" if "--baselines" in self._call("-m", "fgl", "run", "--help") else "--controls"

    def fgl(self, *words: str) -> str:
        """What a command prints on stdout. `--baselines` is what it is called in this version."""
        start = time.perf_counter()
        given = [self.flag if word == "--baselines" else word for word in words]
        said = self._call("-m", "fgl", *given)
        self.seconds[f"{len(self.seconds)} {words[0]} {words[1]}"] = round(time.perf_counter() - start, 1)
        return said

    def _call(self, *arguments: str) -> str:
        environment = {
            **os.environ,
            "PYTHONPATH": str(self.source),
            "OMP_NUM_THREADS": "1",
            "HF_HUB_OFFLINE": "1",
            "COLUMNS": "200",
            "FGL_DISABLE_PLUGINS": "fgl-example-prompts,example-prompts",
        }
        done = subprocess.run(
            [sys.executable, *arguments], cwd=self.folder, env=environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise SystemExit(f"{self.source}: fgl {' '.join(arguments)} ended with {done.returncode}\n{done.stderr}")
        return done.stdout


def run_all(tree: Tree) -> dict[str, Any]:
    """Command → what it prints, as JSON."""
    small, end = SMALL, ("--threads", "1", "--json", "--quiet")
    said = {
        "run class-name": tree.fgl("run", *small, "--baselines", "all", "--out", "class-name", *end),
        "run attributes": tree.fgl(
            "run", *small, "--baselines", "none", "--prompt-strategy", "attributes", "--out", "attributes", *end
        ),
        "run rounds": tree.fgl("run", *small, "--baselines", "fedavg,local", "--rounds", "2", "--out", "rounds", *end),
    }
    shared = tree.folder / "shared.yaml"
    shared.write_text(tree.fgl("config", "show", *small, "--baselines", "none"))
    uploads = [f"client-{number:02d}.safetensors" for number in range(2)]
    for upload in uploads:
        client = upload.removesuffix(".safetensors")
        words = ("--simulate", "--client", client, "--out", upload, "--threads", "1", "--json")
        said[f"client prepare {client}"] = tree.fgl("client", "prepare", "shared.yaml", *words)
    said["server ingest"] = tree.fgl("server", "ingest", "split", *uploads, "--config", "shared.yaml", "--json")
    said["server run"] = tree.fgl("server", "run", "split", *end)
    said["compare"] = tree.fgl(
        "compare", *small, "--methods", "fgl,fedavg", "--seeds", "2", "--rounds", "1", "--out", "compared", *end
    )
    said["audit"] = tree.fgl(
        "audit", "attributes", "--shadows", "4", "--rounds", "1", "--set", "audit.candidates=500", *end
    )
    for run in ("class-name", "attributes", "rounds", "split"):
        said[f"digest {run}"] = tree.fgl("digest", run, "--json")
    return {command: json.loads(text) for command, text in said.items()}


def kept(tree: Tree) -> dict[str, Any]:
    """What the commands printed; of a tree whose commands ran in this folder before, what they printed then."""
    file = tree.folder / "said.json"
    if file.is_file():
        said: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return said
    said = run_all(tree)
    file.write_text(json.dumps(said), encoding="utf-8")
    return said


def mapped(text: str) -> str:
    """With the words of this version."""
    return re.sub("|".join(WORDS), lambda match: WORDS[match[0]], text)


def leaves(value: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """Numbers, booleans and digests of a JSON value, each with its place."""
    if isinstance(value, Mapping):
        for key, one in value.items():
            if key != "seal" and not UNTIMED.search(key):
                yield from leaves(one, f"{place}/{mapped(key)}")
    elif isinstance(value, list):
        for number, one in enumerate(value):
            yield from leaves(one, f"{place}/{number}")
    elif isinstance(value, str):
        if re.fullmatch(r"[0-9a-f]{32,128}", value):
            yield place, value
    else:
        yield place, value


def held(folder: Path) -> dict[str, str]:
    """File of arrays or images → its sha256."""
    paths = [path for path in folder.rglob("*") if path.is_file() and path.name.endswith(HELD)]
    return {
        mapped(str(path.relative_to(folder))): hashlib.sha256(_untimed(path.read_bytes())).hexdigest()
        for path in sorted(paths)
        if path.parent.name != "stages"
    }


def _untimed(data: bytes) -> bytes:
    """A file; of one that a digest stands before, unfinished work and the state of rounds, the arrays of numbers alone:
    what is said beside them has seconds in it."""
    if data[32:42].find(b'{"') != 8:
        return data
    length = int.from_bytes(data[32:40], "little")
    header = json.loads(data[40 : 40 + length])
    kept = [name for name in sorted(header) if name not in ("__metadata__", "said")]
    places = {name: [40 + length + offset for offset in header[name]["data_offsets"]] for name in kept}
    return b"".join(name.encode() + data[start:end] for name, (start, end) in places.items())


def inputs(folder: Path) -> dict[str, Any]:
    """Place in a stage's recorded inputs → value, texts too."""
    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("stages/*.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        stage = mapped(str(path.relative_to(folder)))
        found[stage] = mapped(json.dumps(record.get("inputs"), sort_keys=True))
    return found


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    lost, new = sorted(before.keys() - after.keys()), sorted(after.keys() - before.keys())
    other = {
        key: {"before": before[key], "after": after[key]}
        for key in sorted(before.keys() & after.keys())
        if before[key] != after[key]
    }
    return {"equal": len(before.keys() & after.keys()) - len(other), "other": other, "lost": lost, "new": new}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("before", type=Path, help="folder of a checkout")
    parser.add_argument("after", type=Path, help="folder of another")
    parser.add_argument(
        "--work", type=Path, help="where the commands run, and are not run again; default: a temporary folder"
    )
    parser.add_argument("--out", type=Path, help="JSON file for the result")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        work = (options.work or Path(scratch)).resolve()
        trees = {
            name: Tree(source, work / name) for name, source in (("before", options.before), ("after", options.after))
        }
        said = {name: kept(tree) for name, tree in trees.items()}
        found = {
            "figures": differences(*(dict(leaves(said[name])) for name in trees)),
            "files": differences(*(held(tree.folder) for tree in trees.values())),
            "stage inputs": differences(*(inputs(tree.folder) for tree in trees.values())),
        }
    result = {
        "commands": list(said["before"]),
        "digests": {run: one["digest"] for run, one in said["after"].items() if run.startswith("digest ")},
        **found,
        "seconds": {name: tree.seconds for name, tree in trees.items()},
    }
    if options.out:
        options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    for kind, one in found.items():
        print(
            f"{kind}: {one['equal']} equal, {len(one['other'])} other, {len(one['lost'])} lost, {len(one['new'])} new"
        )
        for key, values in list(one["other"].items())[:20]:
            print(f"  {key}: {str(values['before'])[:300]} → {str(values['after'])[:300]}")
        for key in one["lost"][:20]:
            print(f"  lost: {key}")
    sys.exit(1 if any(one["other"] or one["lost"] for one in found.values()) else 0)


if __name__ == "__main__":
    main()
