"""What an upload costs, recorded before it leaves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast, get_args

from fgl.core.client.own_images import identity, ledger_of
from fgl.core.client.spending import Level, Spending, request_key
from fgl.errors import BrokenPluginError, BudgetError, Problem
from fgl.privacy.cost import Cost

if TYPE_CHECKING:
    from fgl.core.client.site import Site


@dataclass(frozen=True, slots=True)
class Spent:
    """What one filter drew noise on. level: image or client."""

    what: str
    level: str
    cost: Cost


def record_upload(asked: Mapping[str, Any], site: Site, data: bytes, spent: Sequence[Spent]) -> bytes:
    """What may leave: `data`, or what was sent in answer to the same question before.

    Without noise nothing is recorded, and nothing may leave where the site has a limit: its price would be infinite.
    Raises BudgetError."""
    config = site.config
    if not spent:
        if config.privacy.max_epsilon is not None:
            raise BudgetError(
                [
                    Problem(
                        "privacy.max_epsilon",
                        f"{config.privacy.max_epsilon:g}",
                        "an upload without noise has no epsilon that could be counted; add noise first in "
                        "upload.filters (gaussian-noise), or leave the limit out",
                    )
                ],
                "what was asked of this client",
            )
        return data
    levels = {one.level for one in spent}
    if len(levels) > 1 or not levels <= set(get_args(Level)):
        raise BrokenPluginError(f"upload filters spent at the levels {', '.join(sorted(levels))}, expected one of both")
    images = identity(site.samples(asked["client_id"]))
    total = Cost(0.0)
    for one in spent:
        total = total + one.cost
    level = cast(Level, spent[0].level)
    what = f"{', '.join(one.what for one in spent)} (upload of {asked['client_id']})"
    spending = Spending(_question(asked, site, images.digest), what, level, total, images)
    return ledger_of(asked, config).record(spending, data)


def _question(asked: Mapping[str, Any], site: Site, images: str) -> str:
    """What determines the upload but the noise."""
    config = site.config
    upload = config.upload
    return request_key(
        {
            "task": "upload",
            "images": images,
            "client": asked["client_id"],
            "round": asked["round"],
            "run": upload.run_id,
            "classes": list(site.class_names),
            "prompt_names": list(site.prompt_names),
            "prompt_strategy": config.prompt_strategy.model_dump(),
            "generator": config.generator.model_dump(),
            "filters": upload.filters,
            "codec": upload.codec,
            "seed": config.seed,
        }
    )
