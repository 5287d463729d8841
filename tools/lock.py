"""Write requirements.lock: the tested set with the sha256 of each file of each version, for `pip --require-hashes`.

    python tools/lock.py        # needs uv on the path, and an index; versions in constraints.txt stay as they are

The lock holds for every platform and Python that pyproject.toml allows. torch stands in it with the hashes of its
builds on the index, and of the build for the CPU that the tests ran on, which PyTorch serves elsewhere. Libraries of
builds for CUDA are not locked: `pip install` completes them where such a build was taken.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements.lock"
EXTRAS = ("dev", "lora", "plots", "supply")
# The installer itself cannot be replaced while it installs.
LEFT_OUT = ("pip",)
MORE_HASHES = {
    "torch": ["6746dbcbeb526eb61330b76b41ff1b4eb848951103a892eeb080dfa2b264667b"],  # 2.13.0+cpu, CPython 3.11, x86_64
}
HEAD = """\
# The tested set, each file by its sha256. Written by `python tools/lock.py`; do not edit.
#   pip install --no-deps --require-hashes -r requirements.lock
"""


def main() -> None:
    command = [
        "uv",
        "pip",
        "compile",
        "--quiet",
        "--universal",
        "--generate-hashes",
        "--python-version",
        "3.11",
        "--no-header",
        "--no-annotate",
        "--constraints",
        "constraints.txt",
    ]
    command += [part for extra in EXTRAS for part in ("--extra", extra)]
    command += [part for name in LEFT_OUT for part in ("--no-emit-package", name)]
    try:
        made = subprocess.run([*command, "pyproject.toml"], cwd=ROOT, check=True, capture_output=True, text=True)
    except FileNotFoundError:
        sys.exit("tools/lock.py needs uv: pip install uv")
    except subprocess.CalledProcessError as error:
        sys.exit(f"uv could not resolve the set: {error.stderr.strip()}")
    text = made.stdout
    for name, digests in MORE_HASHES.items():
        lines = "".join(f"    --hash=sha256:{digest} \\\n" for digest in digests)
        pinned = re.search(rf"^{name}==[^\n]*\\\n", text, flags=re.M)
        count = len(re.findall(rf"^{name}==", text, flags=re.M))
        if pinned is not None:
            text = text[: pinned.end()] + lines + text[pinned.end() :]
        if count != 1:
            sys.exit(f"{name} is not in the lock, or more than once")
    LOCK.write_text(HEAD + text)
    print(f"{LOCK.name}: {len(re.findall(r'^[^ #]+==', text, flags=re.M))} pinned, {text.count('--hash=')} files")


if __name__ == "__main__":
    main()
