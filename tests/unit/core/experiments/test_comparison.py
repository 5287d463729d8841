"""Tables over seeds, and settings of a sweep."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fgl.core.config.resolve import resolve
from fgl.core.experiments import sweep
from fgl.core.experiments.comparison import summarize
from fgl.core.experiments.method_results import Point, SeedResult, Summary, cells_of, markdown, verdict
from fgl.core.experiments.methods import Method, parse
from fgl.core.plugin_manager import PluginManager
from fgl.core.report.intervals import Interval, student
from fgl.core.report.metrics import about
from fgl.errors import ConfigError
from fgl.plots.curves import Line, save_curves


@pytest.fixture(scope="module")
def manager() -> PluginManager:
    return PluginManager.load()


def result(top1: float, curve: list[Point] | None = None) -> SeedResult:
    return SeedResult(top1=top1, bytes=10, seconds=1.0, curve=curve or [])


def test_names_of_methods(manager: PluginManager) -> None:
    config = resolve([{"algorithm": "scaffold"}], manager.registry)
    names = ["fgl", "fgl-5round", "fgl-10round-tuned", "fedprox", "local", "fgl"]
    found = parse(names, 200, manager, config, lambda name: config)
    assert found == [
        Method("fgl"),
        Method("fgl-5round", 5, "scaffold"),
        Method("fgl-10round-tuned", 10, "scaffold", True),
        Method("fedprox", 200, "fedprox"),
        Method("local"),
    ]
    with pytest.raises(ConfigError) as caught:
        parse(["fedprxo", "fgl-0round", "centralised"], 5, manager, config, lambda name: config)
    assert "'fedprox'" in str(caught.value)
    assert "fgl-0round" in str(caught.value)
    assert "'centralized'" in str(caught.value)


def test_means_deviations_and_paired_intervals_by_hand() -> None:
    # t with 2 degrees of freedom at 97.5 %: 4.30265.
    found = student([0.1, 0.2, 0.3])
    half = 4.302652729 * 0.1 / 3**0.5
    assert found.mean == pytest.approx(0.2)
    assert found.low == pytest.approx(0.2 - half)
    assert found.high == pytest.approx(0.2 + half)
    assert student([0.1]) == Interval(mean=0.1, low=None, high=None)


def test_a_row_says_what_the_seeds_say() -> None:
    methods = [Method("fgl"), Method("fedavg", 3, "fedavg"), Method("fgl-3round", 3, "fedavg")]
    seeds = {
        0: {
            "fgl": result(0.6, [(1, 0.6, 5)]),
            "fedavg": result(0.5, [(1, 0.2, 1), (2, 0.6, 2), (3, 0.5, 3)]),
            "fgl-3round": result(0.7, [(1, 0.6, 5), (4, 0.7, 9)]),
        },
        1: {
            "fgl": result(0.7, [(1, 0.7, 5)]),
            "fedavg": result(0.5, [(1, 0.3, 1), (2, 0.4, 2), (3, 0.5, 3)]),
            "fgl-3round": result(0.9, [(1, 0.7, 5), (4, 0.9, 9)]),
        },
    }
    fgl, fedavg, rounds = summarize(methods, seeds)
    assert fgl.top1.mean == pytest.approx(0.65)
    assert fgl.top1.std == pytest.approx(0.1 / 2**0.5)
    assert fgl.difference is None
    assert fedavg.best is not None
    assert fedavg.best.mean == pytest.approx(0.55)
    assert fedavg.difference is not None
    assert fedavg.difference.mean == pytest.approx(-0.15)
    assert fedavg.reached == [2, None]
    assert rounds.reached is None  # it starts from there
    text = cells_of(fedavg)
    assert text[0] == "fedavg, 3 rounds"
    assert text[1] == "50.0 ± 0.0 %"
    assert text[-1] == "2, never"
    assert cells_of(summarize(methods[:1], {0: seeds[0]})[0])[1] == "60.0 %"


def test_a_comparison_says_when_the_one_shot_model_is_a_guess_and_what_is_not() -> None:
    methods = [Method("fgl"), Method("fedavg", 3, "fedavg")]
    levels = about(np.array([0, 0, 0, 1]), ("cat", "dog"))
    summaries = [
        Summary(
            folder="runs/compare",
            dataset="scans",
            test_set=levels,
            seeds=1,
            methods=summarize(methods, {0: {"fgl": result(shot), "fedavg": result(0.9)}}),
            each={},
            config={},
        )
        for shot in (0.7, 0.8)
    ]
    assert "no better than a guess: 70.0%, where the better of two guesses gives 75.0%" in verdict(summaries[0])
    assert verdict(summaries[0]).endswith("Better than a guess: fedavg, 3 rounds.")
    assert "docs/unknown-domain.md" in markdown(summaries[0])
    assert verdict(summaries[1]) == ""


def test_a_grid_has_every_pair_and_folders_of_its_own() -> None:
    found = sweep.cells(None, ["partition.beta=0.01,0.5", "synthesis.images_per_class=10,20"])
    assert [one.name for one in found] == [
        "beta 0.01, images_per_class 10",
        "beta 0.01, images_per_class 20",
        "beta 0.5, images_per_class 10",
        "beta 0.5, images_per_class 20",
    ]
    assert found[1].assignments == ("partition.beta=0.01", "synthesis.images_per_class=20")
    assert len({one.folder for one in found}) == 4
    # values with commas of their own
    (one, other) = sweep.cells(None, ["generator.guidance_scale=[1.0, 3.0],2.0"])
    assert one.assignments == ("generator.guidance_scale=[1.0, 3.0]",)
    assert other.assignments == ("generator.guidance_scale=2.0",)


@pytest.mark.parametrize(
    ("ablation", "over", "said"),
    [
        (None, [], "either"),
        ("guidance", ["a.b=1,2"], "either"),
        ("guidnace", [], "did you mean 'guidance'"),
        (None, ["beta"], "family.option"),
        (None, ["a.b=1,,2"], "family.option"),
        (None, ["a.b=1,1"], "differ"),
        (None, ["a.b=1,2", "a.b=3"], "once"),
        (None, [".b=1"], "family.option"),
    ],
)
def test_sweeps_that_cannot_be_read_are_refused(ablation: str | None, over: list[str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        sweep.cells(ablation, over)


def test_every_setting_of_every_ablation_is_a_configuration(manager: PluginManager) -> None:
    found = sweep.ablations()
    assert {
        "prompts",
        "guidance",
        "steps",
        "images",
        "skew",
        "clients",
        "clients-skewed",
        "generator",
        "pretrained",
    } <= set(found)
    for one in found.values():
        assert len(one.cells) > 1
        resolved = [resolve([dict(cell.layer)], manager.registry).to_dict() for cell in one.cells]
        assert all(resolved[i] != resolved[j] for i in range(len(resolved)) for j in range(i))


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_a_figure_of_the_same_numbers_is_the_same_file(tmp_path: Path, suffix: str) -> None:
    lines = [
        Line("$odd$ name", [(1, [0.2, 0.3]), (5, [0.4, 0.6])]),
        Line("one point", [(1, [0.5])]),
        Line("level", [(0, [0.7, 0.8])], level=True),
    ]
    paths = [tmp_path / f"one{suffix}", tmp_path / f"two{suffix}"]
    for path in paths:
        save_curves([path], lines, "title", ("rounds", "top-1"), log=True)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    if suffix == ".svg":
        text = paths[0].read_text()
        assert "$odd$ name" in text
        assert "top-1" in text
    save_curves([paths[0]], lines, "another", ("rounds", "top-1"))
    assert paths[0].read_bytes() != paths[1].read_bytes()
