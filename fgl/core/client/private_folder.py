"""What a client keeps of its upload in its private folder: its prompts, and a sealed summary with their digest."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from fgl.core.store.owned import OwnedFolder, file_digest
from fgl.errors import StoreError
from fgl.io import strict_json
from fgl.io.files import read_text

if TYPE_CHECKING:
    from fgl.contracts.prompts import Prompt


PROMPTS, SUMMARY = "prompts.jsonl", "summary.json"
_DIGEST = "prompts_sha256"
ENCODED = "rows_are_encodings"
"""In the summary, and false, where the rows that were sent are no encodings of the texts beside it."""


def private_files(folder: Path) -> OwnedFolder:
    """What a client keeps: for its owner alone."""
    return OwnedFolder(folder, "private", private=True)


def keep(folder: Path, prompts: Sequence[Prompt], summary: Mapping[str, object]) -> None:
    """Write the prompts, then the summary with their digest: it is the commit of both."""
    run = private_files(folder)
    lines = [strict_json.dumps(asdict(prompt)) + "\n" for prompt in prompts]
    data = "".join(lines).encode()
    run.write(folder / PROMPTS, data)
    run.write_sealed(folder / SUMMARY, {**summary, _DIGEST: hashlib.sha256(data).hexdigest()})


def damaged(folder: Path) -> list[str]:
    """Which of the two files are no longer what was written, or lost while the other is there. None of a folder that
    is elsewhere: a client's files need not lie beside the server's."""
    summary = OwnedFolder.read_sealed(folder / SUMMARY)
    there = [name for name in (PROMPTS, SUMMARY) if (folder / name).exists()]
    if not there:
        return []
    if summary is None:
        return [SUMMARY]
    try:
        return [] if file_digest(folder / PROMPTS) == summary.get(_DIGEST) else [PROMPTS]
    except StoreError:
        return [PROMPTS]


def texts(folder: Path) -> list[str] | None:
    """The prompts' texts; None where they are elsewhere, or the rows that were sent are no encodings of them. Raises
    StoreError where they are damaged."""
    if names := damaged(folder):
        files = " and ".join(str(folder / name) for name in names)
        raise StoreError(f"{files} is damaged or lost: fgl run --resume has the client write it again")
    if not (folder / PROMPTS).exists():
        return None
    if (OwnedFolder.read_sealed(folder / SUMMARY) or {}).get(ENCODED) is False:
        return None
    # not splitlines(), which breaks a text at the line separators that Unicode has
    lines = read_text(folder / PROMPTS).split("\n")[:-1]
    return [str(strict_json.loads(line)["text"]) for line in lines]


ERROR = "error.txt"
"""In the private folder: why the client could not answer, for its own people."""
