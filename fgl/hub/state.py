"""What the cache has of a model, what the Hub would send, and whether the cached files are correct."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fgl.contracts.options import ModelRef
from fgl.contracts.progress import NullProgress, Progress
from fgl.errors import ModelError
from fgl.hub.cache import File, Listing, Repository
from fgl.hub.messages import explain, is_unreachable, pull_command
from fgl.hub.metering import meter
from fgl.hub.pulling import as_the_client_has_it, in_cache
from fgl.hub.remote import fetch_listing
from fgl.hub.sources import Source, held, sources

log = logging.getLogger(__name__)

_PATIENCE = 4.0  # seconds for a listing that is for information only


@dataclass(frozen=True, slots=True)
class State:
    """The state of one model on this machine."""

    model: str
    """The repository in the cache, which may be a mirror."""

    how: str
    """How the commit is determined; see `held`."""

    commit: str | None
    """None if nothing is pinned, locked or pulled."""

    cache: str
    """How much of it the cache has: "all", "client" (what a client needs), "part" or "no"."""

    cached: int
    """Bytes in the cache."""

    client: int | None = None
    """Bytes that a fresh pull of what a client needs downloads; None if unknown."""

    all: int | None = None
    """Bytes that a fresh pull downloads; None if unknown."""

    why: str = ""
    """Why sizes are unknown."""

    reachable: bool = True
    """Whether the Hub answered, or was not asked."""

    folder: Path | None = None
    """Where the model is, or would be."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What `verify` found."""

    model: str
    """The repository in the cache, which may be a mirror."""

    commit: str
    """The commit that was verified."""

    folder: Path
    """Its snapshot."""

    right: int
    """Number of files whose content is the commit's."""

    read: int
    """Bytes read."""

    damaged: tuple[str, ...] = ()
    """Paths of files with other content."""

    missing: tuple[str, ...] = ()
    """Paths of files that were once present."""

    unknown: tuple[str, ...] = ()
    """Paths of files whose digest is not known."""

    absent: int | None = None
    """Number of files that were never pulled; None if unknown."""


def state(use: ModelRef, *, ask: bool = True, command: str | None = None) -> State:
    """The state of a model. ask: whether to ask the Hub for sizes that are not recorded, for a few seconds at most.
    command: see `pull`."""
    from huggingface_hub import constants

    command = command or pull_command(use.model, use.revision, use.mirrors)
    candidates = sources(use.model, use.revision, use.mirrors)
    source = _present(candidates) or candidates[0]
    repository = source.repository
    commit = repository.commit(source.revision) or repository.seen(source.revision)
    listing = None if commit is None else repository.listing(commit)
    why, reachable = "", True
    if listing is None and (constants.HF_HUB_OFFLINE or not ask):
        why = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else "the Hub is not asked"
    elif listing is None:
        try:
            listing = fetch_listing(source.model, commit or source.revision, timeout=_PATIENCE, patience=_PATIENCE)
        except Exception as error:  # of whichever HTTP library the client uses
            reachable = not is_unreachable(error)
            why = explain(source.model, source.revision, error, command)
    client = all_ = None
    if listing is not None:
        client = sum(file.size for file in listing.select(use.client_files)) if use.client_files else None
        all_ = sum(file.size for file in listing.select(use.files))
    cached, kind = _extent(repository, commit, listing, use)
    home = None if commit is None else repository.snapshot(commit)
    return State(
        source.model, held(repository, source.revision), commit, kind, cached, client, all_, why, reachable, home
    )


def verify(use: ModelRef, progress: Progress | None = None, command: str | None = None) -> Verdict:
    """Read every cached file of the model's commit. command: see `pull`. Raises ModelError if the cache has none."""
    from huggingface_hub import constants

    command = command or pull_command(use.model, use.revision, use.mirrors)
    candidates = sources(use.model, use.revision, use.mirrors)
    source = _present(candidates)
    if source is None:
        raise ModelError(f"model: {use.model} is not in the cache: `{command}`")
    repository = source.repository
    commit = repository.commit(source.revision) or repository.seen(source.revision)
    assert commit is not None
    home = repository.snapshot(commit)
    snapshot, listing = repository.named(commit), repository.listing(commit)
    if listing is None and not constants.HF_HUB_OFFLINE:
        try:
            listing = fetch_listing(source.model, commit)
        except Exception as error:
            log.warning("%s; judging by the names that the cache gives", explain(source.model, commit, error, command))
    known = {file.path: file for file in (listing or snapshot).files}
    right: list[File] = []
    wrong: list[File] = []
    unknown = [file.path for file in snapshot.files if not _digest(known.get(file.path))]
    with meter(
        progress or NullProgress(), f"verify {source.model}", sum(file.size for file in snapshot.files)
    ) as advance:
        for cached_file in snapshot.files:
            file = known.get(cached_file.path)
            if file is None or not _digest(file):
                continue
            fits = file.size in (0, cached_file.size) and file.matches(home / file.path, advance)
            (right if fits else wrong).append(file)
    missing = sorted(repository.pulled(commit) - {file.path for file in snapshot.files})
    absent = None if listing is None else _absent(listing, use.files, snapshot, missing)
    if listing is not None:
        repository.save(listing)
        repository.mark(commit, right, wrong)  # a wrong one is read again, and replaced, by the next pull
    paths = tuple(file.path for file in wrong)
    read = sum(file.size for file in snapshot.files)
    return Verdict(source.model, commit, home, len(right), read, paths, tuple(missing), tuple(unknown), absent)


