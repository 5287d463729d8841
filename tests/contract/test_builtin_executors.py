"""The built-in executors keep the contract that third parties are tested against."""

from __future__ import annotations

import re
from pathlib import Path

from fgl.plugins.executors.local import LocalExecutor
from fgl.testing.contracts import ExecutorContract

PLUGINS = (Path(__file__).parents[2] / "docs" / "plugins.md").read_text(encoding="utf-8")


class TestLocal(ExecutorContract):
    make = staticmethod(LocalExecutor)


def test_the_executor_of_the_documentation_fills_shards_in_other_processes(tmp_path: Path) -> None:
    space: dict[str, type] = {}
    exec(re.search(r"<!-- executor -->\n```python\n(.*?)```", PLUGINS, flags=re.DOTALL)[1], space)  # type: ignore[index]

    class Documented(ExecutorContract):
        make = space["Pool"]

    Documented().test_each_shard_is_filled_once_and_all_are_when_it_returns(tmp_path)
