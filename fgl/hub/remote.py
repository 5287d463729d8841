"""Requests to the Hub: listings, and files that are resumed and checked, through the Hub client's session."""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

from fgl.errors import ModelError
from fgl.hub.cache import File, Listing, Repository, check_path, is_blob_name, is_hub_id, shown
from fgl.hub.documents import parse_object
from fgl.hub.http import SlowError, answer, whole
from fgl.hub.messages import causes, is_unreachable, retry_after, status
from fgl.text import kind_and_line, plain

if TYPE_CHECKING:
    from huggingface_hub import HfFileMetadata


log = logging.getLogger(__name__)
T = TypeVar("T")

PATIENCE = 60.0  # seconds that a server may ask to wait, in total
_ATTEMPTS = 5  # consecutive attempts without a new byte
_SYNC = 64 << 20  # bytes between two flushes to the disk: the most that a power cut can cost
_MOST_LISTED = 64 << 20  # bytes of a listing
_MOST_FILES = 100_000
_BROKEN = ("ReadError", "RemoteProtocolError", "ReadTimeout", "ChunkedEncodingError")


def fetch_listing(
    model: str, revision: str | None, *, timeout: float | None = None, patience: float = PATIENCE
) -> Listing:
    """All files of a revision.

    Args:
        model: Hub id.
        revision: Branch, tag or commit; None: the default branch.
        timeout: Longest wait for one response, seconds; None: the client's own setting.
        patience: Longest time for all pauses between retries, seconds.

    Raises what the client raises, and ModelError if the response makes no sense.
    """
    from huggingface_hub import constants

    wait = constants.HF_HUB_ETAG_TIMEOUT if timeout is None else timeout
    answered = with_retries(lambda: _asked_for(model, revision, wait, 2 * patience), patience=patience)
    commit, listed = answered.get("sha"), answered.get("siblings") or []
    if not isinstance(commit, str) or not re.fullmatch("[0-9a-f]{40}", commit):
        raise ModelError(f"model: {constants.ENDPOINT} names no commit of {model}; is HF_ENDPOINT a mirror of the Hub?")
    if not isinstance(listed, list) or len(listed) > _MOST_FILES:
        many = len(listed) if isinstance(listed, list) else "no list of"
        raise ModelError(
            f"model: {constants.ENDPOINT} lists {many} files of {model}; fgl accepts at most {_MOST_FILES}"
        )
    files = tuple(_listed(entry, model) for entry in listed)
    # the name is printed, and users are told to use it
    return Listing(str(answered.get("id")) if is_hub_id(str(answered.get("id"))) else model, commit, files)


def _asked_for(model: str, revision: str | None, timeout: float, seconds: float) -> dict[str, Any]:
    """The Hub's description of a model, as JSON, with limits on its length and depth."""
    from huggingface_hub import constants
    from huggingface_hub.utils import build_hf_headers, validate_repo_id

    validate_repo_id(model)
    at = "" if revision is None else f"/revision/{quote(revision, safe='')}"
    url = f"{constants.ENDPOINT}/api/models/{model}{at}?blobs=true"
    data = whole(url, build_hf_headers(library_name="fgl"), _MOST_LISTED, timeout, seconds)
    if data is None:
        raise ModelError(
            f"model: {constants.ENDPOINT} sends more than {_MOST_LISTED >> 20} MiB as the list of files of {model}; "
            "nothing is pulled from it: is HF_ENDPOINT a mirror of the Hub?"
        )
    try:
        return parse_object(data)
    except ValueError as error:
        raise ModelError(
            f"model: the answer of {constants.ENDPOINT} is not a list of files of {model} ({plain(error)}); is "
            "HF_ENDPOINT a mirror of the Hub?"
        ) from error


def _listed(entry: Any, model: str) -> File:
    """One file of a listing. Raises ModelError if it could not be verified later."""
    from huggingface_hub import constants

    entry = entry if isinstance(entry, dict) else {}
    path = check_path(entry.get("rfilename", ""), model)
    lfs = entry.get("lfs") if isinstance(entry.get("lfs"), dict) else None
    sha256 = str(lfs.get("sha256") or "") if lfs is not None else ""
    blob_id = "" if sha256 else str(entry.get("blobId") or "")
    for digest, form in ((sha256, "[0-9a-f]{64}"), (blob_id, "[0-9a-f]{40}")):
        if digest and not re.fullmatch(form, digest):
            raise ModelError(f"model: {model} lists {path} with a malformed checksum: {shown(digest)}")
    total = entry.get("size") if lfs is None else lfs.get("size")
    if not isinstance(total, int) or total < 0:
        raise ModelError(
            f"model: {constants.ENDPOINT} lists {path} of {model} without its size, so nothing could be "
            "checked; set HF_ENDPOINT to a mirror that speaks the Hub's whole protocol, or unset it"
        )
    return File(path, total, sha256, blob_id)


