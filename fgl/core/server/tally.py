"""What accepted uploads amount to, for the report: bytes, codecs, weights; and whether they are enough to go on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fgl.core.server import encoding
from fgl.core.server.refusals import Refusal
from fgl.core.store.owned import digest_of
from fgl.core.store.typed import json_field
from fgl.core.wire.codecs import TEXT
from fgl.errors import TooFewUploadsError

if TYPE_CHECKING:
    from fgl.core.server.upload_store import UploadManifest
    from fgl.core.session import Session


@dataclass(frozen=True, slots=True)
class CodecBytes:
    """What the same rows take in a codec."""

    total: int
    """Bytes of all clients' files, headers included."""
    per_client: dict[str, int]
    """Client → bytes of its file."""
    how: str
    """Whether that was measured or computed, in words."""


@dataclass(frozen=True, slots=True)
class CodecError:
    """What a codec did to an array, by the clients' own account; the largest of any client."""

    max_abs: float
    """Largest absolute error."""
    relative_rms: float
    """‖x − q‖ / ‖x‖ over the array."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VoteRound:
    """One round of votes."""

    round: int
    """Number of the round, from 1."""
    candidates: int
    """Texts that were put to the vote."""
    ballot: str
    """sha256 of what clients were sent."""
    voters: list[str]
    """Clients whose votes count."""
    sha256: dict[str, str]
    """Client → digest of its vote."""
    bytes_per_client: dict[str, int]
    """Client → bytes of its vote."""
    limited: dict[str, float]
    """Client whose votes were scaled down beside the others' → the factor on them."""
    refused: dict[str, Refusal]
    """Client → why its vote does not count."""
    deviation: float
    """Standard deviation of the noise in the sum for one candidate, in votes."""
    bytes_up: int
    """Bytes of all votes."""
    bytes_down: int
    """Bytes of all ballots."""
    seconds: float
    """Of painting, asking and counting."""


@dataclass(frozen=True, slots=True)
class VotedText:
    """A text that images are synthesized from."""

    class_id: int
    """Its class."""
    text: str
    """The text, which is public."""
    votes: float
    """Noisy votes of all clients."""
    share: float
    """Of its class's images."""
    candidate: int | None = json_field(omit_none=True)
    """Number of the candidate whose pictures the images are variations of. Only with `variation: img2img`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VotesResult:
    """What clients' images have voted."""

    rounds: list[VoteRound]
    """In order."""
    texts: list[VotedText]
    """What images are synthesized from, by class."""
    undecided: list[str]
    """Classes of which no candidate has votes above the threshold: all candidates of the last round count alike."""
    deviation: float
    """Standard deviation of the noise that the guarantee rests on, for one round, in votes; 0: no guarantee."""
    client_deviation: float
    """Standard deviation of what each client added, in votes."""


@dataclass(frozen=True, slots=True)
class ClientsResult:
    """What the uploads that were accepted amount to."""

    bytes_total: int
    """Bytes of all accepted files."""
    bytes_per_client: dict[str, int]
    """Client → bytes of its file; the clients whose uploads were accepted."""
    codec: str
    """Codecs that were used, separated by commas."""
    bytes_by_codec: dict[str, CodecBytes]
    """Codec → what the same rows take in it."""
    codec_error: dict[str, dict[str, CodecError]]
    """Codec that was used → array → its error."""
    text_bytes_total: int
    """Bytes that the same rows take as texts."""
    prompts: dict[str, int]
    """Client → rows of its upload."""
    weight_per_class: dict[str, list[float]]
    """Client → samples of each class that it says its rows stand for."""
    uploads: str
    """Digest of who sent what, and of what encodes it."""
    sha256: dict[str, str]
    """Client → digest of its file."""
    refused: dict[str, Refusal]
    """Client, or file of an unknown sender → why it was refused."""
    votes: VotesResult | None = json_field(omit_none=True)
    """What was voted. Only where clients vote and send no rows."""


def summary(
    session: Session, manifests: Mapping[str, UploadManifest], refused: Mapping[str, Mapping[str, str]]
) -> ClientsResult:
    """What the report says of the uploads."""
    ordered = dict(sorted(manifests.items()))
    sizes = {name: manifest.bytes for name, manifest in ordered.items()}
    known = [*session.codecs, TEXT]
    used = [codec for codec in known if any(manifest.codec == codec for manifest in ordered.values())]
    by_codec = {}
    for codec in known:
        if not all(codec in manifest.bytes_by_codec or manifest.codec == codec for manifest in ordered.values()):
            continue  # kept from before it was chosen
        # what a client sent is counted on its file, whatever would follow from its shapes
        each = {
            name: manifest.bytes if manifest.codec == codec else manifest.bytes_by_codec[codec]
            for name, manifest in ordered.items()
        }
        computed = "computed from the clients' account of their texts" if codec == TEXT else "computed from shapes"
        how = "measured" if used == [codec] else f"measured and {computed}" if codec in used else computed
        by_codec[codec] = CodecBytes(sum(each.values()), each, how)
    return ClientsResult(
        bytes_total=sum(sizes.values()),
        bytes_per_client=sizes,
        codec=", ".join(used),
        bytes_by_codec=by_codec,
        codec_error={codec: _worst(ordered.values(), codec) for codec in used},
        text_bytes_total=by_codec[TEXT].total,
        prompts={name: manifest.rows for name, manifest in ordered.items()},
        weight_per_class={name: manifest.weight_per_class for name, manifest in ordered.items()},
        uploads=digest_of(encoding.identities(session, manifests)),
        sha256={name: manifest.sha256 for name, manifest in ordered.items()},
        refused={name: Refusal(rule=each["rule"], reason=each["reason"]) for name, each in refused.items()},
    )


def _worst(manifests: Iterable[UploadManifest], codec: str) -> dict[str, CodecError]:
    """Array → the largest errors that a client with this codec states."""
    worst: dict[str, CodecError] = {}
    for manifest in manifests:
        for name, (largest, rms) in sorted(manifest.codec_error.items()) if manifest.codec == codec else ():
            known = worst.get(name, CodecError(0.0, 0.0))
            worst[name] = CodecError(max(known.max_abs, largest), max(known.relative_rms, rms))
    return worst


def check_enough(session: Session, accepted: int, asked: int, refused: Mapping[str, Mapping[str, str]]) -> None:
    """Raises TooFewUploadsError where fewer uploads were accepted than the run needs."""
    needed = session.config.upload.min_clients
    if accepted >= needed:
        return
    grouped: dict[str, list[str]] = {}
    for name, refusal in refused.items():
        grouped.setdefault(refusal["reason"], []).append(name)
    reasons = [f"{', '.join(names[:5])}{' …' if len(names) > 5 else ''}: {why}" for why, names in grouped.items()]
    counted = f"{accepted} of {asked} clients' uploads were accepted, {needed} needed (upload.min_clients)"
    raise TooFewUploadsError("\n  ".join([counted, *reasons[:5]]))
