"""What accepted uploads amount to, for the report: bytes, codecs, weights; and whether they are enough to go on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from fgl.core.server import encoding
from fgl.core.store.owned import digest_of
from fgl.core.wire.codecs import CODECS, TEXT
from fgl.errors import TooFewUploadsError

if TYPE_CHECKING:
    from fgl.core.session import Session


def summary(session: Session, manifests: Mapping[str, Any], refused: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """What the report says of the uploads. uploads: digest of who sent what, and of what encodes it."""
    ordered = dict(sorted(manifests.items()))
    sizes = {name: one["bytes"] for name, one in ordered.items()}
    used = [codec for codec in CODECS if any(one["codec"] == codec for one in ordered.values())]
    by_codec = {}
    for codec in CODECS:
        # what a client sent is counted on its file, whatever would follow from its shapes
        each = {
            name: one["bytes"] if one["codec"] == codec else one["bytes_by_codec"][codec]
            for name, one in ordered.items()
        }
        computed = "computed from the clients' account of their texts" if codec == TEXT else "computed from shapes"
        how = "measured" if used == [codec] else f"measured and {computed}" if codec in used else computed
        by_codec[codec] = {"total": sum(each.values()), "per_client": each, "how": how}
    return {
        "bytes_total": sum(sizes.values()),
        "bytes_per_client": sizes,
        "codec": ", ".join(used),
        "bytes_by_codec": by_codec,
        "codec_error": {codec: _worst(ordered.values(), codec) for codec in used},
        "text_bytes_total": by_codec[TEXT]["total"],
        "prompts": {name: one["rows"] for name, one in ordered.items()},
        "weight_per_class": {name: one["weight_per_class"] for name, one in ordered.items()},
        "uploads": digest_of(encoding.identities(session, manifests)),
        "sha256": {name: one["sha256"] for name, one in ordered.items()},
        "refused": dict(refused),
    }


def _worst(manifests: Iterable[Mapping[str, Any]], codec: str) -> dict[str, dict[str, float]]:
    """Array → the largest errors that a client with this codec states."""
    found: dict[str, dict[str, float]] = {}
    for one in manifests:
        for name, (largest, rms) in sorted(one["codec_error"].items()) if one["codec"] == codec else ():
            known = found.setdefault(name, {"max_abs": 0.0, "relative_rms": 0.0})
            known["max_abs"], known["relative_rms"] = max(known["max_abs"], largest), max(known["relative_rms"], rms)
    return found


def check_enough(session: Session, accepted: int, asked: int, refused: Mapping[str, Mapping[str, str]]) -> None:
    """Raises TooFewUploadsError where fewer uploads were accepted than the run needs."""
    needed = session.config.upload.min_clients
    if accepted >= needed:
        return
    grouped: dict[str, list[str]] = {}
    for name, one in refused.items():
        grouped.setdefault(one["reason"], []).append(name)
    said = [f"{', '.join(names[:5])}{' …' if len(names) > 5 else ''}: {why}" for why, names in grouped.items()]
    counted = f"{accepted} of {asked} clients' uploads were accepted, {needed} needed (upload.min_clients)"
    raise TooFewUploadsError("\n  ".join([counted, *said[:5]]))
