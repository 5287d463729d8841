"""Run the main job with an installed wheel, in an empty folder away from the checkout, and look at what it leaves.

$ python tools/try_package.py .venv-wheel            # the embedded default
$ python tools/try_package.py .venv-wheel --smoke    # the same with few images, steps and epochs
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

SMOKE = ["--images-per-class", "4", "--set", "generator.num_inference_steps=2", "--set", "classifier.epochs=1"]
LEFT = ("report.md", "report.json", "classifier/model.safetensors", "server/plan.parquet", "sheets")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("environment", type=Path, help="the virtual environment that holds the package")
    parser.add_argument("--smoke", action="store_true", help="a small job")
    given = parser.parse_args()
    # The environment's own python may be a link: it must be called by this name.
    python = Path(os.path.abspath(given.environment / "bin" / "python"))
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "FGL_", "VIRTUAL_ENV"))}
    with tempfile.TemporaryDirectory() as folder:

        def fgl(*arguments: str) -> str:
            command = [str(python.with_name("fgl")), *arguments]
            done = subprocess.run(command, cwd=folder, env=clean, stdout=subprocess.PIPE, text=True, check=False)
            if done.returncode:
                sys.exit(f"`fgl {' '.join(arguments)}` ended with exit code {done.returncode}")
            return done.stdout

        where = subprocess.run(
            [python, "-c", "import fgl; print(fgl.__file__)"],
            cwd=folder,
            env=clean,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        if not Path(where).is_relative_to(python.parent.parent):
            sys.exit(f"fgl comes from {where}, and not from {given.environment}")
        result = json.loads(fgl("run", "--json", "--quiet", "--out", "run", *(SMOKE if given.smoke else [])))
        lost = [name for name in LEFT if not (Path(folder) / "run" / name).exists()]
        if lost:
            sys.exit(f"the run left no {', '.join(lost)}")
        if result["synthetic"]["digest"] not in fgl("digest", "run"):
            sys.exit("`fgl digest` does not find the digest that the run states")
        fgl("run", "--resume", "run", "--quiet")
        fgl("plugins", "list")
        top1 = result["result"]["selected"]["top1"]
        print(f"fgl {fgl('--version').strip()} from {given.environment}: top-1 {top1:.1%}")


if __name__ == "__main__":
    main()
