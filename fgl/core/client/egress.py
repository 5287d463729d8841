"""Whether a file may leave: each rule of the site's owner, `site.egress`, with its verdict and the reason."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fgl.text import counted, plain

if TYPE_CHECKING:
    from fgl.core.client.site_options import EgressOptions
    from fgl.core.wire.kinds import Contents


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What one rule says of a file."""

    rule: str
    """As the section `site.egress` names it."""
    allowed: bool
    """Whether the file may leave by it."""
    reason: str
    """Why, in a sentence."""


def judge(
    rules: EgressOptions, contents: Contents, epsilon: float | None, recovered: tuple[int, int] | None
) -> list[Verdict]:
    """What each rule that the owner has set says.

    epsilon: what all answers about the site's images cost, with this file; None where no ledger says so. recovered:
    (rows whose text was found by the attack, rows); None where it was not made."""
    return [
        Verdict(rule=name, allowed=allowed, reason=reason)
        for name, allowed, reason in _judged(rules, contents, epsilon, recovered)
    ]


def _judged(
    rules: EgressOptions, contents: Contents, epsilon: float | None, recovered: tuple[int, int] | None
) -> Iterator[tuple[str, bool, str]]:
    if rules.kinds is not None:
        kind = contents.place.kind
        yield "kinds", kind in rules.kinds, f"it is of the kind {kind}; allowed: {', '.join(rules.kinds)}"
    if rules.codecs is not None and contents.codec is not None:
        codec = plain(contents.codec, 40)
        yield "codecs", contents.codec in rules.codecs, f"its codec is {codec}; allowed: {', '.join(rules.codecs)}"
    least = rules.min_images_per_row
    if least > 1 and contents.images:
        few, smallest = sum(count < least for count in contents.images), min(contents.images)
        reason = f"{few:,} of {counted(len(contents.images), 'row')} stand for fewer than {least} images each"
        yield "min_images_per_row", not few, f"{reason}; the fewest are {smallest:g}"
    least = rules.min_images_per_number
    if least > 1 and contents.groups:
        what, smallest = min(contents.groups.items(), key=lambda item: item[1])
        reason = f"its smallest group is {smallest:g} ({plain(what, 80)}); expected {least} or more"
        yield "min_images_per_number", smallest >= least, reason
    elif least > 1 and contents.blurred:
        priced = "there is noise of a price on its numbers, which the site's ledger states"
        unknown = f"how many images are behind its numbers is not known, and no ledger prices them; expected {least}"
        yield "min_images_per_number", epsilon is not None, unknown if epsilon is None else priced
    if not rules.free_text:
        texts, names = len(contents.texts), len(contents.names)
        reason = f"it holds {counted(texts, 'text')} of prompts, and {counted(names, 'name')} of domains"
        yield "free_text", not (texts or names), reason
    if rules.max_epsilon is not None:
        if epsilon is None:
            yield "max_epsilon", False, "no ledger states what it costs: nothing bounds what it says of an image"
        else:
            reason = f"all answers about these images cost epsilon {epsilon:.4g} with it; at most {rules.max_epsilon:g}"
            yield "max_epsilon", epsilon <= rules.max_epsilon, reason
    if rules.max_recovered is not None and contents.images:
        if recovered is None:
            yield "max_recovered", False, "the attack was not made on it: what it gives away is not known"
        else:
            found, rows = recovered
            reason = f"the attack found {found:,} texts of {counted(rows, 'row')}; at most {rules.max_recovered:.0%}"
            yield "max_recovered", found <= rules.max_recovered * rows, reason
