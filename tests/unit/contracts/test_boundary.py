"""A client's plugin cannot end a run, a user can; and a client's process does not outlive the run."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from fgl.contracts.boundary import contained, is_simulated, simulated, simulation_progress
from fgl.contracts.federation import ClientFailure
from fgl.contracts.progress import NullProgress
from fgl.plugins.federations.local import LocalFederation
from fgl.plugins.federations.options import LocalOptions

LEAVING = ["SystemExit('/home/secret')", "KeyboardInterrupt('/home/secret')", "GeneratorExit('/home/secret')"]


@pytest.fixture
def task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module `a_clients_task`, to be written, that this process and its children can import."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    monkeypatch.delitem(sys.modules, "a_clients_task", raising=False)
    return tmp_path / "a_clients_task.py"


@pytest.mark.parametrize("isolation", ["none", "process"])
@pytest.mark.parametrize("error", LEAVING)
def test_whatever_a_client_raises_is_that_clients_failure_and_its_words_stay_there(
    task: Path, isolation: str, error: str
) -> None:
    task.write_text(f"def task(payload):\n    if payload == b'a':\n        raise {error}\n    return payload\n")
    federation = LocalFederation(LocalOptions(isolation=isolation))  # type: ignore[arg-type]
    found = dict(federation.call(["a", "b"], "a_clients_task:task", str.encode, NullProgress()))
    assert found["b"] == b"b"
    assert isinstance(found["a"], ClientFailure)
    assert found["a"].reason.startswith(f"{error.partition('(')[0]} at the client")
    assert "secret" not in found["a"].reason


@pytest.mark.parametrize("then", ["pass", "raise SystemExit(0) from None", "raise"])
def test_the_users_own_interrupt_ends_the_run_whatever_a_client_makes_of_it(task: Path, then: str) -> None:
    task.write_text(
        "import os, signal\ndef task(payload):\n    try:\n        os.kill(os.getpid(), signal.SIGINT)\n"
        f"    except BaseException:\n        {then}\n    return b''\n"
    )
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        list(LocalFederation(LocalOptions()).call(["a"], "a_clients_task:task", str.encode, NullProgress()))
    assert signal.getsignal(signal.SIGINT) is before


def test_in_another_thread_than_the_main_one_an_interrupt_is_never_the_users() -> None:
    def raises() -> str:
        raise KeyboardInterrupt

    found: list[str] = []
    thread = threading.Thread(target=lambda: found.append(contained(raises, lambda error: type(error).__name__)))
    thread.start()
    thread.join()
    assert found == ["KeyboardInterrupt"]


def test_only_the_local_federation_says_that_its_clients_are_simulated(task: Path) -> None:
    task.write_text(
        "from fgl.contracts.boundary import is_simulated\ndef task(payload):\n    return str(is_simulated()).encode()\n"
    )
    for isolation in ("none", "process"):
        federation = LocalFederation(LocalOptions(isolation=isolation))
        assert dict(federation.call(["a"], "a_clients_task:task", str.encode, NullProgress())) == {"a": b"True"}
    assert not is_simulated()
    with simulated():
        assert is_simulated()
    assert not is_simulated()


def test_a_clients_process_dies_with_the_run_that_asked_it_and_writes_nothing_more(task: Path, tmp_path: Path) -> None:
    """It has no lock of its own on the run directory: what it wrote later could lie over another run's."""
    task.write_text(
        "import fcntl, os, pathlib\n"
        "def task(payload):\n"
        "    folder = pathlib.Path(payload.decode())\n"
        "    held = (folder / 'held').open('w')\n"
        "    fcntl.flock(held, fcntl.LOCK_EX)\n"
        "    with (folder / 'ready').open('w') as pipe:\n"
        "        pipe.write('working')\n"
        "    with (folder / 'go').open() as pipe:\n"  # nobody ever lets it go on
        "        pipe.read()\n"
        "    (folder / 'private.txt').write_text('written without the lock')\n"
        "    return b''\n"
    )
    for name in ("ready", "go"):
        os.mkfifo(tmp_path / name)
    code = (
        "import sys\nfrom fgl.contracts.progress import NullProgress\n"
        "from fgl.plugins.federations.local import LocalFederation\n"
        "from fgl.plugins.federations.options import LocalOptions\n"
        "list(LocalFederation(LocalOptions(isolation='process')).call(['a'], 'a_clients_task:task', "
        "lambda _: sys.argv[1].encode(), NullProgress()))\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)])
    with (tmp_path / "ready").open() as pipe:
        assert pipe.read() == "working"
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    with (tmp_path / "held").open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # the kernel gives it when the child is gone
    assert not (tmp_path / "private.txt").exists()


def test_a_simulated_client_shows_how_far_it_is_and_nobody_elses_does() -> None:
    class Shown(NullProgress):
        pass

    shown = Shown()
    assert type(simulation_progress()) is NullProgress
    with simulated(shown):
        assert simulation_progress() is shown
        with simulated():
            assert type(simulation_progress()) is NullProgress
    assert type(simulation_progress()) is NullProgress
