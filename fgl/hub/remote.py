"""What is asked of the Hub: listings, and files that are resumed and checked, with the real client's own session."""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urljoin, urlsplit

from fgl.core.errors import ModelError
from fgl.hub.cache import File, Listing, Repository, check_path, is_blob_name, is_hub_id, shown
from fgl.hub.reasons import brief, causes, is_unreachable, retry_after, status

if TYPE_CHECKING:
    from huggingface_hub import HfFileMetadata

log = logging.getLogger(__name__)
T = TypeVar("T")

PATIENCE = 60.0  # seconds that a server may ask to wait, all its pauses together
_ATTEMPTS = 5  # in a row without a new byte
_SYNC = 64 << 20  # bytes between two flushes to the disk: what a power cut may cost
_REDIRECTS = 10
_BROKEN = ("ReadError", "RemoteProtocolError", "ReadTimeout", "ChunkedEncodingError")


def fetch_listing(
    model: str, revision: str | None, *, timeout: float | None = None, patience: float = PATIENCE
) -> Listing:
    """All files of the revision, the default branch's by default. timeout: seconds for one answer; the client's own
    setting by default. Raises what the client raises, and ModelError where the answer makes no sense."""
    from huggingface_hub import HfApi, constants

    wait = constants.HF_HUB_ETAG_TIMEOUT if timeout is None else timeout
    api = HfApi(library_name="fgl")
    found = patiently(
        lambda: api.model_info(model, revision=revision, files_metadata=True, timeout=wait), patience=patience
    )
    if found.sha is None or not re.fullmatch("[0-9a-f]{40}", found.sha):
        raise ModelError(f"model: {constants.ENDPOINT} names no commit of {model}; is HF_ENDPOINT a mirror of the Hub?")
    files = []
    for one in found.siblings or ():
        path = check_path(one.rfilename, model)
        sha256 = one.lfs.sha256 if one.lfs is not None else ""
        blob_id = "" if sha256 else one.blob_id or ""
        for digest, form in ((sha256, "[0-9a-f]{64}"), (blob_id, "[0-9a-f]{40}")):
            if digest and not re.fullmatch(form, str(digest)):
                raise ModelError(f"model: {model} lists {path} with a checksum that is none: {shown(digest)}")
        total = one.lfs.size if one.lfs is not None else one.size
        if not isinstance(total, int) or total < 0:
            raise ModelError(
                f"model: {constants.ENDPOINT} lists {path} of {model} without its size, so nothing could be "
                "checked; set HF_ENDPOINT to a mirror that speaks the Hub's whole protocol, or unset it"
            )
        files.append(File(path, total, sha256, blob_id))
    # what it is called is printed, and users are told to take it up
    return Listing(found.id if is_hub_id(str(found.id)) else model, found.sha, tuple(files))


def patiently(call: Callable[[], T], *, patience: float = PATIENCE) -> T:
    """The call's result, tried again where the server asks for a pause or fails by itself, and once where it drops the
    connection or is silent: the client does not for listings. Not where there is no connection at all."""
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
            log.info("%s; trying again in %.0f s", brief(error), wait)
            time.sleep(wait)
            pause *= 2


def download(repository: Repository, commit: str, file: File, advance: Callable[[int], None], command: str) -> None:
    """Put one file into the cache, with the content that the listing has told, and link it where the client looks.

    All but what is left to Xet is fetched here: the client begins again after a kill, checks no digest over HTTP, and
    writes whatever length comes. advance: is told the bytes that are there, those of an earlier attempt among them.
    command: what messages tell the user to run. Raises what the client raises, and ModelError where the content is
    wrong twice.
    """
    for _ in range(2):
        try:
            if _fetch(repository, commit, file, advance):
                return
        except _WrongContentError:
            continue
        path = patiently(lambda: _by_the_client(repository, commit, file))
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
    """Bring a file into the cache; False where it is left to the client. Raises _WrongContentError, and then nothing
    of the file is kept."""
    from huggingface_hub import hf_hub_url
    from huggingface_hub.utils import WeakFileLock, build_hf_headers

    metadata = None if file.sha256 else _head(repository, commit, file)
    name = file.sha256 if metadata is None else _blob_name(metadata, repository, file)
    blob = repository.folder / "blobs" / name
    # the client's own lock: whoever pulls this file waits for whoever came first
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
    """What the client calls the file among the blobs: whatever the server calls its content. Raises ModelError where
    that is no name, or another checksum than that of the listing."""
    from huggingface_hub import constants

    found = str(metadata.etag or file.blob_id)
    if file.sha256 and found != file.sha256:
        raise ModelError(
            f"model: the Hub at {constants.ENDPOINT} states two checksums for {file.path} of {repository.model}: "
            f"{file.sha256} and {shown(metadata.etag)}; nothing is pulled from it"
        )
    if not is_blob_name(found):
        raise ModelError(
            f"model: the Hub at {constants.ENDPOINT} calls {file.path} of {repository.model} {shown(found)}, which "
            "cannot be the name of a file (ETag); set HF_ENDPOINT to a mirror that speaks the Hub's protocol"
        )
    return found


