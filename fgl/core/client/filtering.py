"""The chain of upload filters: each takes what the one before it returned."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from fgl.contracts.prompts import Prepared
from fgl.core.client.prepared import checked_prompts, prepared
from fgl.core.config.fit import NOISE
from fgl.core.wire.codecs import no_texts
from fgl.errors import BrokenPluginError, ConfigError, FGLError, Problem, UploadError

if TYPE_CHECKING:
    from fgl.contracts.generator import UploadSchema
    from fgl.contracts.upload_filter import FilterContext
    from fgl.core.registry import Entry

log = logging.getLogger(__name__)


def filtered(
    filters: Sequence[tuple[Entry, Any]],
    given: Prepared,
    schema: UploadSchema | None,
    class_names: Sequence[str],
    context_at: Callable[[int], FilterContext],
) -> Prepared:
    """What the filters make of an upload. schema: None with the codec text, with which there are no arrays. context_at:
    place of a filter in the chain → what it receives.

    Raises BrokenPluginError where a filter does not keep its contract, UploadError where it leaves no row, and
    ConfigError where it has arrays and texts are to be sent."""
    noisy = [place for place, (entry, _) in enumerate(filters) if NOISE in entry.component.provides]
    if noisy and noisy != [0]:
        name = filters[noisy[-1]][0].component.name
        expected = "expected it once, and first: what was made of exact rows before is not covered by its price"
        raise ConfigError([Problem("upload.filters", repr(name), expected)])
    for place, (entry, filter_) in enumerate(filters):
        context, whose = context_at(place), entry.title
        for array in (*given.arrays.values(), *given.indices.values()):
            array.setflags(write=False)
        try:
            answer = filter_.apply(dict(given.arrays), dict(given.indices), list(given.prompts), context)
        except FGLError:
            raise
        except (Exception, SystemExit) as error:
            raise BrokenPluginError(f"{whose} raised {type(error).__name__}: {error}") from error
        before = {prompt.class_id for prompt in given.prompts}
        given = _checked(answer, schema, class_names, whose)
        if not given.prompts:
            raise UploadError(f"{whose} left no row of the upload of {context.client_id}: nothing can be sent")
        gone = sorted(before - {prompt.class_id for prompt in given.prompts})
        if gone:
            named = ", ".join(repr(class_names[class_id]) for class_id in gone[:10])
            more = f" and {len(gone) - 10} more" if len(gone) > 10 else ""
            log.info("%s: %s left no row of %s%s", context.client_id, whose, named, more)
    return given


def _checked(answer: Any, schema: UploadSchema | None, class_names: Sequence[str], whose: str) -> Prepared:
    if schema is not None:
        return prepared(answer, schema, class_names, whose)
    if not isinstance(answer, Prepared):
        raise BrokenPluginError(f"{whose} returned {type(answer).__name__}, expected fgl.Prepared")
    if answer.arrays:
        raise ConfigError([no_texts(whose)])
    return Prepared(checked_prompts(answer.prompts, class_names, whose), {})
