"""What a person should know of how data was read: files that were passed over, images that do not look as stored."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from fgl.plugins.datasets import kinds
from fgl.plugins.datasets.decode import Traits
from fgl.text import counted, escaped, some

_DARK = 63
"""A whole dataset of 16 bits that is no brighter than this, of 255, has values of 14 bits or fewer."""


@dataclass
class Seen:
    """Traits of the images of a dataset, collected one by one."""

    sixteen: list[str] = field(default_factory=list)
    """Names of images with 16 bits per channel."""

    peak: int = 0
    """The brightest value of these, 0 to 255."""

    stretched: list[str] = field(default_factory=list)
    """Names of images that were stretched to the range of their own values."""

    several: list[str] = field(default_factory=list)
    """Names of images with several frames."""

    def add(self, name: str, traits: Traits) -> None:
        if traits.sixteen:
            self.sixteen.append(name)
            self.peak = max(self.peak, traits.peak)
        if traits.stretched:
            self.stretched.append(name)
        if traits.several:
            self.several.append(name)

    def notes(self) -> list[str]:
        sentences = []
        if self.sixteen and self.peak <= _DARK:
            how = "black" if self.peak == 0 else "dark"
            sentences.append(
                f"{counted(len(self.sixteen), '16-bit image')} ({some(self.sixteen)}) with no value above "
                f"{self.peak * 256 + 255} of 65535: the upper 8 bits are kept, so they come out {how}; multiply them "
                "first so that they fill 16 bits, or save them in 8"
            )
        if self.stretched:
            sentences.append(
                f"{counted(len(self.stretched), 'image')} of 32 bits ({some(self.stretched)}), each stretched from its "
                "own minimum to its own maximum: brightness does not compare between them; save them in 8 bits to "
                "choose the range"
            )
        if self.several:
            sentences.append(
                f"{counted(len(self.several), 'image')} with several frames or pages ({some(self.several)}): only "
                "the first is used"
            )
        return sentences


def passed_over(root: Path, taken: Collection[Path], depth: int) -> list[str]:
    """Notes on files in `root`, and up to `depth` folders below it, that were not taken as images. Hidden files do not
    count."""
    groups: dict[str, list[str]] = {}
    others: dict[str, list[str]] = {}
    for path in _files(root, depth):
        if path in taken:
            continue
        name = escaped(str(path.relative_to(root)))
        reason = _reason(path)
        if reason is not None:
            groups.setdefault(reason, []).append(name)
        else:
            others.setdefault(path.suffix.lower() or "no ending", []).append(name)
    notes = [f"passed over {counted(len(names), 'file')} ({some(names)}): {why}" for why, names in groups.items()]
    if others:
        count = sum(map(len, others.values()))
        by_ending = sorted(others.items(), key=lambda item: (-len(item[1]), item[0]))
        endings = some([f"{escaped(ending)} {len(names):,}" for ending, names in by_ending], 5)
        known = "that is not an image" if count == 1 else "that are not images"
        notes.append(f"passed over {counted(count, 'file')} {known} ({endings}), such as {by_ending[0][1][0]}")
    return notes


def _files(folder: Path, depth: int) -> Iterator[Path]:
    try:
        with os.scandir(folder) as entries:
            visible = [entry for entry in entries if not entry.name.startswith(".") and entry.name != "__MACOSX"]
    except OSError:
        return
    for entry in sorted(visible, key=lambda entry: entry.name):
        if not is_folder(entry):
            yield folder / entry.name
        elif depth:
            yield from _files(folder / entry.name, depth - 1)


def is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _reason(path: Path) -> str | None:
    """Why a file that may be a picture was not taken; None where it cannot be one."""
    try:
        if not path.exists():
            return f"{'it is a link' if path.is_symlink() else 'it has gone'}, and nothing is there"
        if not path.is_file():
            return "not a regular file"
    except OSError:
        return "a link that leads to itself"
    ending = "".join(path.suffixes[-2:]).lower() if path.name.lower().endswith(".nii.gz") else path.suffix.lower()
    named = kinds.ENDINGS.get(ending.removesuffix(".gz"))
    if named is not None:
        return kinds.advice(named)
    if ending in _NO_PICTURE:
        return None
    try:
        with path.open("rb") as file:
            kind = kinds.by_content(file.read(kinds.HEAD))
    except OSError as error:
        return f"it cannot be read ({error.strerror})"
    if kind is None or kind in ("HTML page", "Git LFS pointer"):
        return None
    if kind in kinds.READ:
        ended = f"the ending {escaped(ending)!r}" if ending else "no ending"
        return f"{kind} by content, but with {ended}: rename to end in {_ENDING.get(kind, '.png')}"
    return kinds.advice(kind)


_ENDING = {"JPEG": ".jpg", "JPEG 2000": ".jp2", "PNM": ".ppm", "TIFF": ".tif", "WebP": ".webp"} | {
    kind: f".{kind.lower()}" for kind in ("AVIF", "BMP", "GIF", "PNG")
}
_NO_PICTURE = frozenset(
    (".txt", ".json", ".jsonl", ".csv", ".tsv", ".xml", ".md", ".yaml", ".yml", ".html", ".htm", ".db", ".ini", ".log",
     ".py", ".sh", ".zip", ".tar", ".gz", ".tgz", ".7z", ".rar", ".xls", ".xlsx", ".docx", ".pdf", ".mat", ".npz")
)  # fmt: skip
"""Endings of files that are not opened to check whether they are images."""
