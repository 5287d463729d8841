"""Mutated uploads by the hundred thousand: what is accepted, what is refused by which rule, and the memory it takes.

    python benchmarks/fuzz_uploads.py --count 100000 --signed 20000 --out benchmarks/results/fuzz_uploads.json

First mutations that know nothing of checksums (bits, cuts, splices, edited headers): any that is accepted must mean
what a file that was written means, and the safetensors library must read the same arrays. Then mutations with a
checksum that fits: any that is accepted must keep every rule, as `tests.helpers.uploads` judges without the decoder's
code. Any error that is no refusal is a crash. --codec leaves out other codecs. Last, files as large as the cap with
headers made to cost memory: the growth of the process is measured for each and compared with the cap.
"""

from __future__ import annotations

import argparse
import json
import resource
import struct
import subprocess
import sys
import time
from collections import Counter
from itertools import product
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load

from fgl.contracts.generator import ArraySpec, UploadSchema
from fgl.contracts.prompts import Prompt
from fgl.core.wire.codecs import MAX_TEXT, TEXT, built_in
from fgl.core.wire.upload import UploadHeader, encode, encode_texts
from fgl.core.wire.upload_reader import UploadPolicy, decode
from fgl.errors import UploadError
from tests.helpers.uploads import keeps_every_rule, mutants, same_arrays, same_upload, signed_mutants

NAMES = ("river", "road", "sea")
DECLARATION = UploadSchema(
    (ArraySpec("prompt_embeds", (4, 3)), ArraySpec("negative_prompt_embeds", (4, 3), shared=True, optional=True)),
    "e" * 64,
)
EXPECTED = UploadPolicy(DECLARATION, ("client-0", "client-1"), 0, NAMES, 100_000, 1000, "trial", texts=True)
CAP = 64_000_000
CODECS = (*built_in(), TEXT)


def files(codecs: list[str]) -> list[bytes]:
    """Valid uploads of several shapes in each codec."""
    draw, found = np.random.default_rng(0), []
    shapes = (("client-0", 1, False), ("client-1", 9, True))
    for codec, (client, rows, negative) in product(codecs, shapes):
        prompts = [
            Prompt(
                k % 3,
                f"{NAMES[k % 3]} {k} 林",
                "n" if negative else None,
                "sketch" if k % 2 else None,
                1.0 + k,
                2.0 if k == 2 else None,
            )
            for k in range(rows)
        ]
        arrays = {"prompt_embeds": draw.standard_normal((rows, 4, 3)).astype(np.float32)}
        indices = {}
        if negative:
            arrays["negative_prompt_embeds"] = draw.standard_normal((1, 4, 3)).astype(np.float32)
            indices["negative_prompt_embeds"] = np.zeros(rows, np.int32)
        sender = UploadHeader(client, 0, NAMES, "trial")
        if codec == TEXT:
            found.append(encode_texts(sender, prompts))
        else:
            found.append(encode(sender, DECLARATION, codec, prompts, arrays, indices))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--signed", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--codec", choices=CODECS, action="append", help="may be given again; default: all")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--memory", help=argparse.SUPPRESS)  # measures one case, in a process of its own
    args = parser.parse_args()
    if args.memory:
        print(json.dumps(growth(args.memory)))
        return
    valid = files(args.codec or list(CODECS))
    meanings = [decode(data, EXPECTED) for data in valid]
    result = {"command": " ".join(["python", "benchmarks/fuzz_uploads.py", *sys.argv[1:]])}
    for kind, made in (
        ("mutated", mutants(valid, args.seed, args.count)),
        ("signed", signed_mutants(valid, args.seed, args.signed)),
    ):
        counts: Counter[str] = Counter()
        rules: Counter[str] = Counter()
        began = time.perf_counter()
        for data in made:
            counts["files"] += 1
            try:
                found = decode(data, EXPECTED)
            except UploadError as error:
                counts["refused"] += 1
                rules[error.rule] += 1
                continue
            except Exception as error:
                counts["crashed"] += 1
                print(f"CRASH {type(error).__name__}: {error}: {data[:200]!r}", file=sys.stderr)
                continue
            counts["accepted"] += 1
            counts["unchanged"] += data in valid
            if kind == "mutated" and not any(same_upload(found, one) for one in meanings):
                counts["accepted with another meaning"] += 1
            try:
                counts["read otherwise by safetensors"] += not same_arrays(load(data), found)
            except SafetensorError:
                counts["refused by safetensors alone"] += 1
            counts["accepted against a rule"] += not keeps_every_rule(found, EXPECTED)
        result[kind] = {
            **{
                name: counts[name]
                for name in (
                    "files",
                    "refused",
                    "accepted",
                    "unchanged",
                    "accepted with another meaning",
                    "accepted against a rule",
                    "read otherwise by safetensors",
                    "refused by safetensors alone",
                    "crashed",
                )
            },
            "refused by rule": dict(rules.most_common()),
            "seconds": round(time.perf_counter() - began, 1),
        }
        print(json.dumps(result[kind], indent=1))
    result["memory"] = {"cap_bytes": CAP, "growth_in_caps": {}}
    for case in CASES:
        done = subprocess.run([sys.executable, __file__, "--memory", case], capture_output=True, text=True, check=True)
        result["memory"]["growth_in_caps"][case] = json.loads(done.stdout)
        print(case, done.stdout.strip())
    if args.out is not None:
        args.out.write_text(json.dumps(result, indent=1) + "\n")


