"""What a generator paints is what diffusers' own pipeline paints, bit for bit in float32."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from diffusers import StableDiffusionImg2ImgPipeline, StableDiffusionPipeline
from numpy.typing import NDArray
from PIL import Image

import fgl.plugins.generators
from fgl.contracts.aggregator import Conditioning
from fgl.contracts.generator import PlanItem, Shard
from fgl.contracts.prompts import Prompt
from fgl.core.synthesis.plan import make_plan
from fgl.core.wire import upload, upload_reader
from fgl.plugins._logging import quiet_diffusers
from fgl.plugins.aggregators.options import UnionOptions
from fgl.plugins.aggregators.union import Union
from fgl.plugins.generators.options import StableDiffusionOptions
from fgl.plugins.generators.stable_diffusion import StableDiffusion
from tests.helpers.images import SEEDS, conditioning_of, noise_images, paint, vary
from tests.helpers.pipelines import save_pipeline

PROMPTS = ["a cat", "a tench", "森林 at dawn", "a much longer text than fits into the tokens"]
NEGATIVES = ["blurry", "", "blurry", "low quality"]
EMBEDDED = Path(fgl.plugins.generators.__file__).parent / "tiny"
SOLVERS: dict[str, dict[str, Any]] = {
    "DDIMScheduler": {},
    "PNDMScheduler": {"skip_prk_steps": True},
    "EulerDiscreteScheduler": {},
    "EulerAncestralDiscreteScheduler": {},
    "DPMSolverMultistepScheduler": {},
    "LCMScheduler": {},
}


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def generator(folder: Path, **options: Any) -> StableDiffusion:
    # Exactness is promised for equal batches, and the pipeline is given all prompts at once.
    chosen = {"dtype": "fp32", "num_inference_steps": 3, "batch_size": len(ALL), **options}
    return StableDiffusion(StableDiffusionOptions(model=str(folder), **chosen))


def diffusers_pipeline(folder: Path, scheduler: str | None = None) -> Any:
    with quiet_diffusers():
        pipeline = StableDiffusionPipeline.from_pretrained(folder, safety_checker=None)
    pipeline.to(torch.float32)
    if scheduler:
        pipeline.scheduler = getattr(diffusers, scheduler).from_config(pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def theirs(pipeline: Any, prompts: Sequence[Prompt], guidance: float, **more: Any) -> NDArray[np.uint8]:
    """Encoded one by one, as fgl does, and painted together."""
    with quiet_diffusers():
        pairs = [pipeline.encode_prompt([p.text], "cpu", 1, True, [p.negative or ""]) for p in prompts]
        images = pipeline(
            prompt_embeds=torch.cat([pair[0] for pair in pairs]),
            negative_prompt_embeds=torch.cat([pair[1] for pair in pairs]),
            generator=[torch.Generator("cpu").manual_seed(seed) for seed in SEEDS[: len(prompts)]],
            num_inference_steps=3,
            guidance_scale=guidance,
            **more,
        ).images
    return np.stack([np.asarray(image) for image in images])


ALL = [Prompt(0, text, negative=negative) for text, negative in zip(PROMPTS, NEGATIVES, strict=True)]


@pytest.mark.parametrize("guidance", [1.0, 2.0])
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("scheduler", SOLVERS)
def test_every_solver_paints_the_pipelines_picture(
    tmp_path: Path, scheduler: str, prediction: Any, guidance: float
) -> None:
    folder = save_pipeline(tmp_path, scheduler=scheduler, prediction_type=prediction, **SOLVERS[scheduler])
    wanted = theirs(diffusers_pipeline(folder), ALL, guidance)
    assert wanted.std() > 5, "the picture must have content for equality to mean something"
    np.testing.assert_array_equal(paint(generator(folder, guidance_scale=guidance), ALL), wanted)


@pytest.mark.parametrize(("scheduler", "vae"), [("DDIMScheduler", "kl"), ("EulerAncestralDiscreteScheduler", "tiny")])
def test_a_variation_is_what_the_image_to_image_pipeline_paints(tmp_path: Path, scheduler: str, vae: Any) -> None:
    folder = save_pipeline(tmp_path, scheduler=scheduler, vae=vae)
    subject = generator(folder)
    originals = noise_images(len(ALL), subject.describe()["image_size"])
    made = vary(subject, ALL, originals, 0.7)
    whole = diffusers_pipeline(folder)
    image_to_image = StableDiffusionImg2ImgPipeline(**whole.components, requires_safety_checker=False)
    image_to_image.set_progress_bar_config(disable=True)
    given = {"image": [Image.fromarray(one) for one in originals], "strength": 0.7}
    np.testing.assert_array_equal(made, theirs(image_to_image, ALL, 2.0, **given))
    assert (made != paint(subject, ALL)).any()


def test_the_kl_autoencoder_is_decoded_as_the_pipeline_decodes_it(tmp_path: Path) -> None:
    folder = save_pipeline(tmp_path, vae="kl")
    np.testing.assert_array_equal(paint(generator(folder), ALL), theirs(diffusers_pipeline(folder), ALL, 2.0))


def test_a_distilled_model_takes_the_scale_as_an_input(tmp_path: Path) -> None:
    folder = save_pipeline(tmp_path, scheduler="LCMScheduler", time_cond_proj_dim=8)
    subject = generator(folder, guidance_scale=7.5)
    assert "negative_prompt_embeds" not in subject.encoder("cpu").encode(ALL)[0]
    np.testing.assert_array_equal(paint(subject, ALL), theirs(diffusers_pipeline(folder), ALL, 7.5))
    assert (paint(subject, ALL, [1.5] * 4) != paint(subject, ALL)).any()


def test_another_scheduler_takes_the_models_configuration(tmp_path: Path) -> None:
    folder = save_pipeline(tmp_path, prediction_type="v_prediction")
    name = "DPMSolverMultistepScheduler"
    wanted = theirs(diffusers_pipeline(folder, name), ALL, 2.0)
    np.testing.assert_array_equal(paint(generator(folder, scheduler=name), ALL), wanted)
    assert (paint(generator(folder), ALL) != wanted).any()


def test_another_size_is_painted_as_the_pipeline_paints_it(tmp_path: Path) -> None:
    folder = save_pipeline(tmp_path)
    wanted = theirs(diffusers_pipeline(folder), ALL[:2], 2.0, height=24, width=32)
    found = paint(generator(folder, height=24, width=32), ALL[:2])
    assert found.shape == (2, 24, 32, 3)
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("mask", [False, True])
def test_from_words_to_pixels_one_image_is_the_pipelines(tmp_path: Path, mask: bool) -> None:
    folder = save_pipeline(tmp_path, attention_mask=mask)
    pipeline = diffusers_pipeline(folder)
    for position, prompt in enumerate([ALL[0], Prompt(0, "a dog")]):
        noise = torch.Generator("cpu").manual_seed(SEEDS[0])
        with quiet_diffusers():
            image = pipeline(
                [prompt.text],
                negative_prompt=None if prompt.negative is None else [prompt.negative],
                guidance_scale=2.0,
                num_inference_steps=3,
                generator=[noise],
            ).images[0]
        assert (paint(generator(folder), [prompt])[0] == np.asarray(image)).all(), position


@pytest.mark.parametrize("model", ["small", "embedded:tiny"])
def test_strings_and_their_uploaded_embeddings_give_the_same_pictures(tmp_path: Path, model: str) -> None:
    """The whole way: text encoder, codec fp32, bytes, validation, aggregation, plan, shard; equal batches."""
    folder = save_pipeline(tmp_path) if model == "small" else EMBEDDED
    subject = StableDiffusion(
        StableDiffusionOptions(
            model=str(folder), dtype="fp32", num_inference_steps=3, encode_batch_size=3, batch_size=3
        )
    )
    texts, negatives = ["forest", "a sandal", "river, dark"], ["low quality, low resolution", "blurry", ""]
    prompts = [Prompt(k, text, negative) for k, (text, negative) in enumerate(zip(texts, negatives, strict=True))]
    arrays, indices = subject.encoder("cpu").encode(prompts)
    sender = upload.UploadHeader("k", 0, texts)
    data = upload.encode(sender, subject.declare(), "fp32", prompts, arrays, indices)
    accepted = upload_reader.decode(data, upload_reader.UploadPolicy(subject.declare(), ("k",), 0, texts, 10**8))
    conditioning = Union(UnionOptions()).aggregate([accepted], subject.fingerprint())
    (shard,) = make_plan(conditioning, 1, run_seed=7, shard_size=10)
    assert [item.class_id for item in shard.items] == [0, 1, 2]
    ours = np.concatenate(
        [b.pixels for b in subject.synthesizer("cpu").synthesize(shard, conditioning, lambda count: None)]
    )
    with quiet_diffusers():
        images = diffusers_pipeline(folder)(
            texts,
            negative_prompt=negatives,
            guidance_scale=2.0,
            num_inference_steps=3,
            generator=[torch.Generator("cpu").manual_seed(item.seed) for item in shard.items],
        ).images
    np.testing.assert_array_equal(ours, np.stack([np.asarray(image) for image in images]))


@pytest.mark.parametrize("mask", [False, True])
def test_embeddings_are_those_of_encode_prompt(tmp_path: Path, mask: bool) -> None:
    folder = save_pipeline(tmp_path, attention_mask=mask)
    pipeline = diffusers_pipeline(folder)
    for size in (1, 4):
        arrays, indices = generator(folder, encode_batch_size=size).encoder("cpu").encode(ALL)
        with quiet_diffusers(), torch.no_grad():
            batches = [PROMPTS[start : start + size] for start in range(0, 4, size)]
            wanted = torch.cat([pipeline.encode_prompt(batch, "cpu", 1, False)[0] for batch in batches])
        np.testing.assert_array_equal(arrays["prompt_embeds"], wanted.numpy())
    with quiet_diffusers(), torch.no_grad():
        _, negative = pipeline.encode_prompt(["x"], "cpu", 1, True, ["low quality"])
    row = indices["negative_prompt_embeds"][3]
    np.testing.assert_allclose(arrays["negative_prompt_embeds"][row], negative[0].numpy(), atol=1e-6)


@pytest.mark.parametrize("scheduler", ["DDIMScheduler", "EulerAncestralDiscreteScheduler", "HeunDiscreteScheduler"])
def test_the_size_of_a_batch_changes_no_pixel_by_more_than_one_level(tmp_path: Path, scheduler: str) -> None:
    folder = save_pipeline(tmp_path)
    four, one, three = (
        paint(generator(folder, scheduler=scheduler, batch_size=size), ALL).astype(int) for size in (4, 1, 3)
    )
    assert abs(four - one).max() <= 1
    assert abs(four - three).max() <= 1


def test_mixed_scales_in_a_batch_paint_what_each_scale_paints_alone(tmp_path: Path) -> None:
    subject = generator(save_pipeline(tmp_path))
    mixed = paint(subject, ALL, [1.0, 2.0, 0.5, 5.0])
    for row, scale in enumerate([1.0, 2.0, 0.5, 5.0]):
        np.testing.assert_array_equal(mixed[row], paint(subject, ALL, [scale] * 4)[row])
    unguided = paint(subject, ALL, [1.0] * 4)
    np.testing.assert_array_equal(paint(subject, ALL, [0.5] * 4), unguided)


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
@pytest.mark.parametrize("scheduler", ["DPMSolverMultistepScheduler", "EulerAncestralDiscreteScheduler"])
def test_an_image_does_not_depend_on_what_is_synthesized_beside_it(tmp_path: Path, scheduler: str, dtype: str) -> None:
    subject = generator(save_pipeline(tmp_path), scheduler=scheduler, dtype=dtype, batch_size=3)
    arrays, indices = subject.encoder("cpu").encode(ALL)
    rows = conditioning_of(arrays, indices, len(ALL))
    items = [
        PlanItem(f"i{row}/{k}", row, f"c{row}", 0, "", None, 100 * k + row) for row in range(len(ALL)) for k in range(4)
    ]
    alone = {item.image_id: image for item, image in zip(items, _painted(subject, items, rows), strict=True)}
    shuffled = [items[index] for index in np.random.default_rng(0).permutation(len(items))]
    for chosen in (shuffled, shuffled[:7], shuffled[3:4]):
        for item, image in zip(chosen, _painted(subject, chosen, rows), strict=True):
            np.testing.assert_array_equal(image, alone[item.image_id])


def _painted(subject: StableDiffusion, items: Sequence[PlanItem], rows: Conditioning) -> NDArray[np.uint8]:
    shard = Shard(0, tuple(items))
    return np.concatenate([b.pixels for b in subject.synthesizer("cpu").synthesize(shard, rows, lambda count: None)])


@pytest.mark.parametrize("vae", ["kl", "tiny"])
def test_bf16_and_other_layouts_paint_nearly_the_same(tmp_path: Path, vae: Any) -> None:
    folder = save_pipeline(tmp_path, vae=vae)
    exact = paint(generator(folder), ALL).astype(int)
    layout = paint(generator(folder, channels_last=True), ALL).astype(int)
    assert abs(exact - layout).max() <= 1
    options = StableDiffusionOptions(model=str(folder), dtype="bf16", num_inference_steps=3)
    low = paint(StableDiffusion(options), ALL).astype(int)
    assert abs(exact - low).mean() < 2
