"""What a comparison says that it will cost, before it starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from fgl.core.config.resolve import resolve
from fgl.core.experiments import costs
from fgl.core.experiments.comparison import summarize
from fgl.core.experiments.method_results import SeedResult, cells_of, few_seeds
from fgl.core.experiments.methods import Method, parse
from fgl.core.plugin_manager import PluginManager
from fgl.core.store.run_dir import RunDir

DATA = costs.Data(images=1000, classes=4, clients=5)


@pytest.fixture(scope="module")
def manager() -> PluginManager:
    return PluginManager.load()


def _costs(manager: PluginManager, names: str, count: int = 10, **config: object) -> dict[str, costs.Cost]:
    resolved = resolve(
        [{"synthesis": {"images_per_class": 50}, "classifier": {"epochs": 4}, **config}], manager.registry
    )
    methods = parse(names.split(","), count, manager, resolved, lambda name: resolved)
    return costs.of_seed(resolved, methods, DATA)


def test_every_method_is_counted_and_what_several_share_once(manager: PluginManager) -> None:
    found = _costs(manager, "fgl,class-list,fedavg,local,centralized,fgl-2round-tuned")
    assert found["fgl"] == costs.Cost(200, 1, 180 * 4)  # a tenth is kept aside to select the epoch
    assert found["class-list"] == costs.Cost()  # the same images, by construction
    assert found["fedavg"] == costs.Cost(0, 50, 10 * 5 * 1000)
    assert found["local"] == costs.Cost(0, 5, 4000)
    assert found["centralized"] == costs.Cost(0, 1, 4000)
    # two rounds, and one of each other start that is tried
    assert found["fgl-2round-tuned"] == costs.Cost(0, 10 + 2 + 10, 2 * 5 * 1000 + 2 * 5 * 200 + 2 * 5 * 1000)
    stated = _costs(manager, "fgl-2round-tuned", rounds={"start": "one-shot"})["fgl-2round-tuned"]
    assert stated.models == 10 + 2 + 1, "with the one-shot model, which comes first"


def test_other_prompts_and_a_share_of_the_clients_are_counted(manager: PluginManager) -> None:
    found = _costs(manager, "class-list,fedavg", prompt_strategy="attributes", rounds={"fraction": 0.4})
    assert found["class-list"].painted == 400, "attributes for the run, class names beside it"
    assert found["fedavg"] == costs.Cost(0, 20, 10 * 5 * 400)


def test_time_is_said_at_the_pace_of_runs_that_are_there_and_not_guessed_without(
    manager: PluginManager, tmp_path: Path
) -> None:
    found = list(_costs(manager, "fgl,fedavg").items())
    assert "not known before" in costs.lines(found, 3, 1, DATA, costs.pace(tmp_path))[-1]
    run = RunDir(tmp_path / "seed-0")
    run.record("synthesize", {}, [], 20.0, {"images": 200})
    run.record("train", {}, [], 7.2, {"images": 180, "history": [{}] * 4})
    pace = costs.pace(tmp_path)
    assert pace == costs.Pace(0.1, pytest.approx(0.01))
    # 3 seeds: 600 images at 0.1 s, and 3 x (720 + 50,000) at 0.01 s
    assert pace.seconds(costs.total(cost for _, cost in found).times(3)) == pytest.approx(60 + 1521.6)
    said = costs.lines(found, 3, 1, DATA, pace)
    assert said[0] == "3 seeds × 2 methods; 1,000 images at 5 clients, 4 classes. For each seed:"
    assert said[-2] == "in all: 600 synthetic images, 153 trainings, 152,160 images through the classifier"
    assert "about 26 min" in said[-1]


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.2, "1 s"), (61, "61 s"), (600, "10 min"), (7200, "2.0 h"), (300_000, "3.5 days")]
)
def test_a_duration_is_said_roughly(seconds: float, said: str) -> None:
    assert costs.duration(seconds) == said


def test_a_difference_is_fgls_less_the_methods_and_no_interval_goes_beyond_a_hundred_points() -> None:
    methods = [Method("fgl"), Method("local")]
    seeds = {
        0: {
            "fgl": SeedResult(top1=0.9, bytes=1, seconds=1.0),
            "local": SeedResult(top1=0.1, bytes=0, seconds=1.0),
        },
        1: {
            "fgl": SeedResult(top1=0.2, bytes=1, seconds=1.0),
            "local": SeedResult(top1=0.3, bytes=0, seconds=1.0),
        },
    }
    local = cells_of(summarize(methods, seeds)[1])
    assert local[3] == "+35.0 (-100.0 to +100.0)"
    assert "1 degree of freedom" in few_seeds(2)
    assert few_seeds(5) == ""