def with_retries(call: Callable[[], T], *, patience: float = PATIENCE) -> T:
    """The call's result, with retries, which the client does not make for listings.

    It is retried while the server asks for a pause or fails, and once if the server drops the connection or does not
    respond, but not without any connection. patience: longest time for all pauses, seconds.
    """
    end, pause, drops = time.monotonic() + patience, 1.0, 0
    while True:
        try:
            return call()
        except Exception as error:
            if status(error) is None and any(type(cause).__name__ in _BROKEN for cause in causes(error)):
                drops += 1
            if not is_unreachable(error) or (status(error) is None and drops != 1):
                raise
            wait = retry_after(error)
            wait = pause if wait is None else wait
            if time.monotonic() + wait > end:
                raise
            log.info("%s; trying again in %.0f s", kind_and_line(error), wait)
            time.sleep(wait)
            pause *= 2


def download(repository: Repository, commit: str, file: File, advance: Callable[[int], None], command: str) -> None:
    """Put one file into the cache, with the content that the listing states, and link it where the client looks.

    Everything but what is left to Xet is fetched here: after a kill the client would start again, and over HTTP it
    checks no digest and accepts any length.

    Args:
        repository: The model's folder in the cache.
        commit: The commit that the file belongs to.
        file: The file, as listed.
        advance: Called with the number of bytes present, including those of an earlier attempt.
        command: The command that messages suggest.

    Raises what the client raises, and ModelError if the content is wrong twice.
    """
    for _ in range(2):
        try:
            if _fetch(repository, commit, file, advance):
                return
        except _WrongContentError:
            continue
        path = with_retries(lambda: _by_the_client(repository, commit, file))
        if path.stat().st_size == file.size and file.matches(path, _ignore):
            advance(file.size)
            return
        repository.remove(commit, file)
    raise ModelError(
        f"model: {file.path} of {repository.model} came twice with content that does not have the checksum or the size "
        f"that the Hub states for it (commit {commit}); nothing of it was kept. A proxy or a mirror on the way "
        f"(HF_ENDPOINT) may damage it: try another, then `{command}`"
    )


def _ignore(count: int) -> None:
    pass


class _WrongContentError(Exception):
    pass


def _by_the_client(repository: Repository, commit: str, file: File) -> Path:
    from huggingface_hub import hf_hub_download

    # other arguments follow the client's own settings: cache, token, endpoint, timeouts
    return Path(hf_hub_download(repository.model, file.path, revision=commit, library_name="fgl"))


def _fetch(repository: Repository, commit: str, file: File, advance: Callable[[int], None]) -> bool:
    """Bring a file into the cache; return False if it is left to the client. Raises _WrongContentError, after which
    nothing of the file is kept."""
    from huggingface_hub import hf_hub_url
    from huggingface_hub.utils import WeakFileLock, build_hf_headers

    metadata = None if file.sha256 else _head(repository, commit, file)
    name = file.sha256 if metadata is None else _blob_name(metadata, repository, file)
    blob = repository.folder / "blobs" / name
    # the client's own lock: a second process that pulls this file waits for the first
    lock = repository.folder.parent / ".locks" / repository.folder.name / f"{name}.lock"
    for folder in (blob.parent, lock.parent):
        folder.mkdir(parents=True, exist_ok=True)
    with WeakFileLock(lock):
        path = repository.snapshot(commit) / file.path
        if _right(path, file):  # another process has pulled it meanwhile
            advance(file.size)
            return True
        repository.remove(commit, file)
        if _right(blob, file):  # of another commit, or by another process
            repository.link(commit, file, blob, new=False)
            advance(file.size)
            return True
        blob.unlink(missing_ok=True)
        if metadata is None:
            metadata = _head(repository, commit, file)
            _blob_name(metadata, repository, file)
        if metadata.xet_file_data is not None and _wants_xet(file):
            return False
        with _Part(blob.with_name(f"{name}.fgl.incomplete"), file, advance) as part:
            url = hf_hub_url(repository.model, file.path, revision=commit)
            try:
                _fill(part, url, build_hf_headers(library_name="fgl"), file.size)
                if not part.right():
                    raise _WrongContentError
            except _WrongContentError:
                part.restart()
                part.path.unlink()
                raise
            part.sync()
        part.path.replace(blob)
        repository.link(commit, file, blob, new=True)
    return True


def _right(path: Path, file: File) -> bool:
    return path.is_file() and path.stat().st_size == file.size and file.matches(path, _ignore)


