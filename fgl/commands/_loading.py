"""A line on stderr before libraries are imported, which takes seconds in which nothing else is shown."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from typing import Any

TEXT = "fgl: loading libraries and data …"
_HEAVIEST = "torch"


def announced(command: Callable[..., None]) -> Callable[..., None]:
    """The command, which first says that it is loading; not with --quiet, nor if torch is imported already."""

    @wraps(command)
    def call(*args: Any, **given: Any) -> None:
        if not given.get("quiet") and _HEAVIEST not in sys.modules:
            print(TEXT, file=sys.stderr, flush=True)
        command(*args, **given)

    return call
