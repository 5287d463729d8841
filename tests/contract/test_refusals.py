"""Each test of a contract refuses a member that breaks its promise, and that is otherwise sound.

`bad_members/FAMILY.py` has them: a class for each, whose `refused_by` names the test.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from fgl.testing.contracts import CONTRACTS

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


class Watch:
    """Runs of each bad member the test that is to refuse it, and keeps how it ended."""

    def __init__(self) -> None:
        self.asked: dict[str, set[str]] = {}
        self.failed: set[str] = set()
        self.errors: list[str] = []

    def pytest_collection_modifyitems(self, items):
        chosen = [item for item in items if item.originalname == item.cls.refused_by]
        for item in chosen:
            self.asked.setdefault(item.cls.__name__, set()).add(item.originalname)
        items[:] = chosen

    def pytest_runtest_logreport(self, report):
        if report.when == "call" and report.failed:
            self.failed.add(report.nodeid.split("::")[1])
        elif report.failed:
            self.errors.append(report.nodeid)


@pytest.mark.parametrize("family", CONTRACTS)
def test_a_member_that_breaks_a_promise_is_refused(family):
    watch = Watch()
    bad = HERE / "bad_members" / f"{family}.py"
    options = ["-p", "no:cacheprovider", "-p", "no:xdist", "--tb=no", "-s", "-o", "python_classes=Refuse*"]
    pytest.main([str(bad), *options, f"--rootdir={ROOT}"], plugins=[watch])
    assert not watch.errors, watch.errors
    assert watch.asked, f"{bad} was not collected"
    passed = watch.asked.keys() - watch.failed
    assert not passed, f"bad members that the contract takes: {sorted(passed)}"
    promises = {name for name in dir(CONTRACTS[family]) if name.startswith("test_")}
    refusing = {name for names in watch.asked.values() for name in names}
    assert refusing == promises, f"tests that nothing shows to refuse anything: {sorted(promises - refusing)}"