def _blob_name(metadata: HfFileMetadata, repository: Repository, file: File) -> str:
    """The client's name for the file's blob, which is the server's name for its content. Raises ModelError if it is
    not a valid name, or differs from the checksum in the listing."""
    from huggingface_hub import constants

    name = str(metadata.etag or file.blob_id)
    if file.sha256 and name != file.sha256:
        raise ModelError(
            f"model: the Hub at {constants.ENDPOINT} states two checksums for {file.path} of {repository.model}: "
            f"{file.sha256} and {shown(metadata.etag)}; nothing is pulled from it"
        )
    if not is_blob_name(name):
        raise ModelError(
            f"model: the Hub at {constants.ENDPOINT} calls {file.path} of {repository.model} {shown(name)}, which "
            "cannot be the name of a file (ETag); set HF_ENDPOINT to a mirror that speaks the Hub's protocol"
        )
    return name


def _head(repository: Repository, commit: str, file: File) -> HfFileMetadata:
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url
    from huggingface_hub.utils import build_hf_headers

    url, timeout = hf_hub_url(repository.model, file.path, revision=commit), constants.HF_HUB_ETAG_TIMEOUT
    headers = build_hf_headers(library_name="fgl")
    return with_retries(lambda: get_hf_file_metadata(url, headers=dict(headers), timeout=timeout))


def _wants_xet(file: File) -> bool:
    """Whether to use Xet, which is faster but does not resume interrupted downloads: only where speed is requested, or
    for files too large for HTTP."""
    from huggingface_hub import constants
    from huggingface_hub.utils import is_xet_available

    # larger files are served only through Xet
    large = file.size > getattr(constants, "MAX_HTTP_DOWNLOAD_SIZE", 50 * 10**9)
    return bool(is_xet_available()) and (large or bool(getattr(constants, "HF_XET_HIGH_PERFORMANCE", False)))


class _Part:
    """An unfinished download, as a context manager. What an earlier process left is kept and counted."""

    def __init__(self, path: Path, wanted: File, advance: Callable[[int], None]) -> None:
        self.path, self.wanted, self.advance = path, wanted, advance
        self.size = self.unsynced = 0
        self.hash = wanted.hash(wanted.size)

    def __enter__(self) -> _Part:
        self.file = self.path.open("a+b")
        self.file.seek(0)
        while block := self.file.read(1 << 20):
            self._count(block)
        return self

    def __exit__(self, *error: object) -> None:
        try:
            self.file.close()
        except OSError:  # a full disk, which write has reported already
            if error[0] is None:
                raise

    def _count(self, block: bytes) -> None:
        self.hash.update(block)
        self.size += len(block)
        self.advance(len(block))

    def write(self, block: bytes) -> None:
        self.file.write(block)
        self.file.flush()
        self._count(block)
        self.unsynced += len(block)
        if self.unsynced >= _SYNC:
            self.sync()

    def sync(self) -> None:
        os.fsync(self.file.fileno())
        self.unsynced = 0

    def restart(self) -> None:
        self.file.truncate(0)
        self.advance(-self.size)
        self.size, self.hash = 0, self.wanted.hash(self.wanted.size)

    def right(self) -> bool:
        return not self.wanted.digest or self.hash.hexdigest() == self.wanted.digest


def _fill(part: _Part, url: str, headers: Mapping[str, str], size: int) -> None:
    """Request what is missing until the file is complete, with a pause after each failed attempt."""
    attempt, end = 0, time.monotonic() + PATIENCE
    while part.size != size:
        before = part.size
        if part.size > size:
            part.restart()
        try:
            _attempt(part, url, headers, size)
        except Exception as error:
            if not is_unreachable(error):
                raise
            if part.size > before and not isinstance(error, SlowError):
                attempt, end = 0, time.monotonic() + PATIENCE
            attempt += 1
            wait = retry_after(error)
            wait = min(2.0 ** (attempt - 1), 8.0) if wait is None else wait
            if attempt >= _ATTEMPTS or time.monotonic() + wait > end:
                raise
            log.info("%s after %d bytes; resuming in %.0f s", kind_and_line(error), part.size, wait)
            time.sleep(wait)
            continue
        if part.size <= before:  # a response without any of the requested bytes
            attempt += 1
            if attempt >= _ATTEMPTS:
                raise _WrongContentError
        elif part.size > size:
            raise _WrongContentError


def _attempt(part: _Part, url: str, headers: Mapping[str, str], size: int) -> None:
    """Write one response to the part, as far as it arrives."""
    sent_headers = {**headers, "Range": f"bytes={part.size}-"} if part.size else headers
    with answer(url, sent_headers) as (response, blocks):
        if response.status_code == 416:  # the part is longer than the file
            part.restart()
            return
        begins = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
        if part.size and (response.status_code != 206 or begins is None or int(begins[1]) != part.size):
            part.restart()
            if response.status_code == 206:
                return
        for block in blocks:
            part.write(block)
            if part.size > size:
                return
