"""Finished captions, in a file at the client, so that a killed run resumes where it stopped."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path

from PIL import Image

from fgl.errors import StoreError
from fgl.io import strict_json
from fgl.io.files import open_append, open_regular

FILE = "captions.jsonl"
_CHECK = "check"


class CaptionCache:
    """A file with one JSON object per line: model, image, caption, and a digest of these. It is only appended to; lines
    of other models stay, and a line that does not fit its digest counts as absent.

    folder: the client's private folder; None: keep nothing. model: digest of the model and of its settings.
    """

    def __init__(self, folder: Path | None, model: str) -> None:
        self._path = None if folder is None else folder / FILE
        self._model = model
        self._known = {} if self._path is None else _read(self._path, model)

    def __contains__(self, image: str) -> bool:
        return image in self._known

    def __getitem__(self, image: str) -> str:
        return self._known[image]

    def add(self, captions: Mapping[str, str]) -> None:
        """Store captions, by the image's digest. They are on disk when this returns. Raises StoreError."""
        captions = {image: _whole(caption) for image, caption in captions.items()}
        self._known.update(captions)
        if self._path is None:
            return
        lines = [
            strict_json.dumps(
                {
                    "model": self._model,
                    "image": image,
                    "caption": caption,
                    _CHECK: _check(self._model, image, caption),
                }
            )
            + "\n"
            for image, caption in captions.items()
        ]
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with open_append(self._path, private=True) as file:
                _mend(file.fileno())
                file.write("".join(lines).encode())
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise StoreError(
                f"cannot write {self._path}: {error.strerror or error}; what is in it is kept: free some space, or "
                "make the folder writable, and run the same command again"
            ) from error


def image_digest(image: Image.Image) -> str:
    """sha256 over size and RGB values: the same in any file and under any name."""
    pixels = image.convert("RGB")
    return hashlib.sha256(f"{pixels.width}x{pixels.height}:".encode() + pixels.tobytes()).hexdigest()


def _read(path: Path, model: str) -> dict[str, str]:
    """Image's digest → caption, from the lines of `model`. A torn line, left by a killed process, is ignored."""
    known: dict[str, str] = {}
    try:
        with open_regular(path) as file:
            for line in file:
                if not line.endswith(b"\n"):
                    break
                try:
                    entry = strict_json.loads(line)
                    image, caption = str(entry["image"]), str(entry["caption"])
                    if entry["model"] == model and entry[_CHECK] == _check(model, image, caption):
                        known[image] = caption
                except (ValueError, KeyError, TypeError):
                    continue
    except FileNotFoundError:
        pass
    except OSError as error:
        raise StoreError(
            f"cannot read {path}: {error.strerror or error}; expected a file that was written here before, or none"
        ) from error
    return known


def _check(model: str, image: str, caption: str) -> str:
    """A flipped letter must not become another prompt."""
    return hashlib.sha256(strict_json.dumps([model, image, caption]).encode()).hexdigest()[:16]


def _whole(caption: str) -> str:
    """Without lone surrogates, which no file and no upload can hold: a resumed run must read the same text as the run
    that was killed."""
    return re.sub("[\ud800-\udfff]", " ", caption)


def _mend(handle: int) -> None:
    """End a torn last line, so that the next line is not lost too."""
    size = os.fstat(handle).st_size
    if size and os.pread(handle, 1, size - 1) != b"\n":
        os.write(handle, b"\n")


__all__ = ["FILE", "CaptionCache", "image_digest"]
