"""Tasks are run at a client by their name, and what they raise is sorted into what may cross and what may not."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import pytest

import fgl
from fgl import ClientFailure
from fgl.contracts.tasks import TASKS, answer_task
from fgl.core.client import tasks as client_tasks
from fgl.core.wire import requests
from fgl.testing import tasks as testing_tasks
from fgl.testing.contracts import FederationContract
from tests.helpers.settings import small, write_noise

PAGE = (Path(__file__).parents[3] / "docs" / "plugins.md").read_text(encoding="utf-8")


def threads() -> type:
    """The federation of docs/plugins.md."""
    source = re.search(r"<!-- federation -->\n```python\n(.*?)```", PAGE, flags=re.DOTALL)
    assert source is not None
    names: dict[str, type] = {}
    exec(source[1], names)
    return names["Threads"]


class TestThreads(FederationContract):
    make = staticmethod(lambda: threads()())


def test_the_tasks_are_those_that_the_server_asks_and_a_client_answers() -> None:
    answering = {f"{client_tasks.__name__}:{name}" for name in vars(client_tasks) if name.startswith("answer_")}
    asked = {value for value in vars(requests).values() if isinstance(value, str) and ":answer_" in value}
    assert set(TASKS) == answering == asked


def test_the_page_has_every_task_with_its_answer() -> None:
    assert dict(re.findall(r"^\| `(fgl\.core\.client\.tasks:\w+)` \| (.+) \|$", PAGE, flags=re.MULTILINE)) == TASKS


@pytest.mark.parametrize("task", ["os:getcwd", "fgl.core.client.tasks:guarded", "fgl.contracts.tasks:answer_task", ""])
def test_a_name_that_is_no_task_is_not_imported(task: str) -> None:
    reply = answer_task("client-0", task, b"")
    assert reply == ClientFailure("client-0", "the client has no task of that name: it may have another version of fgl")


def test_what_a_task_raises_crosses_as_far_as_it_is_cleared(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        assert answer_task("a", "fgl.testing.tasks:refuse", b"") == ClientFailure("a", testing_tasks.CLEARED)
        crashed = answer_task("a", "fgl.testing.tasks:crash", b"")
    assert isinstance(crashed, ClientFailure)
    assert testing_tasks.SECRET not in crashed.reason
    assert testing_tasks.SECRET in caplog.text


def test_a_site_answers_by_its_own_policy_and_nobody_else_at_all(tmp_path: Path, pipeline: Path) -> None:
    """A task outside of a simulation and of a site is refused; at a site the owner's file decides."""
    from fgl.core.config.resolve import resolve
    from fgl.core.plugin_manager import PluginManager

    (tmp_path / "images").mkdir()
    shared = small(write_noise(tmp_path / "images"), pipeline, upload={"clients": ["ward"], "run_id": "r"})
    shared["prompt_strategy"] = "class-name"
    config = resolve([shared], PluginManager.load().registry)
    request = requests.prepare_request(config, "ward", 0, tmp_path / "theirs", "cpu", "")
    (prepare,) = [task for task in TASKS if task.endswith("prepare")]
    assert isinstance(answer_task("ward", prepare, request), ClientFailure)
    site = tmp_path / "site.yaml"
    site.write_text(f"dataset: {{name: imagefolder, path: {tmp_path / 'images'}}}\nsite: {{paths: ['{pipeline}']}}\n")
    with fgl.at_site(fgl.site_policy(site), tmp_path / "private"):
        reply = answer_task("ward", prepare, request)
    assert isinstance(reply, bytes), reply
    assert (tmp_path / "private").is_dir()
    assert not (tmp_path / "theirs").exists()
    site.write_text("site: {task: [upload]}\n")
    with pytest.raises(fgl.ConfigError, match="did you mean 'tasks'"):
        fgl.site_policy(site)
