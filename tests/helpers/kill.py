"""Runs that die, each in a process of its own (`tests.helpers.warm`).

A job is JSON on stdin: config, out, result (file for what the run returns), log (file to which each synthesized image,
trained epoch, asked client and finished write is a line), and how to die: kill_at (the n-th write to the run directory;
0 never), kill_on ([line, n]: the write that would be the n-th such line in the log, lines of earlier processes among
them), moment ("before" it, "half" way through, or "after"), jump (whether the clock is to leap about), file_limit
(bytes that a file may have, 0 for any).
"""

from __future__ import annotations

import json
import os
import resource
import signal
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from tests.helpers import warm

_SCRIPT = "import json, sys; from tests.helpers.kill import child; child(json.load(sys.stdin))"


@dataclass
class Killer:
    """Starts such processes."""

    config: Mapping[str, Any]
    folder: Path
    jobs: int = 0

    def run(self, out: Path, *, after: float = 0.0, **how: Any) -> Ended:
        """after: seconds until it is killed, 0 for never. how: see above."""
        self.jobs += 1
        job = {
            "config": dict(self.config),
            "out": str(out),
            "result": str(self.folder / f"result-{self.jobs}.json"),
            "log": str(self.folder / f"{out.name}.log"),
            **how,
        }
        began = time.monotonic()
        done = warm.run(_SCRIPT, given=json.dumps(job), after=after, remember=True)
        result = Path(job["result"])
        return Ended(
            killed=done.returncode < 0,
            code=max(done.returncode, -1),
            result=json.loads(result.read_text()) if result.exists() else {"stderr": done.stderr},
            seconds=time.monotonic() - began,
        )

    def log(self, out: Path, kind: str) -> list[str]:
        path = self.folder / f"{out.name}.log"
        lines = path.read_text().splitlines() if path.exists() else []
        return [line for line in lines if line.startswith(kind)]


@dataclass(frozen=True)
class Ended:
    """result: what `fgl.run` returned, or {"error": its message}; what it said where there is neither. code: exit
    code."""

    killed: bool
    code: int
    result: dict[str, Any]
    seconds: float = 0.0


def child(job: Mapping[str, Any]) -> None:
    """Run `job` in this process, and exit as `fgl` does."""
    import fgl
    from fgl.errors import FGLError

    try:
        _watch(job)
        if job.get("file_limit"):
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (job["file_limit"], resource.RLIM_INFINITY))
        result = fgl.run(job["config"], out=job["out"])
        if job.get("file_limit"):
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        Path(job["result"]).write_text(json.dumps(result))
    except FGLError as error:
        Path(job["result"]).write_text(json.dumps({"error": str(error), "type": type(error).__name__}))
        raise SystemExit(error.exit_code) from error


def _watch(job: Mapping[str, Any]) -> None:
    """Log what is done, and die where the job says."""
    from fgl.core.client import prepare as client_prepare
    from fgl.core.store.checkpoints import Checkpoints
    from fgl.core.store.owned import OwnedFolder
    from fgl.plugins.generators.synthesizer import DiffusionSynthesizer

    log_file = Path(job["log"])

    def log(line: str) -> None:
        with log_file.open("a") as file:
            file.write(line + "\n")

    synthesize, save, prepare, write = (
        DiffusionSynthesizer.synthesize,
        Checkpoints.save,
        client_prepare.prepare,
        OwnedFolder.write,
    )
    count = 0
    written = Counter(log_file.read_text().splitlines() if log_file.exists() else ())

    def logged_synthesize(self: Any, shard: Any, conditioning: Any, progress: Any) -> Any:
        place = 0
        for painted in synthesize(self, shard, conditioning, progress):
            for item in shard.items[place : place + len(painted.pixels)]:
                log(f"image {item.image_id}")
            place += len(painted.pixels)
            yield painted

    def logged_save(self: Any, arrays: Any) -> None:
        content = sha256(b"".join(arrays[name].tobytes() for name in sorted(arrays))).hexdigest()
        log(f"epoch {self.folder.name}/{self.name} {content}")
        save(self, arrays)

    def logged_prepare(payload: bytes, *more: Any) -> bytes:
        log(f"client {json.loads(payload)['client_id']}")
        return prepare(payload, *more)

    def deadly_write(self: OwnedFolder, path: Path, data: bytes) -> None:
        nonlocal count
        count += 1
        line = f"write {path.relative_to(job['out']).as_posix()}"
        written[line] += 1
        here = count == job.get("kill_at") or [line, written[line]] == job.get("kill_on")
        if here and job["moment"] == "half":
            path.parent.mkdir(parents=True, exist_ok=True)
            self.note(path)
            path.with_name(f".{path.name}.part").write_bytes(data[: len(data) // 2])
        if here and job["moment"] in ("before", "half"):
            os.kill(os.getpid(), signal.SIGKILL)
        write(self, path, data)
        log(line)
        if here:
            os.kill(os.getpid(), signal.SIGKILL)

    DiffusionSynthesizer.synthesize = logged_synthesize  # type: ignore[method-assign]
    Checkpoints.save = logged_save  # type: ignore[method-assign]
    client_prepare.prepare = logged_prepare
    OwnedFolder.write = deadly_write  # type: ignore[method-assign]
    if job.get("jump"):
        now, calls = time.time, 0

        def jumping() -> float:
            nonlocal calls
            calls += 1
            return now() + (-1) ** calls * 86_400 * 365 * calls

        time.time = jumping
