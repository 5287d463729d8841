"""Pulling a model: from the cache if possible, otherwise from the Hub or a mirror."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TypeVar

from fgl.contracts.progress import Progress
from fgl.errors import ModelError
from fgl.hub.cache import File, Listing, Repository, cache, is_commit
from fgl.hub.contents import check_weights
from fgl.hub.messages import causes, disk_full, explain, is_full, is_unreachable, not_cached, pull_command, size
from fgl.hub.metering import meter
from fgl.hub.remote import download, fetch_listing
from fgl.hub.sources import Plan, Source, sources
from fgl.text import kind_and_line

log = logging.getLogger(__name__)
T = TypeVar("T")


def pull(
    model: str,
    revision: str | None,
    patterns: Sequence[str],
    mirrors: Sequence[str] = (),
    *,
    update: bool = False,
    progress: Progress | None = None,
    announce: Callable[[Plan], None] | None = None,
    command: str | None = None,
) -> Path:
    """Return the snapshot's folder, with all files that match the patterns present and correct.

    If the cache has them, the network is not used.

    Args:
        model: Hub id.
        revision: Branch, tag or commit; None: the default branch.
        patterns: The files to pull.
        mirrors: Hub ids that hold the same files, each with @commit if it is pinned there to another one.
        update: Move the lock to the present commit.
        progress: Where to report bytes; None: the log.
        announce: Called before the first byte, and only if something must be pulled; None: the log.
        command: The command that messages suggest; by default the one that pulls the whole model.

    Raises ModelError, which says what to do.
    """
    from huggingface_hub import constants

    command = command or pull_command(model, revision, mirrors)
    if update and revision is not None and is_commit(revision):
        raise ModelError(f"model: {model} is pinned to {revision}, so it cannot be updated; change its revision")
    if update and constants.HF_HUB_OFFLINE:
        raise ModelError(f"model: cannot update {model} while HF_HUB_OFFLINE is set; unset it")
    candidates = sources(model, revision, mirrors)
    if not update and (snapshot := in_cache(candidates, patterns, command, not constants.HF_HUB_OFFLINE)) is not None:
        return snapshot
    if constants.HF_HUB_OFFLINE:
        return as_the_client_has_it(candidates, patterns, command)

    def work(source: Source) -> Path:
        folder = _pull_from(source, patterns, update, progress, announce or _log_plan, command)
        if source.mirror:
            _remember(partial(source.repository.stand_in_for, model))
            log.warning(
                "the Hub has no model %s that can be read, or it is private: using its mirror %s, at commit %s",
                model,
                source.model,
                folder.name,
            )
        return folder

    def otherwise(reason: str) -> Path:
        folder = as_the_client_has_it(candidates, patterns, command)
        log.warning("%s: using what is in the cache, %s", reason, folder)
        return folder

    return _from_first(candidates, work, None if update else otherwise, command)


def check_available(
    model: str, revision: str | None, patterns: Sequence[str], mirrors: Sequence[str] = (), command: str | None = None
) -> None:
    """Raise ModelError, as `pull` would, unless all files that match are in the cache, or the Hub lists them.

    Only the list is requested. For the arguments see `pull`.
    """
    from huggingface_hub import constants

    command = command or pull_command(model, revision, mirrors)
    candidates = sources(model, revision, mirrors)
    if in_cache(candidates, patterns, command, not constants.HF_HUB_OFFLINE) is not None:
        return
    if constants.HF_HUB_OFFLINE:
        as_the_client_has_it(candidates, patterns, command)
        return

    def work(source: Source) -> None:
        listing = _listing(source, source.repository.commit(source.revision), command)
        _selected(source, listing, patterns)

    def otherwise(reason: str) -> None:
        as_the_client_has_it(candidates, patterns, command)

    _from_first(candidates, work, otherwise, command)


def _from_first(
    candidates: Sequence[Source], work: Callable[[Source], T], otherwise: Callable[[str], T] | None, command: str
) -> T:
    """The work's result for the first source that exists.

    Args:
        candidates: The sources, in order.
        work: What to do with a source.
        otherwise: Called with the reason if the Hub cannot be reached; it may raise ModelError itself.
        command: The command that messages suggest.

    Raises ModelError, which says what to do.
    """
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    model, revision = candidates[0].model, candidates[0].revision
    absent: Exception | None = None
    for source in candidates:
        try:
            return work(source)
        except ModelError:
            raise
        except Exception as error:  # of whichever HTTP library the client uses
            chain = list(causes(error))
            gated = any(isinstance(cause, GatedRepoError) for cause in chain)
            missing = any(isinstance(cause, RepositoryNotFoundError) for cause in chain) and not gated
            if missing or (source.mirror and any(isinstance(cause, RevisionNotFoundError) for cause in chain)):
                absent = absent or error
                continue
            reason = explain(source.model, source.revision, error, command)
            if is_unreachable(error) and otherwise is not None:
                with suppress(ModelError):
                    return otherwise(reason)
            raise ModelError(f"model: {reason}") from error
    assert absent is not None
    mirrors = ", ".join(source.model for source in candidates[1:])
    tried = f". Its mirrors are not there either: {mirrors}" if mirrors else ""
    raise ModelError(f"model: {explain(model, revision, absent, command)}{tried}") from absent


def in_cache(candidates: Sequence[Source], patterns: Sequence[str], command: str, pulls: bool) -> Path | None:
    """The snapshot of the first source whose commit is known and whose files are all present and correct.

    A mirror counts only if it stood in for this model before: otherwise the model may be gated, and not gone.

    Args:
        candidates: The sources, in order.
        patterns: The files that must be present.
        command: The command that messages suggest.
        pulls: Whether a damaged file is pulled next.
    """
    for source in candidates:
        repository = source.repository
        if source.mirror and not repository.stands_in_for(candidates[0].model):
            continue
        commit = repository.commit(source.revision)
        listing = None if commit is None else repository.listing(commit)
        if commit is None or listing is None:
            continue
        files = listing.select(patterns)
        whole = files and all(repository.present(commit, file) for file in files)
        if whole and not _wrong(repository, commit, files, command, pulls):
            check_weights(source.model, listing, patterns, files)
            return repository.snapshot(commit)
    return None


def _wrong(repository: Repository, commit: str, files: Sequence[File], command: str, pulls: bool) -> list[File]:
    """The files whose content is not what the Hub has listed. They are removed. Files not yet checked are read.

    pulls: see `in_cache`.
    """
    unread = [file for file in files if repository.present(commit, file) and not repository.checked(commit, file)]
    if not unread:
        return []
    home = repository.snapshot(commit)
    wrong = [file for file in unread if not file.matches(home / file.path, lambda count: None)]
    right = [file for file in unread if file not in wrong]
    for file in wrong:
        try:
            repository.remove(commit, file)
        except OSError as error:
            raise ModelError(
                f"model: {home / file.path} is damaged and cannot be replaced ({kind_and_line(error)}); ask whoever "
                f"keeps that cache, or set HF_HOME to a folder of your own, then `{command}`"
            ) from error
        then = "it is pulled again" if pulls else f"it was removed, `{command}` brings it back"
        log.warning("%s of %s is damaged in the cache: %s", file.path, repository.model, then)
    _remember(lambda: repository.mark(commit, right, wrong))
    return wrong


def _remember(write: Callable[[], None]) -> None:
    """Write a record, if possible: a shared cache may be read-only, and then files are read again next time."""
    try:
        write()
    except OSError as error:
        log.info("cannot write to the cache: %s", kind_and_line(error))


def _pull_from(
    source: Source,
    patterns: Sequence[str],
    update: bool,
    progress: Progress | None,
    announce: Callable[[Plan], None],
    command: str,
) -> Path:
    repository = source.repository
    known = None if update else repository.commit(source.revision)
    listing = None if known is None else repository.listing(known)
    if listing is None:
        listing = _listing(source, known, command)
    commit, files = listing.commit, _selected(source, listing, patterns)
    _wrong(repository, commit, files, command, True)
    missing = [file for file in files if not repository.present(commit, file)]
    home = repository.folder
    if missing:
        needed, free = _left(repository, commit, files), shutil.disk_usage(_existing(home)).free
        how = "pinned" if source.revision is not None and is_commit(source.revision) else "locked"
        announce(
            Plan(source.model, commit, how, repository.snapshot(commit), tuple(files), tuple(missing), needed, free)
        )
        if needed > free:
            raise disk_full(source.model, cache(), needed, free, command)
    locks = known is None and not (source.revision is not None and is_commit(source.revision))
    # After an interrupted update the old commit must stay in use; after an interrupted first pull, the new one is.
    early = locks and repository.locked(source.revision) is None
    try:
        with meter(progress, f"pull {source.model}", sum(file.size for file in missing)) as advance:
            for file in missing:
                download(repository, commit, file, advance, command)
                repository.save(listing)
                repository.mark(commit, [file])
                if early:
                    repository.lock(source.revision, commit)
                    early = False
        if missing and locks:
            repository.lock(source.revision, commit)
    except OSError as error:
        if not is_full(error):
            raise
        left, free = _left(repository, commit, files), shutil.disk_usage(_existing(home)).free
        raise disk_full(source.model, cache(), left, free, command) from error
    if not missing:
        _remember(lambda: repository.save(listing))
        _remember(lambda: repository.mark(commit, files))
        if locks:
            _remember(lambda: repository.lock(source.revision, commit))
    return repository.snapshot(commit)


def _selected(source: Source, listing: Listing, patterns: Sequence[str]) -> list[File]:
    """The files that match. Raises ModelError if none do, or if weights are missing among them."""
    files = listing.select(patterns)
    if not files:
        raise ModelError(
            f"model: {source.model} has none of the files that are needed ({', '.join(patterns)}) at commit "
            f"{listing.commit}; choose another model or revision"
        )
    check_weights(source.model, listing, patterns, files)
    return files


def _listing(source: Source, known: str | None, command: str) -> Listing:
    """What the Hub has at the commit, or at the revision if no commit is known."""
    from huggingface_hub.errors import RevisionNotFoundError

    try:
        listing = fetch_listing(source.model, known or source.revision)
    except RevisionNotFoundError as error:
        if known is None or known == source.revision:
            raise
        raise ModelError(
            f"model: {source.model} no longer has commit {known}, to which it was locked when it was first pulled; "
            f"`{command} --update` locks it to the present one"
        ) from error
    if listing.id != source.model:
        log.warning("%s is now called %s on the Hub: use that name from now on", source.model, listing.id)
    return listing


def as_the_client_has_it(candidates: Sequence[Source], patterns: Sequence[str], command: str) -> Path:
    """A snapshot in the cache that another program may have pulled, of the model or a mirror, as the client judges it.
    Does not use the network."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    for source in candidates:
        repository = source.repository
        commit = repository.commit(source.revision) or repository.seen(source.revision)
        if commit is None:
            continue
        listing = repository.listing(commit)
        if listing is not None:
            files = listing.select(patterns)
            whole = files and all(repository.present(commit, file) for file in files)
            if not whole or _wrong(repository, commit, files, command, False):
                continue
            if source.mirror:
                log.warning("%s is not in the cache: using its mirror %s", candidates[0].model, source.model)
            return repository.snapshot(commit)
        try:
            wanted = [pattern for pattern in patterns if not pattern.startswith("!")]
            snapshot = snapshot_download(source.model, revision=commit, allow_patterns=wanted, local_files_only=True)
        except LocalEntryNotFoundError:
            continue
        return Path(snapshot)
    raise ModelError(f"model: {not_cached(candidates[0].model, command)}")


def _left(repository: Repository, commit: str, files: Sequence[File]) -> int:
    """Bytes still to download: those in blobs of another commit or in an interrupted download do not count."""
    blobs, left = repository.folder / "blobs", 0
    for file in files:
        if repository.present(commit, file):
            continue
        begun = (blobs / name for name in (f"{file.digest or '-'}.fgl.incomplete", file.digest or "-"))
        left += max(0, file.size - max(path.stat().st_size if path.is_file() else 0 for path in begun))
    return left


def _existing(folder: Path) -> Path:
    while not folder.exists():
        folder = folder.parent
    return folder


def _log_plan(plan: Plan) -> None:
    log.warning(
        "pulling %s of %s (commit %s) to %s",
        size(plan.needed),
        plan.model,
        plan.commit[:12],
        plan.folder,
    )
