"""Where a model may come from, how its commit is held, and what a pull is about to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fgl.contracts.options import is_revision
from fgl.errors import ModelError
from fgl.hub.cache import File, Repository, is_commit, is_hub_id
from fgl.text import quoted


@dataclass(frozen=True, slots=True)
class Source:
    """A repository that may hold the model."""

    model: str
    """Hub id of the repository."""

    revision: str | None
    """Branch, tag or commit; None: the default branch."""

    mirror: bool = False
    """Whether it is a mirror of the model that was requested."""

    @property
    def repository(self) -> Repository:
        return Repository.of(self.model)


@dataclass(frozen=True, slots=True)
class Plan:
    """What a pull is about to do."""

    model: str
    """The repository, which is a mirror's if that was needed."""

    commit: str
    """The commit that is pulled."""

    how: str
    """How the commit is determined; see `held`."""

    folder: Path
    """Where the files will be."""

    files: tuple[File, ...]
    """All files that were requested."""

    missing: tuple[File, ...]
    """The files to download."""

    needed: int
    """Bytes to download, less what an interrupted download has left."""

    free: int
    """Bytes free on the disk."""


def sources(model: str, revision: str | None, mirrors: Sequence[str]) -> list[Source]:
    """The model, then its mirrors: each a Hub id, with @revision if it is pinned there to another one.

    Raises ModelError for a revision that git does not accept, since file names are derived from it.
    """
    candidates = [Source(model, revision)]
    for mirror in mirrors:
        name, _, pinned = mirror.partition("@")
        candidates.append(Source(name, pinned or revision, mirror=True))
    for source in candidates:
        if source.revision is not None and not is_revision(source.revision):
            raise ModelError(
                f"revision: got {quoted(source.revision)} for {quoted(source.model)}; expected a branch, tag or commit"
            )
        if not is_hub_id(source.model):
            raise ModelError(f"model: got {quoted(source.model)}; expected a Hub id, owner/name")
    return candidates


def held(repository: Repository, revision: str | None) -> str:
    """How a revision is held: "pinned" if it is a commit, "locked" if this machine has locked it, else "none"."""
    if revision is not None and is_commit(revision):
        return "pinned"
    return "none" if repository.locked(revision) is None else "locked"
