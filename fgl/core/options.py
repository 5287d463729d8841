"""Base class of every plugin's options."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from fgl.core.types import ModelUse


class Options(BaseModel):
    """Typed, documented, immutable options of one plugin.

    Declare fields with `pydantic.Field(default, description=...)`: the description, with its unit, is what
    `fgl plugins show` prints. Unknown keys and wrong types are refused: a number in quotes is not a number.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, validate_default=True, protected_namespaces=(), allow_inf_nan=False
    )

    def models(self) -> tuple[ModelUse, ...]:
        """Models that a run with these options pulls, for `fgl models`; none unless a subclass says otherwise."""
        return ()

    def files(self) -> tuple[str, ...]:
        """Files and folders that these options name and whose contents count as part of them: where one changes, what
        was made with it is made anew."""
        return ()
