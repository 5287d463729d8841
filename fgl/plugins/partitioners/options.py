"""Options of the built-in partitioners."""

from __future__ import annotations

from pydantic import Field

from fgl.contracts.options import Options


class IIDOptions(Options):
    """Every client sees the same distribution."""

    clients: int = Field(5, ge=1, description="Number of clients.")


class DirichletOptions(Options):
    """Every client sees its own mix of classes. The defaults are the paper's most skewed setting."""

    clients: int = Field(5, ge=1, description="Number of clients.")
    beta: float = Field(
        0.01, gt=0, allow_inf_nan=False, description="Concentration: small is skewed (0.01), large nears iid (100)."
    )
    min_samples: int = Field(10, ge=1, description="Smallest number of samples that each client must get.")
    max_tries: int = Field(1000, ge=1, description="Draws before giving up on min_samples (about 1 ms each).")


class ListedOptions(Options):
    """Clients that hold the samples that a file lists."""

    path: str = Field(min_length=1, description="JSON file: client id to positions of its samples in the train split.")

    def files(self) -> tuple[str, ...]:
        return (self.path,)


class DomainOptions(Options):
    """Clients differ in domain."""

    clients: int | None = Field(
        None, ge=1, description="Number of clients, a multiple of the number of domains; null: one per domain."
    )