def folder_of(use: ModelRef, patterns: Sequence[str], command: str | None = None) -> Path | None:
    """The model's folder if all files that match are cached. Does not use the network. command: see `pull`."""
    command = command or pull_command(use.model, use.revision, use.mirrors)
    candidates = sources(use.model, use.revision, use.mirrors)
    if (snapshot := in_cache(candidates, patterns, command, False)) is not None:
        return snapshot
    try:
        return as_the_client_has_it(candidates, patterns, command)
    except ModelError:
        return None


def commit(use: ModelRef) -> str | None:
    """The commit that a pull would use now; None if unknown.

    It is the pinned or locked one, else the Hub's present one (asked for a few seconds at most), else the one that
    another program has left in the cache.
    """
    from huggingface_hub import constants
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    candidates = sources(use.model, use.revision, use.mirrors)
    for source in candidates:
        if not source.mirror or source.repository.stands_in_for(use.model):
            known = source.repository.commit(source.revision)
            if known is not None:
                return known
    for source in () if constants.HF_HUB_OFFLINE else candidates:
        try:
            return fetch_listing(source.model, source.revision, timeout=_PATIENCE, patience=_PATIENCE).commit
        except RepositoryNotFoundError as error:
            if isinstance(error, GatedRepoError):
                break
        except Exception:  # a pull will report it
            break
    present = _present(candidates)
    return None if present is None else present.repository.seen(present.revision)


def paths(use: ModelRef, *, ask: bool, update: bool = False) -> tuple[str, ...] | None:
    """Paths of all files of the model's commit; None if unknown.

    They come from the record of an earlier pull, else from the Hub, else from what the cache has.

    Args:
        use: The model.
        ask: Whether the Hub may be asked.
        update: Take the commit that the Hub has now.
    """
    from huggingface_hub import constants
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    candidates, commits = sources(use.model, use.revision, use.mirrors), {}
    for source in candidates:
        repository = source.repository
        if source.mirror and not repository.stands_in_for(use.model):
            continue
        commits[source] = commit = None if update else repository.commit(source.revision)
        if commit is not None and (listing := repository.listing(commit)) is not None:
            return tuple(file.path for file in listing.files)
    for source in candidates if ask and not constants.HF_HUB_OFFLINE else ():
        try:
            listing = fetch_listing(source.model, commits.get(source) or source.revision)
        except RepositoryNotFoundError as error:
            if isinstance(error, GatedRepoError):
                break
        except Exception:  # a pull will meet and report it
            break
        else:
            return tuple(file.path for file in listing.files)
    present = _present(candidates)
    if present is None:
        return None
    commit = present.repository.commit(present.revision) or present.repository.seen(present.revision)
    assert commit is not None
    return tuple(file.path for file in present.repository.named(commit).files)


def _present(candidates: Sequence[Source]) -> Source | None:
    """The first source that has a snapshot in the cache."""
    for source in candidates:
        repository = source.repository
        if source.mirror and not repository.stands_in_for(candidates[0].model):
            continue
        commit = repository.commit(source.revision) or repository.seen(source.revision)
        if commit is not None and repository.snapshot(commit).is_dir():
            return source
    return None


def _extent(repository: Repository, commit: str | None, listing: Listing | None, use: ModelRef) -> tuple[int, str]:
    """Bytes of the model's files in the cache, and how much of the model that is (see `State.cache`)."""
    if commit is None or not repository.snapshot(commit).is_dir():
        return 0, "no"
    wanted = (listing or repository.named(commit)).select(use.files)
    present = [file for file in wanted if repository.present(commit, file)]
    cached = sum(file.size for file in present)
    if listing is None or not present:
        return cached, "part" if present else "no"
    if len(present) == len(wanted):
        return cached, "all"
    client = listing.select(use.client_files) if use.client_files else []
    return cached, "client" if client and all(repository.present(commit, file) for file in client) else "part"


def _digest(file: File | None) -> str:
    return "" if file is None else file.digest


def _absent(listing: Listing, patterns: Sequence[str], snapshot: Listing, missing: Sequence[str]) -> int:
    have = {file.path for file in snapshot.files} | set(missing)
    return sum(file.path not in have for file in listing.select(patterns))
