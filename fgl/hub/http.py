"""HTTP responses of the Hub, through the Hub client's session: redirects, and limits on size and time."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urljoin, urlsplit

from fgl.errors import ModelError
from fgl.text import plain

WINDOW = 60.0  # seconds within which bytes must arrive
SLOWEST = 1_000  # bytes a second: a server that sends more slowly could hold a connection for ever
_REDIRECTS = 10


class SlowError(TimeoutError):
    """A server that sends too slowly to wait for."""


@contextmanager
def answer(url: str, headers: Mapping[str, str], timeout: float | None = None) -> Iterator[tuple[Any, Iterator[bytes]]]:
    """Yield the response and its blocks, as they come over the wire.

    Redirects are followed here, so that the token is sent to the Hub and nowhere else.

    Args:
        url: What to get.
        headers: Request headers.
        timeout: Longest wait between two bytes, seconds; None: the client's own setting.

    Raises what the client raises, SlowError, and ModelError for too many redirects.
    """
    from huggingface_hub import constants
    from huggingface_hub.utils import hf_raise_for_status

    all_headers = {**headers, "Accept-Encoding": "identity"}
    for _ in range(_REDIRECTS):
        trusted = _origin(url) == _origin(constants.ENDPOINT)
        sent_headers = {key: value for key, value in all_headers.items() if trusted or key.lower() != "authorization"}
        with _open(url, sent_headers, timeout) as (response, blocks):
            if response.status_code in (301, 302, 303, 307, 308):
                url = urljoin(url, response.headers["Location"])
                continue
            if response.status_code >= 400 and response.status_code != 416:
                response.close()  # or the client would read the body of an error to its end, however long
                hf_raise_for_status(response)
            yield response, _paced(blocks)
            return
    host = plain(urlsplit(url).hostname, 80)
    raise ModelError(f"model: {host} redirects more than {_REDIRECTS} times; is HF_ENDPOINT right?")


def whole(url: str, headers: Mapping[str, str], most: int, timeout: float, seconds: float) -> bytes | None:
    """The whole body, or None if it is longer than `most` bytes.

    Args:
        url: What to get.
        headers: Request headers.
        most: Longest body, bytes.
        timeout: Longest wait between two bytes, seconds.
        seconds: Longest time for the whole body.

    Raises as `answer` does.
    """
    content, began = bytearray(), time.monotonic()
    with answer(url, headers, timeout) as (_, blocks):
        for block in blocks:
            content += block
            if len(content) > most:
                return None
            if time.monotonic() - began > seconds:
                raise SlowError(f"{len(content)} bytes of a list in {seconds:.0f} s, and no end")
    return bytes(content)


def _paced(blocks: Iterable[bytes]) -> Iterator[bytes]:
    began, count = time.monotonic(), 0
    for block in blocks:
        count += len(block)
        if (took := time.monotonic() - began) >= WINDOW:
            if count < SLOWEST * took:
                raise SlowError(f"{count} bytes in {took:.0f} s, which is too slow to wait for")
            began, count = time.monotonic(), 0
        yield block


@contextmanager
def _open(url: str, headers: Mapping[str, str], timeout: float | None) -> Iterator[tuple[Any, Iterator[bytes]]]:
    """Open a response. The client's session is one of requests or of httpx, depending on its version."""
    from huggingface_hub import constants
    from huggingface_hub.utils import get_session

    session: Any = get_session()
    wait = constants.HF_HUB_DOWNLOAD_TIMEOUT if timeout is None else timeout
    if callable(getattr(session, "stream", None)):
        with session.stream("GET", url, headers=headers, timeout=wait, follow_redirects=False) as response:
            yield response, response.iter_raw()
    else:
        with session.get(url, headers=headers, timeout=wait, allow_redirects=False, stream=True) as response:
            yield response, response.iter_content(1 << 16)


def _origin(url: str) -> tuple[str, str, int | None]:
    parts = urlsplit(url)
    return parts.scheme, (parts.hostname or "").lower(), parts.port or {"http": 80, "https": 443}.get(parts.scheme)
