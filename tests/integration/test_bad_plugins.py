"""Plugins that fail while a run is under way: one line that names plugin and cause, exit code 3, no traceback."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.cli import CliResult, run_cli
from tests.helpers.installed import install
from tests.helpers.settings import small, write_noise

PLUGIN = '''
import fgl
from fgl import Component, ImageBatch, Options, hookimpl


class Wrapper:
    """A built-in component, but for what is said here."""

    def __init__(self):
        self.inner = fgl.create(self.family, self.name, **self.options)

    def __getattr__(self, name):
        return getattr(self.inner, name)


class Late(Wrapper):
    family, name, options = "generator", "tiny", {"num_inference_steps": 1, "guidance_scale": 1.0}

    def synthesizer(self, device):
        inner = self.inner.synthesizer(device)

        class Synthesizer:
            notes = inner.notes

            def synthesize(self, shard, conditioning, progress):
                yield next(iter(inner.synthesize(shard, conditioning, progress)))
                raise RuntimeError("the disk of paints is empty")

        return Synthesizer()


class Sizeless(Late):
    def describe(self):
        return {"model": "none"}


class Noisy(Wrapper):
    family, name, options = "classifier", "small", {"epochs": 1, "image_size": 16}

    def fit(self, train, validation, context):
        return Model(self.inner.fit(train, validation, context))

    restore = lambda self, state, context: Model(self.inner.restore(state, context))


class Model:
    def __init__(self, inner): self.inner = inner
    def __getattr__(self, name): return getattr(self.inner, name)
    def predict(self, pixels, which, progress): return self.inner.predict(pixels, which, progress) + 99


class Mute(Noisy):
    def fit(self, train, validation, context): return self.inner.fit(train, validation, context)

    def restore(self, state, context):
        class Silent(Model):
            def predict(self, pixels, which, progress): return self.inner.predict(pixels, which, progress)
            def save(self, folder, which): pass
        return Silent(self.inner.restore(state, context))


class Idle(Wrapper):
    family, name, options = "executor", "local", {}
    def run(self, job, advance): pass


class Numpy(Wrapper):
    family, name, options = "executor", "local", {}
    def environment(self):
        import numpy as np
        return {"threads": np.int64(2), "speed": np.float32(0.5), "sizes": np.arange(2)}


class Failing(Wrapper):
    family, name, options = "federation", "local", {}
    def call(self, client_ids, task, payload, progress):
        raise ConnectionError("no route to client-00")


class Short(Failing):
    def call(self, client_ids, task, payload, progress):
        yield from self.inner.call(client_ids[:1], task, payload, progress)


class Doubled:
    def aggregate(self, uploads, generator):
        from dataclasses import replace
        from fgl.contracts.conditioning import unite
        united = unite(uploads, generator)
        return replace(united, ids=(united.ids[0],) * len(united))


def components(family, **targets):
    return [Component(name, target, api_version=4) for name, target in targets.items()]


@hookimpl
def fgl_generators(): return components("generator", late=Late, sizeless=Sizeless)
@hookimpl
def fgl_classifiers(): return components("classifier", noisy=Noisy, mute=Mute)
@hookimpl
def fgl_executors(): return components("executor", idle=Idle, numpy=Numpy)
@hookimpl
def fgl_federations(): return components("federation", failing=Failing, short=Short)
@hookimpl
def fgl_aggregators(): return components("aggregator", doubled=Doubled)
'''


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, pipeline: Path
) -> Callable[..., CliResult]:
    """`fgl run` in seconds, with the plugin installed and components of it selected."""
    install(monkeypatch, tmp_path / "plugin", "fgl_bad", PLUGIN, "bad")
    (tmp_path / "images").mkdir()
    config = small(write_noise(tmp_path / "images"), pipeline)
    call = run_cli(monkeypatch, capsys)

    def run(**changes: Any) -> CliResult:
        file = tmp_path / "config.yaml"
        file.write_text(json.dumps({**config, **changes}))
        return call("run", str(file), "--out", str(tmp_path / "run"))

    return run


@pytest.mark.parametrize(
    ("family", "name", "said"),
    [
        ("generator", "late", "Synthesizer.synthesize() raised RuntimeError: the disk of paints is empty"),
        ("generator", "sizeless", "image_size"),
        ("classifier", "noisy", "TrainedClassifier.predict() returned"),
        ("classifier", "mute", "TrainedClassifier.save() wrote no file to its folder; expected a model"),
        ("executor", "idle", "Executor.run() returned before shard 0 was committed"),
        ("federation", "failing", "Federation.call() raised ConnectionError: no route to client-00"),
        ("federation", "short", "Federation.call() yielded nothing for client-01"),
        ("aggregator", "doubled", "Aggregator.aggregate() returned the id"),
    ],
)
def test_a_plugin_that_fails_ends_with_its_name_and_the_cause(
    run: Callable[..., CliResult], family: str, name: str, said: str
) -> None:
    ended = run(**{family: name})
    assert ended.code == 3, ended.err
    assert "Traceback" not in ended.err
    (line,) = [line for line in ended.err.splitlines() if line.startswith("error: ")]
    assert said in line
    assert f"{family} {name!r}" in line


def test_numbers_of_numpy_reach_the_report(run: Callable[..., CliResult], tmp_path: Path) -> None:
    ended = run(executor="numpy", trackers=["csv"])
    assert ended.code == 0, ended.err
    environment = json.loads((tmp_path / "run" / "environment.json").read_text())
    assert (environment["threads"], environment["speed"], environment["sizes"]) == (2, 0.5, [0, 1])
    assert "python" in environment
    table = (tmp_path / "run" / "trackers" / "csv" / "events.csv").read_text()
    assert ",train,epoch_finished,1,loss," in table
    assert ",evaluate,stage_finished,,selected.top1," in table
