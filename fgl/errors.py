"""Every error that fgl raises on purpose, and the exit code it ends the command line with.

FGLError                     1
 ├─ ConfigError              2   the configuration is wrong: carries every problem, each with its key
 │   └─ PolicyError              a request that a site's owner does not allow; names the rule
 │       └─ BudgetError              an answer that would cost more privacy than the owner allows
 ├─ PluginError              3
 │   ├─ UnknownPluginError       no plugin has that name; says what is installed and what was probably meant
 │   ├─ PluginClashError         two distributions register the selected name
 │   ├─ BrokenPluginError        the selected plugin, or a hook of it, raised
 │   └─ MissingExtraError        the plugin needs an extra that is not installed
 ├─ DataError                4   a dataset cannot be read, or does not hold what it should
 │   ├─ BadImageError            one image cannot be decoded; names it
 │   ├─ ClassListError           the data's classes are not the expected ones
 │   └─ PartitionError           the samples cannot be divided as asked
 ├─ UploadError              5   an upload is rejected; `rule` says by which rule
 │   ├─ ClientFailedError        answer: the client did not send one
 │   ├─ UploadSizeError          size: more bytes or rows than the caps
 │   ├─ UploadFormatError        format: not a file of this format, read strictly
 │   ├─ UploadChecksumError      checksum: damaged on its way
 │   ├─ UploadSenderError        sender: not on the list, or not the client that was asked
 │   ├─ UploadRoundError         round: made for another round
 │   ├─ UploadReplayError        replay: for another run, sent twice, or from a client that was removed
 │   ├─ UploadEncoderError       encoder: encoded by another model
 │   ├─ UploadClassesError       classes: another class list, or ids outside of it
 │   ├─ UploadShapeError         shape: arrays that are missing, undeclared, or of the wrong dtype or shape
 │   ├─ UploadValueError         value: numbers that are not finite or out of bounds
 │   ├─ UploadWeightError        weight: weights, or numbers of samples, out of bounds
 │   ├─ UploadNormError          norm: a round's update that is far larger than the others
 │   ├─ ClientDivergedError      diverged: training at the client ended in NaN or infinite values
 │   ├─ KeptLostError            kept: the client no longer has what it kept in an earlier round
 │   └─ TooFewUploadsError       quorum: fewer uploads accepted than the run needs
 ├─ ModelError               6   a model cannot be found, loaded or used as requested
 │   └─ DivergedError            training ended in NaN or infinite values
 └─ StoreError               7   the run directory cannot be used
     └─ LedgerError              a client's record of what it answered was cut, edited or lost
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

from fgl import text


class FGLError(Exception):
    """Root of the tree. `str(error)` is a message for the user: what is wrong, got, expected, what to do."""

    exit_code = 1
    """Exit code of the command line."""

    public_reason = "it failed"
    """What a server learns of such an error at a client (see `public_message`)."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem of a configuration."""

    key: str
    """The dotted key."""

    got: str
    """What it holds; "" if that says nothing."""

    expected: str
    """What it may hold."""

    def __str__(self) -> str:
        got = f"got {text.line(self.got)}; " if self.got else ""
        return f"{text.line(self.key)}: {got}{text.lines(self.expected)}"


class ConfigError(FGLError):
    """All problems of a configuration at once."""

    exit_code = 2
    public_reason = "its configuration is wrong"

    def __init__(self, problems: Iterable[Problem], source: str = "the configuration") -> None:
        self.problems = tuple(problems)
        count = len(self.problems)
        head = f"{count} problem{'s' if count != 1 else ''} in {source}:"
        super().__init__("\n".join([head, *(f"  {problem}" for problem in self.problems)]))


COMMAND_LINE = "the command line"
"""The source of problems that are in no configuration file."""


class PolicyError(ConfigError):
    public_reason = "the site's policy does not allow what was asked"


class BudgetError(PolicyError):
    public_reason = "what was asked would cost more privacy than the site allows"


class PluginError(FGLError):
    exit_code = 3
    public_reason = "one of its plugins is missing or has failed"


