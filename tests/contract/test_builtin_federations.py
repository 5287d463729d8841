"""The built-in federation keeps the contract that third parties are tested against."""

from __future__ import annotations

from fgl.plugins.federations.local import LocalFederation
from fgl.plugins.federations.options import LocalOptions
from fgl.testing.contracts import FederationContract


class TestInThisProcess(FederationContract):
    make = staticmethod(lambda: LocalFederation(LocalOptions()))


class TestInAProcessOfEach(FederationContract):
    make = staticmethod(lambda: LocalFederation(LocalOptions(isolation="process", timeout=120.0)))
