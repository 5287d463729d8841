"""Environment variables that the Hub's client reads when it is imported, and cannot always read."""

from __future__ import annotations

import logging
import math
import os

from fgl.text import quoted

log = logging.getLogger(__name__)

# Seconds, of which the client takes whole numbers alone: any other makes its import fail, and with it that of every
# library that knows the Hub, whether or not anything is asked of it.
_SECONDS = ("HF_HUB_DOWNLOAD_TIMEOUT", "HF_HUB_ETAG_TIMEOUT")


def mend() -> None:
    """Round times up to what the client takes; drop what is no time, with a warning that names the variable."""
    for name in _SECONDS:
        given = os.environ.get(name)
        if given is None or _is_whole(given):
            continue
        seconds = _seconds(given)
        if seconds is None:
            del os.environ[name]
            log.warning("%s: got %s; expected seconds, such as 10; the default is used", name, quoted(given))
        else:
            os.environ[name] = str(seconds)
            log.warning("%s: got %s; the Hub's client takes whole seconds: %d", name, quoted(given), seconds)


def _is_whole(text: str) -> bool:
    try:
        return int(text) > 0
    except ValueError:
        return False


def _seconds(text: str) -> int | None:
    try:
        found = float(text)
    except ValueError:
        return None
    return max(1, math.ceil(found)) if math.isfinite(found) and 0 < found < 10**6 else None
