"""Foundation models that a run will need: whether they can be had, before anybody works."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from fgl.contracts.component import SELECTED_BY
from fgl.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fgl.contracts.options import ModelRef
    from fgl.core.session import Session


def check_available(session: Session) -> None:
    """Raises ModelError for a model that is neither here nor on the Hub, which is asked for its list of files alone.
    Of a generator that is here whole, the headers of its weights are read."""
    here = True
    for key, use in _uses(session):
        here &= _is_here(key, use) or key != "generator"
    if here:
        session.generator.describe()


def check_content(session: Session) -> None:
    """As `check_available`, and has the generator read all of its weights, which it pulls where they are not here: not
    after all clients have worked."""
    check_available(session)
    session.generator.fingerprint()


def _uses(session: Session) -> Iterator[tuple[str, ModelRef]]:
    """(configuration key, model) of each that the selected components name."""
    config = session.config
    chosen = [("generator", "generator", config.generator)]
    if not session.remote_clients:  # else these are the clients', and with them
        chosen.append(("prompt_strategy", "prompt_strategy", config.prompt_strategy))
        chosen += [(SELECTED_BY["upload_filter"], "upload_filter", one) for one in config.upload.chain()]
    for key, family, selected in chosen:
        for use in session.manager.options(family, selected).models():
            yield key, use


def _is_here(key: str, use: ModelRef) -> bool:
    """Raises ModelError where it cannot be had either."""
    from fgl.hub import cache, pulling, state

    if Path(use.model).expanduser().exists() or not cache.is_hub_id(use.model):
        return True  # the component itself has looked at it
    if state.folder_of(use, use.files) is not None:
        return True
    try:
        pulling.check_available(use.model, use.revision, use.files, use.mirrors)
    except ModelError as error:
        raise ModelError(f"{key}: {error}") from error
    return False
