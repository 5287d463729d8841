"""Options of the built-in aggregators."""

from __future__ import annotations

from pydantic import Field

from fgl.contracts.options import Options


class UnionOptions(Options):
    """Options of `union`: none."""


class ClassMeanOptions(Options):
    """Options of `class-mean`. With neither, each class has one mean over everything."""

    per_client: bool = Field(False, description="One mean for each client, as OSCAR averages a client's captions.")
    per_domain: bool = Field(False, description="One mean for each domain.")


__all__ = ["ClassMeanOptions", "UnionOptions"]
