"""The built-in executor keeps the contract that third parties are tested against."""

from __future__ import annotations

from fgl.plugins.executors.local import LocalExecutor
from fgl.testing.contracts import ExecutorContract


class TestLocal(ExecutorContract):
    make = staticmethod(LocalExecutor)
