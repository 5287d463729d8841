"""`fgl digest`: the digest of a run's synthetic set."""

from __future__ import annotations

from fgl.commands._console import stdout_to_stderr
from fgl.commands._options import Json, Run
from fgl.commands._output import say, say_json


def digest_command(run: Run, as_json: Json = False) -> None:
    """Print the digest of a run's synthetic set, computed from its images."""
    from fgl.core.orchestrator import digest

    with stdout_to_stderr():
        value = digest(run)
    if as_json:
        say_json({"digest": value})
    else:
        say(value)
