"""The state of learning, in one file in the client's private folder."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from fgl.errors import StoreError
from fgl.io.files import make_folders, read_bytes, write

FILE = "learned.safetensors"


class LearnedState:
    """A file that belongs to one key, under a digest: what is damaged, or of another key, counts as absent.

    folder: the client's private folder; None: nothing is stored. key: of everything that determines the result.
    """

    def __init__(self, folder: Path | None, key: str) -> None:
        self._folder, self._key = folder, key

    def load(self) -> dict[str, Tensor] | None:
        """The tensors stored last, or None. Raises StoreError if the file cannot be read."""
        if self._folder is None:
            return None
        path = self._folder / FILE
        try:
            data = read_bytes(path)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreError(
                f"cannot read {path}: {error.strerror or error}; expected a file that was written here before, or none"
            ) from error
        head, body = data[:_HEAD], data[_HEAD:]
        if head != self._seal(body):
            return None
        try:
            return load(body)
        except SafetensorError:
            return None

    def save(self, tensors: Mapping[str, Tensor]) -> None:
        """Replace the file, atomically. Raises StoreError."""
        if self._folder is None:
            return
        body = save(dict(tensors))
        make_folders(self._folder, self._folder, private=True)
        write(self._folder / FILE, self._seal(body) + body, private=True)

    def _seal(self, body: bytes) -> bytes:
        return hashlib.sha256(self._key.encode() + body).digest()


_HEAD = hashlib.sha256().digest_size


__all__ = ["FILE", "LearnedState"]
