"""Runs that die. A process of its own that imports the libraries once and forks a child for each run it is told of;
what the first run imports beside them, it imports before the second.

A job is one line of JSON on stdin: config, out, result (file for what the run returns), log (file to which each
synthesized image, trained epoch and asked client is a line), and how to die: kill_at (the n-th write to the run
directory; 0 never), moment ("before" it, "half" way through, or "after"), after (seconds, 0 never), jump (whether the
clock is to leap about), file_limit (bytes that a file may have, 0 for any). The answer is a line: how the child ended.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class Killer:
    """Speaks to that process."""

    config: Mapping[str, Any]
    folder: Path
    process: subprocess.Popen[str] = field(init=False)
    jobs: int = 0

    def __enter__(self) -> Killer:
        self.process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        return self

    def __exit__(self, *error: object) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(60)

    def run(self, out: Path, **how: Any) -> Ended:
        self.jobs += 1
        job = {
            "config": dict(self.config),
            "out": str(out),
            "result": str(self.folder / f"result-{self.jobs}.json"),
            "log": str(self.folder / f"{out.name}.log"),
            **how,
        }
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()
        began = time.monotonic()
        status = json.loads(self.process.stdout.readline())["status"]
        result = Path(job["result"])
        return Ended(
            killed=os.WIFSIGNALED(status),
            code=os.WEXITSTATUS(status) if os.WIFEXITED(status) else -1,
            result=json.loads(result.read_text()) if result.exists() else {},
            seconds=time.monotonic() - began,
        )

    def log(self, out: Path, kind: str) -> list[str]:
        path = self.folder / f"{out.name}.log"
        lines = path.read_text().splitlines() if path.exists() else []
        return [line for line in lines if line.startswith(kind)]


@dataclass(frozen=True)
class Ended:
    """result: what `fgl.run` returned, or {"error": its message}; empty where it was killed. code: exit code."""

    killed: bool
    code: int
    result: dict[str, Any]
    seconds: float = 0.0


def serve() -> None:
    # Whatever a run imports late as well: a child that is killed while it imports has not even begun.
    import pandas  # noqa: F401  (pyarrow does, where it is there)
    import skimage.color  # noqa: F401
    import torch
    from diffusers import StableDiffusionPipeline  # noqa: F401

    import fgl
    import fgl.core.orchestrator
    import fgl.plugins.classifiers.classifier
    import fgl.plugins.generators.stable_diffusion  # noqa: F401

    torch.set_num_threads(1)  # in the parent, before any thread is started: a child forked later has none to lose
    answers = sys.stdout
    sys.stdout = sys.stderr
    for line in sys.stdin:
        job = json.loads(line)
        child = os.fork()
        if child == 0:
            _child(job)
        deadline = time.monotonic() + job["after"] if job.get("after") else None
        while True:
            ended, status = os.waitpid(child, 0 if deadline is None else os.WNOHANG)
            if ended:
                break
            if deadline is not None and time.monotonic() > deadline:
                os.kill(child, signal.SIGKILL)
                deadline = None
            else:
                time.sleep(0.001)
        answers.write(json.dumps({"status": status}) + "\n")
        answers.flush()
        _import_what_it_did(_modules_file(job))


def _modules_file(job: Mapping[str, Any]) -> Path:
    return Path(job["result"]).with_suffix(".modules")


def _import_what_it_did(modules: Path) -> None:
    """Import what a run that came to its end has imported, so that no later child spends its time on that."""
    for name in modules.read_text().splitlines() if modules.exists() else ():
        if name not in sys.modules:
            with suppress(Exception):  # a module that only exists inside of another one
                importlib.import_module(name)


def _child(job: Mapping[str, Any]) -> None:
    import fgl
    from fgl.errors import FGLError

    code = 1
    try:
        _watch(job)
        if job.get("file_limit"):
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (job["file_limit"], resource.RLIM_INFINITY))
        result = fgl.run(job["config"], out=job["out"])
        if job.get("file_limit"):
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        Path(job["result"]).write_text(json.dumps(result))
        _modules_file(job).write_text("\n".join(sys.modules))
        code = 0
    except FGLError as error:
        Path(job["result"]).write_text(json.dumps({"error": str(error), "type": type(error).__name__}))
        code = error.exit_code
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def _watch(job: Mapping[str, Any]) -> None:
    """Log what is done, and die where the job says."""
    from fgl.core.client import prepare as client_prepare
    from fgl.core.store.checkpoints import Checkpoints
    from fgl.core.store.owned import OwnedFolder
    from fgl.plugins.generators.synthesizer import DiffusionSynthesizer

    def log(line: str) -> None:
        with Path(job["log"]).open("a") as file:
            file.write(line + "\n")

    synthesize, save, prepare, write = (
        DiffusionSynthesizer.synthesize,
        Checkpoints.save,
        client_prepare.prepare,
        OwnedFolder.write,
    )
    count = 0

    def logged_synthesize(self: Any, shard: Any, conditioning: Any, progress: Any) -> Any:
        place = 0
        for painted in synthesize(self, shard, conditioning, progress):
            for item in shard.items[place : place + len(painted.pixels)]:
                log(f"image {item.image_id}")
            place += len(painted.pixels)
            yield painted

    def logged_save(self: Any, arrays: Any) -> None:
        log(f"epoch {self.folder.name}/{self.name}")
        save(self, arrays)

    def logged_prepare(payload: bytes, *more: Any) -> bytes:
        log(f"client {json.loads(payload)['client_id']}")
        return prepare(payload, *more)

    def deadly_write(self: OwnedFolder, path: Path, data: bytes) -> None:
        nonlocal count
        count += 1
        here = count == job.get("kill_at")
        if here and job["moment"] == "half":
            path.parent.mkdir(parents=True, exist_ok=True)
            self.note(path)
            path.with_name(f".{path.name}.part").write_bytes(data[: len(data) // 2])
        if here and job["moment"] in ("before", "half"):
            os.kill(os.getpid(), signal.SIGKILL)
        write(self, path, data)
        log(f"write {path.name}")
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


if __name__ == "__main__":
    serve()
