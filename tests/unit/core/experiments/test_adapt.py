"""`fgl adapt` from a data set on disk to a folder that a generator takes, resumed to the same bytes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest
import torch

import fgl
from fgl.contracts.progress import NullProgress
from fgl.core.adapters import adaptation_of
from fgl.core.config.resolve import resolve
from fgl.core.config.schema import RunConfig
from fgl.core.experiments import adapt as adapt_experiment
from fgl.core.experiments.adapt import adapt
from fgl.core.experiments.adapt_card import AdaptResult
from fgl.core.plugin_manager import PluginManager
from fgl.core.store.run_dir import RunDir
from fgl.errors import ConfigError, DataError
from fgl.plugins.generators.options import LORA_FILE

if TYPE_CHECKING:
    from fgl.contracts.generator import Generator

MANAGER = PluginManager.load()


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def config(images: Callable[..., Path], pipeline: Path) -> Callable[..., RunConfig]:
    root = images(per_class=14)

    def make(**adaptation: Any) -> RunConfig:
        given = {
            "dataset": {"path": str(root), "test_fraction": 0.1},
            "generator": {
                "name": "stable-diffusion",
                "model": str(pipeline),
                "num_inference_steps": 2,
                "guidance_scale": 2.0,
                "dtype": "fp32",
            },
            "adaptation": {
                "rank": 2,
                "batch_size": 8,
                "steps": 4,
                "evaluate_every": 2,
                "held_out": 0.3,
                "samples": 1,
                **adaptation,
            },
        }
        return resolve([given], MANAGER.registry)

    return make


def _adapt(config: RunConfig, out: Path, replace: bool = False) -> AdaptResult:
    return adapt(config, MANAGER, RunDir(out, "adapted"), NullProgress(), replace)


def _bytes(folder: Path) -> Mapping[str, bytes]:
    """What a generator takes, and the samples."""
    paths = [*folder.glob("*.safetensors"), *folder.glob("unet/*"), *folder.glob("samples/*")]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def test_it_writes_an_adapter_its_card_samples_and_a_record(config: Callable[..., RunConfig], tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = _adapt(config(), out)
    assert {path.name for path in out.iterdir()} >= {LORA_FILE, "README.md", "adaptation.json", "samples"}
    assert sorted(path.name for path in (out / "samples").iterdir()) == [f"step-{step:06d}.png" for step in (0, 2, 4)]
    assert (result.option, result.path) == ("lora", str(out))
    assert result.data.held_out >= 8
    assert adapt_experiment.read(RunDir(out, "adapted")) == result
    card = (out / "README.md").read_text(encoding="utf-8")
    assert "Privacy" in card
    assert result.data.digest in card
    assert str(tmp_path) not in card


def test_a_killed_adaptation_resumes_to_the_same_bytes(
    config: Callable[..., RunConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = _adapt(config(kind="full"), tmp_path / "whole")
    write, killed = RunDir.write, tmp_path / "killed"

    def die(self: RunDir, path: Path, data: bytes) -> None:
        if path.name == "step-000004.png":
            raise KeyboardInterrupt
        write(self, path, data)

    with monkeypatch.context() as dying:
        dying.setattr(RunDir, "write", die)
        with pytest.raises(KeyboardInterrupt):
            _adapt(config(kind="full"), killed)
    assert not (killed / "model_index.json").exists()
    assert _adapt(config(kind="full"), killed).digest == whole.digest
    assert _bytes(killed) == _bytes(tmp_path / "whole")
    # finished, it is the same again, and more steps go on from there
    assert _adapt(config(kind="full"), killed).digest == whole.digest
    assert _adapt(config(kind="full", steps=6), killed).steps == 6


def test_another_adaptation_takes_a_folder_only_by_replacing(config: Callable[..., RunConfig], tmp_path: Path) -> None:
    out = tmp_path / "out"
    _adapt(config(kind="full", steps=1, samples=0), out)
    with pytest.raises(ConfigError, match="holds an adaptation of other data or settings"):
        _adapt(config(steps=1, samples=0), out)
    _adapt(config(steps=1, samples=0), out, replace=True)
    assert not (out / "model_index.json").exists()
    assert (out / LORA_FILE).exists()


def test_what_holds_other_things_is_no_place_for_it(config: Callable[..., RunConfig], tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match=r"which fgl did not write; .* an adapted generator"):
        _adapt(config(), tmp_path / "mine")


def test_too_few_held_out_images_select_nothing(
    config: Callable[..., RunConfig], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    result = _adapt(config(held_out=0.1, steps=1, samples=0), tmp_path / "out")
    assert "No weights are selected" in caplog.text
    assert result.data.held_out == 0
    assert result.selected_step == 1


def test_a_class_without_images_is_one_clear_line(config: Callable[..., RunConfig], tmp_path: Path) -> None:
    given = config().to_dict()
    given["dataset"]["class_names"] = [*sorted(path.name for path in (tmp_path / "images").iterdir()), "unicorn"]
    with pytest.raises(DataError, match=r"holds no image of 'unicorn'.*leave the class out") as caught:
        _adapt(resolve([given], MANAGER.registry), tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_split_that_is_not_there_is_named(config: Callable[..., RunConfig], tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has no public split to learn from \(adaptation.split\)"):
        _adapt(config(split="public"), tmp_path / "out")


def test_a_generator_that_cannot_be_adapted_is_named_before_anything_is_done(config: Callable[..., RunConfig]) -> None:
    with pytest.raises(ConfigError, match=r"generator.*expected a generator that can be adapted"):
        adaptation_of(config(), cast("Generator", object()))


def test_arrays_are_no_captions(config: Callable[..., RunConfig], tmp_path: Path) -> None:
    given = {**config().to_dict(), "prompt_strategy": {"name": "learned"}}
    with pytest.raises(ConfigError, match="learns from captions, not from arrays"):
        _adapt(resolve([given], MANAGER.registry), tmp_path / "out")


def test_from_python_the_result_is_a_section_of_a_configuration(
    config: Callable[..., RunConfig], tmp_path: Path
) -> None:
    result = fgl.adapt(config(), tmp_path / "out", progress=False, kind="full", steps=2, samples=0)
    assert result.steps == 2
    assert result.held_out_loss is not None
    resolved = resolve([{"generator": dict(result.generator)}], MANAGER.registry)
    generator = MANAGER.create("generator", resolved.generator)
    assert generator.fingerprint() != MANAGER.create("generator", config().generator).fingerprint()


def test_captions_say_what_prompts_call_the_classes(config: Callable[..., RunConfig], tmp_path: Path) -> None:
    given = config(steps=1, samples=0).to_dict()
    names = sorted(path.name for path in (tmp_path / "images").iterdir())
    given["dataset"]["class_names"] = names
    plain = _adapt(resolve([given], MANAGER.registry), tmp_path / "plain")
    given["dataset"]["prompt_names"] = ["a stream", "a thing", "trees"]
    assert _adapt(resolve([given], MANAGER.registry), tmp_path / "named").digest != plain.digest
