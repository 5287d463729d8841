"""What the cache has of a model, what the Hub would send, and whether what is there is right."""

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
from fgl.hub.pulling import Source, as_the_client_has_it, held, in_cache, sources
from fgl.hub.remote import fetch_listing

log = logging.getLogger(__name__)

_PATIENCE = 4.0  # seconds for a list that only informs


@dataclass(frozen=True, slots=True)
class State:
    """Of one model on this machine.

    model: the repository that is there, which may be a mirror. how: see `held`. commit: None where nothing is pinned,
    locked or pulled. cache: "all", "client" (what a client needs), "part" or "no". cached: bytes. client, all: bytes
    that a fresh pull downloads, None where they are not known; why says the reason. reachable: whether the Hub gave an
    answer, or was not asked. folder: where it is or would be.
    """

    model: str
    how: str
    commit: str | None
    cache: str
    cached: int
    client: int | None = None
    all: int | None = None
    why: str = ""
    reachable: bool = True
    folder: Path | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """right: files whose content is the commit's. damaged, missing: paths; missing are files that were there once.
    unknown: paths of which no digest is known. absent: how many files were never pulled, None where that cannot be
    told."""

    model: str
    commit: str
    folder: Path
    right: int
    read: int
    damaged: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    absent: int | None = None


def state(use: ModelRef, *, ask: bool = True, command: str | None = None) -> State:
    """ask: whether the Hub may be asked for sizes that no record has, for some seconds at most. command: see `pull`."""
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
    """Read every file that the cache has of the model's commit. command: see `pull`. Raises ModelError where the cache
    has none."""
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
    """The model's folder where all files that match are there; nothing is asked. command: see `pull`."""
    command = command or pull_command(use.model, use.revision, use.mirrors)
    candidates = sources(use.model, use.revision, use.mirrors)
    if (snapshot := in_cache(candidates, patterns, command, False)) is not None:
        return snapshot
    try:
        return as_the_client_has_it(candidates, patterns, command)
    except ModelError:
        return None


def commit(use: ModelRef) -> str | None:
    """The commit that a pull would give now: pinned or locked, else the Hub's present one, for which it is asked some
    seconds at most, else what another program has left in the cache; None where nobody knows."""
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
        except Exception:  # whatever it is, whoever pulls the model says it
            break
    present = _present(candidates)
    return None if present is None else present.repository.seen(present.revision)


def paths(use: ModelRef, *, ask: bool, update: bool = False) -> tuple[str, ...] | None:
    """Of all files of the model's commit: by the record of an earlier pull, else by the Hub, where it may be asked,
    else of what the cache has; None where nobody knows. update: of the commit that the Hub has now."""
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
        except Exception:  # whatever it is, a pull meets it too, and says it
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
    """The first source of which the cache has a snapshot."""
    for source in candidates:
        repository = source.repository
        if source.mirror and not repository.stands_in_for(candidates[0].model):
            continue
        commit = repository.commit(source.revision) or repository.seen(source.revision)
        if commit is not None and repository.snapshot(commit).is_dir():
            return source
    return None


def _extent(repository: Repository, commit: str | None, listing: Listing | None, use: ModelRef) -> tuple[int, str]:
    """Bytes of the model's files in the cache, and how much of it that is."""
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
