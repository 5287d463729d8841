"""Time and memory of what grows with clients and images.

    python benchmarks/scale.py --out benchmarks/results/scale.json [--folder DIR]

uploads: aggregate and plan 100 and 1,000 uploads of 100 rows of 77x768 float16, all different (11.8 GB in DIR), from
files as a server keeps them: checked against their digests, opened, united, planned. duplicates: 10,000 clients that
all ask for the same ten class-name rows, through the door (validated and kept) and then the same. synthesize: 400 and
4,000 images with `tiny`, two steps each. Each case runs in a process of its own; memory is the peak of what it holds
for itself (RssAnon and shared memory), and beside it the peak with the pages of files that are mapped (VmHWM).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))


class Peak:
    """The highest of a process's own memory, looked at twenty times a second."""

    def __init__(self) -> None:
        self.bytes, self.stop = 0, threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True)
        self.thread.start()

    def _watch(self) -> None:
        while not self.stop.wait(0.05):
            self.bytes = max(self.bytes, status("RssAnon") + status("RssShmem"))

    def end(self) -> dict[str, float]:
        self.stop.set()
        self.thread.join()
        return {"own_peak_mb": round(self.bytes / 1e6, 1), "peak_with_mapped_files_mb": round(status("VmHWM") / 1e6, 1)}


def status(key: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1]) * 1024
    return 0


def declaration(tokens: int, width: int) -> Any:
    from fgl.contracts.generator import ArraySpec, UploadSchema

    return UploadSchema((ArraySpec("prompt_embeds", (tokens, width), max_abs=1e3),), "e" * 64)


def write_uploads(folder: Path, clients: int, rows: int, tokens: int, width: int, same: bool) -> None:
    from fgl.contracts.prompts import Prompt
    from fgl.core.wire.upload import UploadHeader, encode

    folder.mkdir(parents=True, exist_ok=True)
    names = [f"class {k}" for k in range(10)]
    block = np.random.default_rng(0).standard_normal((rows, tokens, width)).astype(np.float16)
    prompts = [Prompt(k % 10, "x", weight=1 + k % 7) for k in range(rows)]
    for number in range(clients):
        path = folder / f"client-{number:05d}.safetensors"
        if path.exists():
            continue
        if not same:
            block[:, 0, 0] = number % 1000  # another row in every upload
            block[:, 0, 1] = number // 1000
        data = encode(
            UploadHeader(path.stem, 0, names), declaration(tokens, width), "fp16", prompts, {"prompt_embeds": block}, {}
        )
        path.write_bytes(data)


def aggregate(folder: Path, clients: int, tokens: int, width: int, door: bool) -> dict[str, Any]:
    """door: whether the files are validated first, as they are when they come in."""
    from fgl.core.store.owned import file_digest
    from fgl.core.synthesis import plan
    from fgl.core.wire import upload_reader
    from fgl.plugins.aggregators.options import UnionOptions
    from fgl.plugins.aggregators.union import Union

    wanted = declaration(tokens, width)
    paths = sorted(folder.glob("*.safetensors"))[:clients]
    seconds: dict[str, float] = {}
    peak, began = Peak(), time.perf_counter()
    if door:
        names = [f"class {k}" for k in range(10)]
        expected = upload_reader.UploadPolicy(wanted, {path.stem for path in paths}, 0, names, 10**9)
        for path in paths:
            upload_reader.decode(path.read_bytes(), expected)
        seconds["validate"] = time.perf_counter() - began
    start = time.perf_counter()
    for path in paths:
        file_digest(path)
    seconds["check digests"] = time.perf_counter() - start
    start = time.perf_counter()
    uploads = [upload_reader.stored(path, wanted) for path in paths]
    seconds["open"] = time.perf_counter() - start
    start = time.perf_counter()
    conditioning = Union(UnionOptions()).aggregate(uploads, "g" * 64)
    seconds["unite"] = time.perf_counter() - start
    start = time.perf_counter()
    shards = plan.make_plan(conditioning, 1300, 0, 500)
    seconds["plan"] = time.perf_counter() - start
    total = time.perf_counter() - began
    return {
        "uploads": len(paths),
        "bytes": sum(path.stat().st_size for path in paths),
        "rows": sum(len(one) for one in uploads),
        "conditionings": len(conditioning),
        "images": sum(len(shard.items) for shard in shards),
        "seconds": round(total, 2),
        "seconds_by_part": {name: round(value, 2) for name, value in seconds.items()},
        **peak.end(),
    }


def synthesize(folder: Path, images: int) -> dict[str, Any]:
    """The stage as a run has it, from a plan of `images` images."""
    from fgl.contracts.progress import NullProgress
    from fgl.core.config.saved import load_config
    from fgl.core.plugin_manager import PluginManager
    from fgl.core.preflight import open_session
    from fgl.core.server import upload_store
    from fgl.core.stages import partition, pipeline
    from fgl.core.stages import synthesize as synthesize_stage
    from fgl.core.store.run_dir import RunDir

    config = load_config(
        {"generator": {"name": "tiny", "num_inference_steps": 2}, "synthesis": {"images_per_class": images // 10}},
        PluginManager.load(),
    )
    session = open_session(config, PluginManager.load(), RunDir(folder / f"run-{images}"), NullProgress())
    session.run.root.mkdir()
    done = pipeline.run(session, "plan")
    assert upload_store.kept(session.run, partition.client_ids(session, done)[0]) is not None
    peak, start = Peak(), time.perf_counter()
    synthesize_stage.STAGE.run(session, done)
    seconds = time.perf_counter() - start
    return {"images": images, "images_per_second": round(images / seconds, 1), **peak.end()}


def child(case: dict[str, Any]) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, __file__, "--case", json.dumps(case)], stdout=subprocess.PIPE, text=True, check=True
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print(json.dumps(found), flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--folder", type=Path, help="where the uploads are written; default: a temporary folder")
    parser.add_argument("--uploads", type=int, default=1000)
    parser.add_argument("--duplicates", type=int, default=10_000)
    parser.add_argument("--images", type=int, default=4000)
    parser.add_argument("--case", type=json.loads, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.case is not None:
        kind = args.case.pop("kind")
        folder = Path(args.case.pop("folder"))
        print(json.dumps((synthesize if kind == "synthesize" else aggregate)(folder, **args.case)))
        return
    given = args.folder
    folder = given if given is not None else Path(tempfile.mkdtemp())
    result: dict[str, Any] = {"command": " ".join(["python", "benchmarks/scale.py", *sys.argv[1:]])}
    try:
        big, equal = folder / "uploads", folder / "duplicates"
        write_uploads(big, args.uploads, 100, 77, 768, same=False)
        real = {"kind": "aggregate", "folder": str(big), "tokens": 77, "width": 768, "door": False}
        result["uploads"] = [child({**real, "clients": args.uploads // 10}), child({**real, "clients": args.uploads})]
        write_uploads(equal, args.duplicates, 10, 32, 160, same=True)
        tiny = {"kind": "aggregate", "folder": str(equal), "tokens": 32, "width": 160, "door": True}
        result["duplicates"] = [
            child({**tiny, "clients": args.duplicates // 10}),
            child({**tiny, "clients": args.duplicates}),
        ]
        painted = {"kind": "synthesize", "folder": str(folder)}
        result["synthesize"] = [
            child({**painted, "images": args.images // 10}),
            child({**painted, "images": args.images}),
        ]
    finally:
        if given is None:
            shutil.rmtree(folder)
    result["digest"] = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:12]
    if args.out is not None:
        args.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
