"""LoRA weights that make a few-step model, the safety checker, and memory that runs out: on real classes, tiny."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline
from PIL import Image
from safetensors.torch import load_file, save_file

import fgl
from fgl.contracts.generator import ImageBatch, PlanItem, Shard
from fgl.contracts.prompts import Prompt
from fgl.errors import ModelError
from fgl.plugins._logging import quiet_diffusers
from fgl.plugins.generators import batching, loading, stable_diffusion
from fgl.plugins.generators import lora as generators_lora
from fgl.plugins.generators.options import StableDiffusionOptions, StableDiffusionXLOptions
from fgl.plugins.generators.stable_diffusion import StableDiffusion, StableDiffusionXL
from tests.helpers.images import SEEDS, conditioning_of, paint, shard_of
from tests.helpers.pipelines import SIDE, save_lora, save_pipeline, save_safety_checker, save_xl_pipeline

ALL = [Prompt(0, text, negative="blurry") for text in ("a cat", "a tench", "a river", "森林")]
KINDS: dict[str, Any] = {
    "sd": (StableDiffusion, StableDiffusionOptions, StableDiffusionPipeline, save_pipeline),
    "xl": (StableDiffusionXL, StableDiffusionXLOptions, StableDiffusionXLPipeline, save_xl_pipeline),
}


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def make(kind: str, folder: Path, **options: Any) -> Any:
    target, options_class, _, _ = KINDS[kind]
    chosen = {"dtype": "fp32", "num_inference_steps": 3, "batch_size": len(ALL), **options}
    return target(options_class(model=str(folder), **chosen))


@pytest.mark.parametrize("kind", KINDS)
def test_lora_weights_are_fused_as_diffusers_fuses_them(tmp_path: Path, kind: str) -> None:
    _, _, pipeline_class, save = KINDS[kind]
    folder = save(tmp_path / "model")
    lora = save_lora(tmp_path / "lora", folder)
    few = {"scheduler": "LCMScheduler", "guidance_scale": 1.0}
    subject = make(kind, folder, lora=str(lora), lora_scale=0.5, **few)
    with quiet_diffusers():
        pipeline = pipeline_class.from_pretrained(folder).to(torch.float32)
        pipeline.load_lora_weights(lora)
        pipeline.fuse_lora(lora_scale=0.5)
        pipeline.scheduler = diffusers.LCMScheduler.from_config(pipeline.scheduler.config)
        pipeline.set_progress_bar_config(disable=True)
        encoded = [
            pipeline.encode_prompt(
                prompt=[one.text], device="cpu", do_classifier_free_guidance=False, num_images_per_prompt=1
            )
            for one in ALL
        ]
        arrays = {"prompt_embeds": torch.cat([one[0] for one in encoded])}
        if kind == "xl":
            arrays["pooled_prompt_embeds"] = torch.cat([one[2] for one in encoded])
        images = pipeline(
            **arrays,
            guidance_scale=1.0,
            num_inference_steps=3,
            generator=[torch.Generator("cpu").manual_seed(seed) for seed in SEEDS],
        ).images
    found = paint(subject, ALL)
    np.testing.assert_array_equal(found, np.stack([np.asarray(image) for image in images]))
    others = [make(kind, folder, lora=str(lora), lora_scale=1.0, **few), make(kind, folder, guidance_scale=1.0)]
    assert all((paint(other, ALL) != found).any() for other in others)
    assert len({one.fingerprint() for one in (subject, *others)}) == 3
    # The text encoder is not touched: clients need no LoRA.
    assert len({one.declare().encoder for one in (subject, *others)}) == 1
    assert subject.describe()["lora"] == str(lora)


@pytest.mark.parametrize("kind", KINDS)
def test_lora_weights_in_kohyas_naming_paint_the_same_pictures(tmp_path: Path, kind: str) -> None:
    folder = KINDS[kind][3](tmp_path / "model")
    unet = diffusers.UNet2DConditionModel.from_pretrained(folder, subfolder="unet")
    generator = torch.Generator().manual_seed(0)
    ours: dict[str, torch.Tensor] = {}
    theirs: dict[str, torch.Tensor] = {}
    for name, module in unet.named_modules():
        if name.endswith(("to_q", "to_k", "to_v", "to_out.0")):
            down = torch.randn(2, module.weight.shape[1], generator=generator) / 10
            up = torch.randn(module.weight.shape[0], 2, generator=generator) / 10
            ours |= {f"unet.{name}.lora_A.weight": down, f"unet.{name}.lora_B.weight": up}
            layer = f"lora_unet_{name.replace('.', '_')}"
            scale = {f"{layer}.alpha": torch.tensor(2.0)}
            theirs |= {f"{layer}.lora_down.weight": down.clone(), f"{layer}.lora_up.weight": up.clone(), **scale}
    save_file(ours, tmp_path / "ours.safetensors")
    save_file(theirs, tmp_path / "theirs.safetensors")
    pictures = [
        paint(make(kind, folder, lora=str(tmp_path / f"{name}.safetensors")), ALL) for name in ("ours", "theirs")
    ]
    np.testing.assert_array_equal(*pictures)
    assert (paint(make(kind, folder), ALL) != pictures[0]).any()


@pytest.mark.parametrize(
    ("added", "said"),
    [
        ("lora_te_text_model_x.lora_down.weight", r"changes the text encoder .*\(1 of 3 weights, such as lora_te_"),
        ("lora_unet_x.hada_w1_a", "1 weights that do not belong to a LoRA, such as lora_unet_x.hada_w1_a"),
        ("lora_unet_x.dora_scale", "no LoHa, LoKr or DoRA"),
    ],
)
def test_lora_weights_that_would_be_used_in_part_are_refused_before_anything_is_encoded(
    tmp_path: Path, added: str, said: str
) -> None:
    folder = save_pipeline(tmp_path / "model")
    pair = {f"lora_unet_x.lora_{half}.weight": torch.zeros(2, 2) for half in ("down", "up")}
    save_file({**pair, added: torch.zeros(2, 2)}, tmp_path / "lora.safetensors")
    with pytest.raises(ModelError, match=said):
        make("sd", folder, lora=str(tmp_path / "lora.safetensors")).declare()


def test_lora_weights_that_are_not_finite_are_refused_with_the_fingerprint(tmp_path: Path) -> None:
    folder = save_pipeline(tmp_path / "model")
    path = save_lora(tmp_path / "lora", folder) / "pytorch_lora_weights.safetensors"
    save_file({name: value / 0 for name, value in load_file(path).items()}, path)
    with pytest.raises(ModelError, match=r"lora: .* not finite"):
        make("sd", folder, lora=str(path.parent)).fingerprint()


def test_lcm_is_short_for_its_lora_its_scheduler_four_steps_and_no_guidance() -> None:
    plain = StableDiffusionOptions(lora="lcm")
    assert plain.lora == "latent-consistency/lcm-lora-sdv1-5"
    assert (plain.scheduler, plain.num_inference_steps, plain.guidance_scale) == ("LCMScheduler", 4, 1.0)
    xl = StableDiffusionXLOptions(lora="lcm", num_inference_steps=8)
    assert xl.lora == "latent-consistency/lcm-lora-sdxl"
    assert len(str(xl.lora_revision)) == 40
    assert xl.num_inference_steps == 8
    again = StableDiffusionXLOptions.model_validate(xl.model_dump(mode="json"))
    assert again == xl
    assert [use.model for use in xl.models()] == [xl.model, xl.lora]
    with pytest.raises(ValueError, match="lora_revision: given without lora"):
        StableDiffusionOptions(lora_revision="main")


def test_lora_weights_that_do_not_fit_are_refused_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save_pipeline(tmp_path / "model")
    both = save_lora(tmp_path / "both", folder, text_encoder=True)
    other = save_lora(tmp_path / "other", save_xl_pipeline(tmp_path / "xl"))
    empty = tmp_path / "empty"
    empty.mkdir()
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    (damaged / "pytorch_lora_weights.safetensors").write_bytes(b"not weights")
    for lora, message in (
        (both, "changes the text encoder as well as the denoiser"),
        (other, "does not fit the denoiser"),
        (damaged, "does not fit the denoiser"),
        (empty, r"has no pytorch_lora_weights\.safetensors"),
        (tmp_path / "nowhere", "does not exist"),
    ):
        with pytest.raises(ModelError, match=message):
            make("sd", folder, lora=str(lora)).synthesizer("cpu")
    fine = save_lora(tmp_path / "fine", folder)
    monkeypatch.setattr(generators_lora, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match="pip install peft"):
        make("sd", folder, lora=str(fine)).synthesizer("cpu")


@pytest.mark.parametrize("prefix", ["transformer.", "", "te2_"])
def test_lora_weights_of_which_nothing_fits_are_not_ignored(tmp_path: Path, prefix: str) -> None:
    folder = save_pipeline(tmp_path / "model")
    path = save_lora(tmp_path / "lora", folder) / "pytorch_lora_weights.safetensors"
    weights = load_file(path)
    save_file({prefix + name.removeprefix("unet."): value for name, value in weights.items()}, path)
    with pytest.raises(ModelError, match="lora: "):
        make("sd", folder, lora=str(path.parent)).synthesizer("cpu")
    half = {name.replace("down_blocks.1", "down_blocks.7"): value for name, value in weights.items()}
    save_file(half, path)
    with pytest.raises(ModelError, match="lora: "):
        make("sd", folder, lora=str(path.parent)).synthesizer("cpu")


def test_the_scheduler_of_distilled_models_needs_their_lora(tmp_path: Path) -> None:
    folder = save_pipeline(tmp_path)
    with pytest.raises(ModelError, match="for distilled models; give their LoRA as lora"):
        make("sd", folder, scheduler="LCMScheduler").declare()


# --- the safety checker


def test_blanked_images_are_those_of_the_pipelines_checker(tmp_path: Path) -> None:
    folder = save_pipeline(tmp_path / "model", seed=3)
    arrays, indices = make("sd", folder).encoder("cpu").encode(ALL)
    seeds = list(range(12))
    rows = conditioning_of(arrays, indices, len(ALL))
    items = tuple(PlanItem(f"i{k}", k % 4, f"c{k % 4}", 0, "", None, seed) for k, seed in enumerate(seeds))

    def verdict(strictness: float) -> list[bool]:
        safe = save_safety_checker(tmp_path / "safe", strictness=strictness)
        painter = make("sd", folder, safety_checker=str(safe)).synthesizer("cpu")
        batches = list(painter.synthesize(Shard(0, items), rows, lambda count: None))
        return [position in batch.rejected for batch in batches for position in range(len(batch.pixels))]

    assert not any(verdict(2.0))
    assert all(verdict(-2.0))
    low, high, found = -2.0, 2.0, [True]
    while len(set(found)) == 1:  # until it blanks some and keeps some
        middle = (low + high) / 2
        found = verdict(middle)
        low, high = (middle, high) if found[0] else (low, middle)
    checker, extractor = loading.load_safety_checker(tmp_path / "safe", "safe")
    with quiet_diffusers():
        pipeline = StableDiffusionPipeline.from_pretrained(
            folder, safety_checker=checker, feature_extractor=extractor
        ).to(torch.float32)
        pipeline.set_progress_bar_config(disable=True)
    for start in range(0, len(items), 4):
        part = items[start : start + 4]
        with quiet_diffusers():
            theirs = pipeline(
                prompt_embeds=torch.from_numpy(np.stack([arrays["prompt_embeds"][item.conditioning] for item in part])),
                negative_prompt_embeds=torch.from_numpy(np.repeat(arrays["negative_prompt_embeds"], 4, axis=0)),
                guidance_scale=2.0,
                num_inference_steps=3,
                generator=[torch.Generator("cpu").manual_seed(item.seed) for item in part],
            ).nsfw_content_detected
        assert theirs == found[start : start + 4]


def test_the_models_own_checker_is_used_where_it_has_one(tmp_path: Path) -> None:
    folder = save_pipeline(tmp_path / "model")
    with pytest.raises(ModelError, match=r"has none of its own; give the folder or Hub id of one"):
        make("sd", folder, safety_checker="own").synthesizer("cpu")
    safe = save_safety_checker(tmp_path / "safe", strictness=-2.0)
    (safe / "preprocessor_config.json").rename(tmp_path / "preprocessor_config.json")
    safe.rename(folder / "safety_checker")
    (folder / "feature_extractor").mkdir()
    (tmp_path / "preprocessor_config.json").rename(folder / "feature_extractor/preprocessor_config.json")
    subject = make("sd", folder, safety_checker="own")
    arrays, indices = subject.encoder("cpu").encode(ALL)
    rows = conditioning_of(arrays, indices, len(ALL))
    (batch,) = subject.synthesizer("cpu").synthesize(shard_of(SEEDS), rows, lambda count: None)
    assert batch.rejected == (0, 1, 2, 3)
    assert subject.fingerprint() != make("sd", folder).fingerprint()


def test_how_images_are_prepared_for_the_checker_is_part_of_the_fingerprint(tmp_path: Path) -> None:
    folder, safe = save_pipeline(tmp_path / "model"), save_safety_checker(tmp_path / "safe")
    before = make("sd", folder, safety_checker=str(safe)).fingerprint()
    path = safe / "preprocessor_config.json"
    path.write_text(path.read_text().replace("0.48145466", "0.5"))
    assert make("sd", folder, safety_checker=str(safe)).fingerprint() != before


@pytest.mark.parametrize(
    "stranger", ["unet/diffusers.py", "tokenizer/transformers.py", "text_encoder/adapter_config.json"]
)
def test_a_folder_with_code_or_an_adapter_is_refused(tmp_path: Path, stranger: str) -> None:
    folder = save_pipeline(tmp_path)
    (folder / stranger).write_text("{}")
    with pytest.raises(ModelError, match="which would change what is loaded"):
        make("sd", folder).declare()


def test_weights_that_are_there_twice_are_refused(tmp_path: Path) -> None:
    folder = save_pipeline(tmp_path)
    (folder / "unet/diffusion_pytorch_model.safetensors.index.json").write_text('{"weight_map": {}}')
    with pytest.raises(ModelError, match="has its unet twice"):
        make("sd", folder).fingerprint()


def test_zeros_for_no_negative_prompt_count_as_another_encoder(tmp_path: Path) -> None:
    one, other = (save_xl_pipeline(tmp_path / str(zeros), zeros=zeros) for zeros in (True, False))
    assert make("xl", one).declare().encoder != make("xl", other).declare().encoder


def test_a_checker_that_cannot_be_loaded_is_a_model_error(tmp_path: Path) -> None:
    folder = save_pipeline(tmp_path / "model")
    with pytest.raises(ModelError, match=r"expected a folder or Hub id with a StableDiffusionSafetyChecker"):
        make("sd", folder, safety_checker=str(folder)).synthesizer("cpu")


# --- memory


def limit(monkeypatch: pytest.MonkeyPatch, most: int, error: Exception) -> list[int]:
    """Let the denoiser run out of memory beyond `most` rows; returns the sizes that it was asked for."""
    asked: list[int] = []
    own = diffusers.UNet2DConditionModel.forward

    def forward(self: Any, sample: torch.Tensor, *args: Any, **more: Any) -> Any:
        asked.append(len(sample))
        if len(sample) > most:
            raise error
        return own(self, sample, *args, **more)

    monkeypatch.setattr(diffusers.UNet2DConditionModel, "forward", forward)
    return asked


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:114] err == 0. DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_batches_are_halved_where_memory_runs_out_and_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    folder = save_pipeline(tmp_path)
    wanted = paint(make("sd", folder), ALL)
    monkeypatch.setattr(batching, "_CPU_MOST", 8)
    arrays, indices = make("sd", folder).encoder("cpu").encode(ALL)
    rows = conditioning_of(arrays, indices, len(ALL))
    asked = limit(monkeypatch, 4, error)  # two images, guided
    painter = make("sd", folder, batch_size="auto").synthesizer("cpu")
    assert painter.notes() == {"batch_size": 8}
    with caplog.at_level(logging.WARNING):
        batches = list(painter.synthesize(shard_of(SEEDS), rows, lambda count: None))
    assert [len(batch.pixels) for batch in batches] == [2, 2]
    assert asked == [16, 8, *[4] * 6]
    assert painter.notes() == {"batch_size": 2, "batch_sizes": [8, 4, 2]}
    assert f"out of memory with 8 images of {SIDE}x{SIDE} on cpu: continuing with 4 at a time" in caplog.text
    found = np.concatenate([batch.pixels for batch in batches]).astype(int)
    assert abs(found - wanted).max() <= 1


def test_the_report_tells_of_smaller_batches_in_an_earlier_process(
    images: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {
        "dataset": str(images(4)),
        "partition": {"name": "iid", "clients": 1},
        "baselines": "none",
        "generator": {
            "name": "stable-diffusion",
            "model": str(save_pipeline(tmp_path / "sd")),
            "num_inference_steps": 1,
            "dtype": "fp32",
            "batch_size": "auto",
            "guidance_scale": 1.0,
        },
        "synthesis": {"images_per_class": 4, "shard_size": 4},
        "classifier": {"name": "small", "epochs": 1, "image_size": 32},
    }
    monkeypatch.setattr(batching, "_CPU_MOST", 4)
    whole = {"batch_size": 2, "batch_sizes": [4, 2]}
    with monkeypatch.context() as patch:
        limit(patch, 2, torch.OutOfMemoryError("no"))
        first = fgl.run(settings, out=tmp_path / "run")["synthetic"]
    assert first["notes"] == whole
    (tmp_path / "run/server/shards/shard-00002.parquet").unlink()
    second = fgl.run(settings, out=tmp_path / "run")["synthetic"]
    assert (second["reused"], second["notes"]) == (8, {"batch_size": 4, "batch_sizes": [4, 2]})
    assert "- sizes of batches, as memory ran out: 4, 2" in (tmp_path / "run/report.md").read_text()


def test_a_number_that_the_user_chose_is_kept_and_one_image_that_does_not_fit_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save_pipeline(tmp_path)
    arrays, indices = make("sd", folder).encoder("cpu").encode(ALL)
    rows = conditioning_of(arrays, indices, len(ALL))
    limit(monkeypatch, 0, torch.OutOfMemoryError("no"))
    for size, message in ((4, "lower the generator's batch_size, or set it to auto"), ("auto", "offload to model")):
        with pytest.raises(ModelError, match=message):
            list(make("sd", folder, batch_size=size).synthesizer("cpu").synthesize(shard_of(SEEDS), rows, print))


def test_other_runtime_errors_are_not_taken_for_a_lack_of_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save_pipeline(tmp_path)
    arrays, indices = make("sd", folder).encoder("cpu").encode(ALL)
    limit(monkeypatch, 0, RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    painter = make("sd", folder, batch_size="auto").synthesizer("cpu")
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        list(painter.synthesize(shard_of(SEEDS), conditioning_of(arrays, indices, len(ALL)), print))


def test_the_first_guess_follows_the_image_and_the_device() -> None:
    cpu = torch.device("cpu")
    assert batching.batch_size("auto", cpu, (32, 32)) == 100
    assert batching.batch_size("auto", cpu, (512, 512)) == 8
    assert batching.batch_size("auto", cpu, (1024, 1024)) == 2
    assert batching.batch_size("auto", cpu, (4096, 4096)) == 1
    assert batching.batch_size(3, cpu, (4096, 4096)) == 3


@pytest.mark.parametrize("options", [{"vae_slicing": True}, {"offload": "model"}, {"attention": "plain"}])
@pytest.mark.parametrize("kind", KINDS)
def test_what_saves_memory_paints_the_same_pictures(tmp_path: Path, kind: str, options: dict[str, Any]) -> None:
    folder = KINDS[kind][3](tmp_path, vae="kl")
    plain, other = make(kind, folder), make(kind, folder, **options)
    assert abs(paint(plain, ALL).astype(int) - paint(other, ALL)).max() <= 1
    assert plain.fingerprint() == other.fingerprint()
    if "offload" not in options:
        assert plain.rounding("cpu") != other.rounding("cpu")


def test_tiles_are_another_picture_where_an_image_is_larger_than_one(tmp_path: Path) -> None:
    folder = save_pipeline(tmp_path, vae="kl")
    plain, tiled = (make("sd", folder, height=32, width=32, vae_tiling=on) for on in (False, True))
    assert abs(paint(plain, ALL).astype(int) - paint(tiled, ALL)).max() > 0
    assert plain.fingerprint() != tiled.fingerprint()


def test_a_compiled_denoiser_paints_nearly_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Traced as ever, but run by torch: generating and compiling C++ takes a minute and belongs into benchmarks.
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    folder = save_pipeline(tmp_path)
    plain, compiled = make("sd", folder), make("sd", folder, compile=True)
    assert plain.rounding("cpu") != compiled.rounding("cpu")
    assert plain.fingerprint() == compiled.fingerprint()
    assert abs(paint(plain, ALL).astype(int) - paint(compiled, ALL)).max() <= 1


def test_images_are_kept_smaller_where_that_is_asked_for(tmp_path: Path) -> None:
    folder = save_pipeline(tmp_path)
    plain, small = (make("sd", folder, height=24, width=32, save_size=size) for size in (None, 12))
    wanted = [Image.fromarray(image).resize((16, 12), Image.Resampling.LANCZOS) for image in paint(plain, ALL)]
    np.testing.assert_array_equal(paint(small, ALL), np.stack([np.asarray(image) for image in wanted]))
    assert small.describe()["image_size"] == [12, 16]
    assert plain.describe()["image_size"] == [24, 32]
    assert plain.fingerprint() != small.fingerprint()
    larger = make("sd", folder, height=24, width=32, save_size=200)
    np.testing.assert_array_equal(paint(larger, ALL), paint(plain, ALL))


def test_memory_that_runs_out_half_way_keeps_what_is_painted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = save_pipeline(tmp_path)
    arrays, indices = make("sd", folder).encoder("cpu").encode(ALL)
    rows = conditioning_of(arrays, indices, len(ALL))
    items = tuple(PlanItem(f"i{k}", k % 4, f"c{k % 4}", 0, "", None, k) for k in range(12))
    calls = 0
    own = diffusers.UNet2DConditionModel.forward

    def forward(self: Any, sample: torch.Tensor, *args: Any, **more: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 5:  # in the second batch
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return own(self, sample, *args, **more)

    monkeypatch.setattr(batching, "_CPU_MOST", 4)
    monkeypatch.setattr(diffusers.UNet2DConditionModel, "forward", forward)
    painter = make("sd", folder, batch_size="auto").synthesizer("cpu")
    batches = list(painter.synthesize(Shard(0, items), rows, lambda count: None))
    assert [len(batch.pixels) for batch in batches] == [4, 2, 2, 2, 2]
    assert painter.notes()["batch_sizes"] == [4, 2]


def test_painted_is_whole_by_default() -> None:
    assert ImageBatch(np.zeros((1, 2, 2, 3), np.uint8)).rejected == ()
    assert stable_diffusion.StableDiffusionXL.layout.encoders == ("text_encoder", "text_encoder_2")