class UnknownPluginError(PluginError):
    pass


class PluginClashError(PluginError):
    pass


class BrokenPluginError(PluginError):
    pass


class MissingExtraError(PluginError):
    pass


class DataError(FGLError):
    exit_code = 4
    public_reason = "its data cannot be read, or is not what it should be"


class BadImageError(DataError):
    public_reason = "one of its images cannot be decoded"


class ClassListError(DataError):
    public_reason = "its classes, or their prompts, are not what they should be"


class PartitionError(DataError):
    pass


class UploadError(FGLError):
    """An upload that is not accepted, or uploads that are missing."""

    exit_code = 5
    rule = "upload"
    """Name of the rule that was broken, for reports and logs."""

    public_reason = "the upload that it wrote is invalid"


class ClientFailedError(UploadError):
    rule = "answer"


class UploadSizeError(UploadError):
    rule = "size"


class UploadFormatError(UploadError):
    rule = "format"


class UploadChecksumError(UploadError):
    rule = "checksum"


class UploadSenderError(UploadError):
    rule = "sender"


class UploadRoundError(UploadError):
    rule = "round"


class UploadReplayError(UploadError):
    rule = "replay"


class AlreadyVotedError(UploadReplayError):
    """A client that is asked for another vote in a round in which it has voted."""

    rule = "voted"
    public_reason = (
        "it has voted in this round, on another ballot or with other noise; another vote is another run, with a "
        "folder, or between machines an upload.run_id, of its own"
    )


class UploadEncoderError(UploadError):
    rule = "encoder"


class UploadClassesError(UploadError):
    rule = "classes"


class UploadShapeError(UploadError):
    rule = "shape"


class UploadValueError(UploadError):
    rule = "value"


class UploadWeightError(UploadError):
    rule = "weight"


class UploadNoiseError(UploadError):
    """A vote with other noise on it than the configuration states."""

    rule = "noise"


class UploadNormError(UploadError):
    rule = "norm"


class ClientDivergedError(UploadError):
    """A client's reply to a round: its training diverged. If all clients reply so, the run ends."""

    rule = "diverged"


class KeptLostError(UploadError):
    """A client's reply to a round: it lost its state. Continuing without it would silently train another model."""

    rule = "kept"


class TooFewUploadsError(UploadError):
    rule = "quorum"


class ModelError(FGLError):
    exit_code = 6
    public_reason = "a model cannot be found, loaded or used"


class DivergedError(ModelError):
    """Training whose loss or weights have become NaN or infinite."""


class StoreError(FGLError):
    exit_code = 7
    public_reason = "its files cannot be read or written"


class LedgerError(StoreError):
    public_reason = "its record of what it has answered cannot be trusted"


def public_message(error: BaseException) -> str:
    """All that a server learns of a client's error: its class, and what holds for every error of that class.

    The error's own message may name files, paths or samples of the client, so it stays there.
    """
    kinds = type(error).__mro__
    known_class = next((kind for kind in kinds if kind.__module__ == __name__), None)
    if known_class is not None and issubclass(known_class, FGLError):
        return f"{known_class.__name__} at the client: {known_class.public_reason}"
    name = next(kind.__name__ for kind in kinds if kind.__module__ == "builtins")
    return f"{name} at the client: an error that fgl does not expect"


def nearest(got: str, known: Iterable[str]) -> str | None:
    """The known name that an unknown one was most likely meant to be; None where none is like it."""
    known = list(known)
    # "steps" is part of "num_inference_steps", though not similar to it
    parts = [name for name in known if len(got) > 2 and got.lower() in name.lower().split("_")[-1]]
    close = difflib.get_close_matches(got, known, n=1, cutoff=0.6) or parts[:1]
    return close[0] if close else None


def suggestion(got: str, known: Iterable[str]) -> str:
    """Complete a message about an unknown name: ": did you mean 'x'?" or ""."""
    name = nearest(got, known)
    return "" if name is None else f": did you mean {name!r}?"
