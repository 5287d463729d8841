"""Messages for a failed pull: what went wrong, and what to do about it."""

from __future__ import annotations

import errno
import re
import shlex
import time
from collections.abc import Iterator, Sequence
from email.utils import parsedate_to_datetime
from pathlib import Path

from fgl.errors import ModelError
from fgl.text import kind_and_line

_FULL = (errno.ENOSPC, errno.EDQUOT)
# Top-level packages of the HTTP libraries that versions of the client have used.
_NETWORK = ("httpx", "httpx2", "httpcore", "httpcore2", "requests", "urllib3")


def pull_command(
    name: str,
    revision: str | None = None,
    mirrors: Sequence[str] = (),
    *,
    encoder_only: bool = False,
    update: bool = False,
    settings: Sequence[str] = (),
) -> str:
    """The command that pulls what was requested, for messages: a user can copy it as it is.

    Args:
        name: A Hub id, or the name of a component; the latter takes `settings` in place of `revision` and `mirrors`.
        revision: Branch, tag or commit of a Hub id.
        mirrors: Hub ids to try in turn.
        encoder_only: Pull only what a client needs.
        update: Move the lock to the present commit.
        settings: Options of a component, each as "family.option=value".
    """
    words = ["fgl", "models", "pull", name]
    for flag, values in (("--revision", [revision] if revision else []), ("--mirror", mirrors), ("--set", settings)):
        for value in values:
            words += [flag, value]
    words += ["--encoder-only"] if encoder_only else []
    words += ["--update"] if update else []
    return shlex.join(words)


def explain(model: str, revision: str | None, error: BaseException, command: str) -> str:
    """One message for the user. The client hides most reasons behind LocalEntryNotFoundError; its causes have them.

    Args:
        model: The repository.
        revision: The revision that was requested.
        error: What the client raised.
        command: The command to run again (see `pull_command`).
    """
    from huggingface_hub import constants, get_token
    from huggingface_hub.errors import (
        GatedRepoError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    chain = list(causes(error))
    login = "log in with `hf auth login` (or set HF_TOKEN)"
    if any(
        isinstance(cause, GatedRepoError) for cause in chain
    ):  # it is a RepositoryNotFoundError too, so it comes first
        return f"{model} is gated; accept its license at https://huggingface.co/{model} and {login}, then `{command}`"
    if any(isinstance(cause, RevisionNotFoundError) for cause in chain):
        if revision is None:
            return f"{model} has no files yet: the Hub knows no default branch of it"
        return f"{model} has no revision {revision}; expected a branch, tag or commit of its repository"
    if any(isinstance(cause, RepositoryNotFoundError) for cause in chain):
        return (
            f"the Hub has no model {model}, or it is private; check the name at https://huggingface.co/{model}, or "
            f"{login}, then `{command}`"
        )
    if any(isinstance(cause, OfflineModeIsEnabled) for cause in chain):
        return not_cached(model, command)
    code = status(error)
    if code == 401:
        token = "the token that is set is not accepted" if get_token() else "a token is needed"
        return f"{model}: {token} (401); {login}, then `{command}`"
    if code == 403:
        return f"{model}: access is forbidden (403); your account or token may not read it: {login}, then `{command}`"
    if code == 429:
        wait = retry_after(error)
        return (
            f"the Hub asks for fewer requests (429){f' and a pause of {wait:.0f} s' if wait else ''}; run `{command}` "
            "later: it resumes where it stopped; being logged in (`hf auth login`) allows more requests"
        )
    reason = kind_and_line(chain[-1])
    if code is not None and code >= 500:
        return (
            f"the Hub at {constants.ENDPOINT} has failed ({code}); run `{command}` later: it resumes where it stopped"
        )
    if code is None and (is_network(error) or any(isinstance(cause, LocalEntryNotFoundError) for cause in chain)):
        return (
            f"the Hub at {constants.ENDPOINT} cannot be reached ({reason}); check the network, or set HF_ENDPOINT to a "
            f"mirror of the Hub, then `{command}`: it resumes where it stopped. What {constants.HF_HUB_CACHE} holds "
            "can also be copied from a machine that has pulled it"
        )
    return f"cannot pull {model} ({reason}); try again with `{command}`"


def not_cached(model: str, command: str) -> str:
    """The message for a model that is missing from the cache, or incomplete, while offline."""
    from huggingface_hub import constants

    return (
        f"{model} is not in the local cache ({constants.HF_HUB_CACHE}), or only a part of it, and HF_HUB_OFFLINE is "
        f"set; run `HF_HUB_OFFLINE=0 {command}` with a network connection, or set HF_HOME to a cache that "
        "has it"
    )


def disk_full(model: str, folder: Path, missing: int, free: int, command: str) -> ModelError:
    """The error for a disk without enough space.

    Args:
        model: The repository.
        folder: Where it would be stored.
        missing: Bytes to download.
        free: Bytes free.
        command: The command to run again.
    """
    return ModelError(
        f"model: the disk is too full for {model}: {size(missing)} to download, {size(free)} free at {folder}; free "
        f"some space, or set HF_HOME (or HF_HUB_CACHE) to a folder on a larger disk, then `{command}`: what is already "
        "there is kept"
    )


def is_full(error: BaseException) -> bool:
    """Whether the disk, or the user's share of it, is full."""
    return any(isinstance(cause, OSError) and cause.errno in _FULL for cause in causes(error))


def is_network(error: BaseException) -> bool:
    """Whether the response did not arrive, or was incomplete."""
    return any(type(cause).__module__.partition(".")[0] in _NETWORK for cause in causes(error)) or any(
        isinstance(cause, ConnectionError | TimeoutError) for cause in causes(error)
    )


def is_unreachable(error: BaseException) -> bool:
    """Whether a later attempt may succeed: no response, or a failure of the server."""
    code = status(error)
    return code in (408, 429) or (code is not None and code >= 500) or (code is None and is_network(error))


def status(error: BaseException) -> int | None:
    """The HTTP status of the response that caused `error`."""
    for cause in causes(error):
        code = getattr(getattr(cause, "response", None), "status_code", None)
        if isinstance(code, int):
            return code
    return None


def retry_after(error: BaseException) -> float | None:
    """Seconds that the server asks to wait: from Retry-After (a number or a date), or from its rate limit."""
    for cause in causes(error):
        headers = getattr(getattr(cause, "response", None), "headers", None)
        if headers is None:
            continue
        header = str(headers.get("Retry-After", "")).strip()
        if re.fullmatch("[0-9]{1,9}", header):
            return float(header)
        if header:
            try:
                return max(0.0, parsedate_to_datetime(header).timestamp() - time.time())
            except ValueError:
                return None
        limit = re.search(r"r=0\s*;\s*t=(\d+)", str(headers.get("ratelimit", "")))
        if limit is not None:
            return float(limit[1])
    return None


def causes(error: BaseException) -> Iterator[BaseException]:
    """The error, then what it was raised from, and so on."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__


def size(count: int) -> str:
    """A number of bytes in readable units, in powers of ten."""
    for unit, scale in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= scale:
            return f"{count / scale:.1f} {unit}"
    return f"{count} bytes"
