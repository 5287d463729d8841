"""Python processes that begin with the libraries imported, which takes a new interpreter ten seconds of computing.

    done = warm.run("from fgl.cli import main; main()", "models", "list", env=hub.env(tmp_path))
    assert done.returncode == 0, done.stderr

A process of its own imports torch, diffusers, transformers and what fgl makes of them, once, and forks a child for each
script. A child has the given environment, arguments and streams, and the Hub's client reads its settings once more, for
it has been imported under another environment. What tests imports themselves, or the number of threads, belongs into a
new interpreter all the same: `subprocess.run([sys.executable, ...])`.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NoReturn

LONGEST = 600
"""Seconds after which a script is killed as one that hangs."""


def run(
    script: str,
    *arguments: str,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    given: str = "",
    after: float = 0.0,
    remember: bool = False,
) -> subprocess.CompletedProcess[str]:
    """What `subprocess.run([sys.executable, "-c", script, *arguments])` gives.

    Args:
        given: stdin.
        after: seconds until it is killed, 0 for never.
        remember: import what it has imported, if it comes to its end, before the next script.
    """
    process = _process()
    assert process.stdin is not None
    assert process.stdout is not None
    with TemporaryDirectory() as folder:
        job = {
            "script": script,
            "arguments": arguments,
            "env": dict(os.environ if env is None else env),
            "cwd": str(cwd or Path.cwd()),
            "after": after,
            "remember": remember,
            "folder": folder,
        }
        (Path(folder) / "0").write_text(given, encoding="utf-8")
        process.stdin.write(json.dumps(job) + "\n")
        process.stdin.flush()
        status = json.loads(process.stdout.readline())["status"]
        out, err = ((Path(folder) / name).read_text(encoding="utf-8") for name in "12")
    return subprocess.CompletedProcess([script, *arguments], os.waitstatus_to_exitcode(status), out, err)


@cache
def _process() -> subprocess.Popen[str]:
    """One for all tests of this process, with which it ends: nothing more comes through its stdin then."""
    return subprocess.Popen(
        [sys.executable, __file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )


def serve() -> None:
    # Whatever a run imports late as well: a child that is killed while it imports has not even begun.
    import pandas  # noqa: F401  (pyarrow does, where it is there)
    import skimage.color  # noqa: F401
    import torch
    from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline  # noqa: F401
    from transformers import AutoModelForImageTextToText, CLIPTextModel, CLIPTokenizer  # noqa: F401
    from transformers.conversion_mapping import get_checkpoint_conversion_mapping

    import fgl
    import fgl.cli
    import fgl.core.orchestrator
    import fgl.plugins.classifiers.classifier
    import fgl.plugins.generators.stable_diffusion  # noqa: F401

    get_checkpoint_conversion_mapping("")  # compiles a thousand regular expressions, once for a process
    gc.collect()
    gc.freeze()  # or each child walks through what has been imported, and copies the memory that it touches
    torch.set_num_threads(1)  # in the parent, before any thread is started: a child forked later has none to lose
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        job = json.loads(line)
        child = os.fork()
        if child == 0:
            _child(job)
        deadline = time.monotonic() + job["after"] if job["after"] else None
        while True:
            ended, status = os.waitpid(child, 0 if deadline is None else os.WNOHANG)
            if ended:
                break
            if deadline is not None and time.monotonic() > deadline:
                os.kill(child, signal.SIGKILL)
                deadline = None
            else:
                time.sleep(0.001)
        if job["remember"]:
            _import_what_it_did(_modules_file(job))
        answers.write(json.dumps({"status": status}) + "\n")
        answers.flush()


def _modules_file(job: Mapping[str, Any]) -> Path:
    return Path(job["folder"]) / "modules"


def _import_what_it_did(modules: Path) -> None:
    """Import what a run that came to its end has imported, so that no later child spends its time on that."""
    for name in modules.read_text().splitlines() if modules.exists() else ():
        if name not in sys.modules:
            with suppress(Exception):  # a module that only exists inside of another one
                importlib.import_module(name)


def _child(job: Mapping[str, Any]) -> NoReturn:
    code = 1
    try:
        signal.alarm(LONGEST)
        for number, flags in enumerate((os.O_RDONLY, os.O_WRONLY | os.O_CREAT, os.O_WRONLY | os.O_CREAT)):
            file = os.open(Path(job["folder"]) / str(number), flags)
            os.dup2(file, number)
            os.close(file)
        sys.stdin, sys.stdout, sys.stderr = (open(n, "r" if n == 0 else "w", closefd=False) for n in range(3))  # noqa: SIM115
        sys.__stdin__, sys.__stdout__, sys.__stderr__ = sys.stdin, sys.stdout, sys.stderr  # type: ignore[misc]
        os.chdir(job["cwd"])
        os.environ.clear()
        os.environ.update(job["env"])
        importlib.reload(sys.modules["huggingface_hub.constants"])
        sys.argv = ["-c", *job["arguments"]]
        exec(compile(job["script"], "<string>", "exec"), {"__name__": "__main__"})
        code = 0
        if job["remember"]:
            _modules_file(job).write_text("\n".join(sys.modules))
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        with suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    serve()