def headed(header: bytes, size: int) -> bytes:
    return struct.pack("<Q", len(header)) + header + bytes(size - 8 - len(header))


def _whole(codec: str, rows: int) -> bytes:
    """A valid upload of nearly the cap."""
    arrays = {"prompt_embeds": np.ones((rows, 4, 4000), np.float32)}
    return encode(
        UploadHeader("client-0", 0, NAMES, "trial"), BIG, codec, [Prompt(0, "x") for _ in range(rows)], arrays, {}
    )


def _texts(rows: int) -> bytes:
    """Texts as long as they may be, of letters that take four bytes."""
    prompts = [Prompt(0, f"{row:05d}" + "🌊" * (MAX_TEXT - 5)) for row in range(rows)]
    return encode_texts(UploadHeader("client-0", 0, NAMES, "trial"), prompts)


BIG = UploadSchema((ArraySpec("prompt_embeds", (4, 4000)),), "e" * 64)
CASES = {
    "a valid file of 58 MB": lambda: _whole("fp32", 900),
    "a valid file of 61 MB, int8": lambda: _whole("int8", 1900),
    "900 texts of 8 kB, which become 58 MB": lambda: _texts(900),
    "7,000 texts of 8 kB, which become 448 MB": lambda: _texts(7000),
    "a header of a megabyte, all brackets": lambda: headed(b'{"a":' + b"[" * 999_000 + b"}", CAP),
    "a header of a megabyte, 90,000 names": lambda: headed(
        b"{" + b",".join(b'"%d":1' % k for k in range(90_000)) + b"}", CAP
    ),
    "a header that claims 2^63 bytes": lambda: struct.pack("<Q", 2**63) + bytes(CAP - 8),
    "an array of 2^40 x 2^40": lambda: headed(
        b'{"class_id":{"dtype":"I32","shape":[1099511627776,1099511627776],"data_offsets":[0,63000000]}}', CAP
    ),
    "zeros": lambda: bytes(CAP),
    "ten times the cap": lambda: bytes(10 * CAP),
}


def growth(case: str) -> dict[str, float]:
    """How much the process grew while it decoded a file that it held already, in caps."""
    data = CASES[case]()
    expected = UploadPolicy(BIG, ("client-0",), 0, NAMES, CAP, 100_000, "trial", texts=True)
    _forget_peak()
    before = _peak()
    said = "accepted"
    try:
        decode(data, expected)
    except UploadError as error:
        said = error.rule
    return {"outcome": said, "growth_in_caps": round((_peak() - before) / CAP, 3)}  # type: ignore[dict-item]


def _forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")  # Linux: the peak begins anew


def _peak() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    main()