def _head(repository: Repository, commit: str, file: File) -> HfFileMetadata:
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url
    from huggingface_hub.utils import build_hf_headers

    url, timeout = hf_hub_url(repository.model, file.path, revision=commit), constants.HF_HUB_ETAG_TIMEOUT
    headers = build_hf_headers(library_name="fgl")
    return patiently(lambda: get_hf_file_metadata(url, headers=dict(headers), timeout=timeout))


def _wants_xet(file: File) -> bool:
    """Xet is faster, and takes no broken download up again: it is for who asks for speed."""
    from huggingface_hub import constants
    from huggingface_hub.utils import is_xet_available

    # without Xet no larger file is served
    large = file.size > getattr(constants, "MAX_HTTP_DOWNLOAD_SIZE", 50 * 10**9)
    return bool(is_xet_available()) and (large or bool(getattr(constants, "HF_XET_HIGH_PERFORMANCE", False)))


class _Part:
    """A file on its way. What an earlier process left is kept and counted. A context manager."""

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
        except OSError:  # a full disk, which write has told already
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
    """Ask for what is missing until all is there, with a pause after each attempt that brought nothing."""
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
            if part.size > before:
                attempt, end = 0, time.monotonic() + PATIENCE
            attempt += 1
            wait = retry_after(error)
            wait = min(2.0 ** (attempt - 1), 8.0) if wait is None else wait
            if attempt >= _ATTEMPTS or time.monotonic() + wait > end:
                raise
            log.info("%s after %d bytes; going on in %.0f s", brief(error), part.size, wait)
            time.sleep(wait)
            continue
        if part.size <= before:  # an answer without a byte of what was asked for
            attempt += 1
            if attempt >= _ATTEMPTS:
                raise _WrongContentError
        elif part.size > size:
            raise _WrongContentError


def _attempt(part: _Part, url: str, headers: Mapping[str, str], size: int) -> None:
    """One answer, as far as it comes. Redirects are followed here: the token goes to the Hub and nowhere else."""
    from huggingface_hub import constants
    from huggingface_hub.utils import hf_raise_for_status

    asked = {**headers, "Accept-Encoding": "identity"}
    if part.size:
        asked["Range"] = f"bytes={part.size}-"
    for _ in range(_REDIRECTS):
        trusted = _origin(url) == _origin(constants.ENDPOINT)
        given = {key: value for key, value in asked.items() if trusted or key.lower() != "authorization"}
        with _open(url, given) as (response, blocks):
            if response.status_code in (301, 302, 303, 307, 308):
                url = urljoin(url, response.headers["Location"])
                continue
            if response.status_code == 416:  # what is there is longer than the file
                part.restart()
                return
            if response.status_code >= 400:
                response.close()  # the client would read what a server says of an error to its end, if there is one
            hf_raise_for_status(response)
            begins = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
            if part.size and (response.status_code != 206 or begins is None or int(begins[1]) != part.size):
                part.restart()
                if response.status_code == 206:
                    return
            for block in blocks:
                part.write(block)
                if part.size > size:
                    return
            return
    raise ModelError(f"model: {urlsplit(url).hostname} redirects more than {_REDIRECTS} times; is HF_ENDPOINT right?")


@contextmanager
def _open(url: str, headers: Mapping[str, str]) -> Iterator[tuple[Any, Iterator[bytes]]]:
    """The answer and its blocks. The client's session is one of requests or of httpx, by its version."""
    from huggingface_hub import constants
    from huggingface_hub.utils import get_session

    session: Any = get_session()
    timeout = constants.HF_HUB_DOWNLOAD_TIMEOUT
    if callable(getattr(session, "stream", None)):
        with session.stream("GET", url, headers=headers, timeout=timeout, follow_redirects=False) as response:
            yield response, response.iter_raw()
    else:
        with session.get(url, headers=headers, timeout=timeout, allow_redirects=False, stream=True) as response:
            yield response, response.iter_content(1 << 16)


def _origin(url: str) -> tuple[str, str, int | None]:
    parts = urlsplit(url)
    return parts.scheme, (parts.hostname or "").lower(), parts.port or {"http": 80, "https": 443}.get(parts.scheme)
