"""The built-in partitioners keep the contract that third parties are tested against."""

from __future__ import annotations

import json

import pytest

from fgl.plugins.partitioners.dirichlet import Dirichlet
from fgl.plugins.partitioners.domain import DomainPartitioner
from fgl.plugins.partitioners.iid import IID
from fgl.plugins.partitioners.listed import ListedPartitioner
from fgl.plugins.partitioners.options import DirichletOptions, DomainOptions, IIDOptions, ListedOptions
from fgl.testing.contracts import PartitionerContract


class TestIID(PartitionerContract):
    make = staticmethod(lambda: IID(IIDOptions(clients=7)))


class TestDirichlet(PartitionerContract):
    make = staticmethod(lambda: Dirichlet(DirichletOptions(clients=5, beta=0.5)))


class TestDomain(PartitionerContract):
    make = staticmethod(lambda: DomainPartitioner(DomainOptions()))


class TestDomainDivided(PartitionerContract):
    make = staticmethod(lambda: DomainPartitioner(DomainOptions(clients=6)))


class TestListed(PartitionerContract):
    leaves_out = True

    @pytest.fixture(autouse=True)
    def _file(self, tmp_path):
        (tmp_path / "partition.json").write_text(json.dumps({"west": [4, 0, 7], "east": [1, 30]}))
        self.make = lambda: ListedPartitioner(ListedOptions(path=str(tmp_path / "partition.json")))
