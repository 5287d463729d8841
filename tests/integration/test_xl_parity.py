"""Stable Diffusion XL: what fgl paints is what diffusers' own pipeline paints, bit for bit in float32."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from diffusers import StableDiffusionXLImg2ImgPipeline, StableDiffusionXLPipeline
from numpy.typing import NDArray
from PIL import Image

from fgl.contracts.prompts import Prompt
from fgl.core.synthesis.plan import make_plan
from fgl.core.wire import upload, upload_reader
from fgl.plugins._logging import quiet_diffusers
from fgl.plugins.aggregators.options import UnionOptions
from fgl.plugins.aggregators.union import Union
from fgl.plugins.generators.options import StableDiffusionXLOptions
from fgl.plugins.generators.stable_diffusion import StableDiffusionXL
from tests.helpers.images import SEEDS, noise_images, paint, vary
from tests.helpers.pipelines import POOLED, TOKENS, WIDTH, XL_WIDTH, save_xl_pipeline

# One negative text is empty, which is not the same as none.
ALL = [
    Prompt(0, "a cat", negative="blurry"),
    Prompt(0, "a tench", negative=""),
    Prompt(0, "森林 at dawn", negative=None),
    Prompt(0, "a much longer text than fits into the tokens", negative="low quality"),
]
SOLVERS: dict[str, dict[str, Any]] = {
    "EulerDiscreteScheduler": {},  # of sdxl
    "EulerAncestralDiscreteScheduler": {"timestep_spacing": "trailing"},  # of sdxl-turbo
    "LCMScheduler": {},  # with an LCM-LoRA
    "DDIMScheduler": {},
    "DPMSolverMultistepScheduler": {},
    "HeunDiscreteScheduler": {},
}


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def generator(folder: Path, **options: Any) -> StableDiffusionXL:
    chosen = {"dtype": "fp32", "num_inference_steps": 3, "batch_size": len(ALL), **options}
    return StableDiffusionXL(StableDiffusionXLOptions(model=str(folder), **chosen))


def diffusers_pipeline(folder: Path, scheduler: str | None = None) -> Any:
    with quiet_diffusers():
        pipeline = StableDiffusionXLPipeline.from_pretrained(folder, add_watermarker=False)
    pipeline.to(torch.float32)
    if scheduler:
        pipeline.scheduler = getattr(diffusers, scheduler).from_config(pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def theirs(pipeline: Any, prompts: Sequence[Prompt], guidance: float, **more: Any) -> NDArray[np.uint8]:
    """Encoded one by one, as fgl does, and painted together."""
    with quiet_diffusers(), torch.no_grad():
        rows = [
            pipeline.encode_prompt(
                prompt=[one.text],
                device="cpu",
                do_classifier_free_guidance=True,
                negative_prompt=None if one.negative is None else [one.negative],
            )
            for one in prompts
        ]
        embeds, negatives, pooled, against = (torch.cat(parts) for parts in zip(*rows, strict=True))
        images = pipeline(
            prompt_embeds=embeds,
            negative_prompt_embeds=negatives,
            pooled_prompt_embeds=pooled,
            negative_pooled_prompt_embeds=against,
            guidance_scale=guidance,
            num_inference_steps=3,
            generator=[torch.Generator("cpu").manual_seed(seed) for seed in SEEDS[: len(prompts)]],
            **more,
        ).images
    return np.stack([np.asarray(image) for image in images])


@pytest.mark.parametrize("guidance", [1.0, 2.0])
@pytest.mark.parametrize("scheduler", SOLVERS)
def test_every_solver_paints_the_pipelines_picture(tmp_path: Path, scheduler: str, guidance: float) -> None:
    folder = save_xl_pipeline(tmp_path, scheduler=scheduler, **SOLVERS[scheduler])
    wanted = theirs(diffusers_pipeline(folder), ALL, guidance)
    assert wanted.std() > 5, "the picture must have content for equality to mean something"
    np.testing.assert_array_equal(paint(generator(folder, guidance_scale=guidance), ALL), wanted)


@pytest.mark.parametrize("zeros", [True, False])
def test_no_negative_prompt_is_zeros_where_the_model_says_so_and_an_empty_one_never(
    tmp_path: Path, zeros: bool
) -> None:
    folder = save_xl_pipeline(tmp_path, zeros=zeros)
    arrays, indices = generator(folder).encoder("cpu").encode(ALL)
    row = {k: indices["negative_prompt_embeds"][k] for k in range(4)}
    assert bool((arrays["negative_prompt_embeds"][row[2]] == 0).all()) is zeros
    assert bool((arrays["negative_pooled_prompt_embeds"][row[2]] == 0).all()) is zeros
    assert (arrays["negative_prompt_embeds"][row[1]] != 0).any()
    assert (row[1] == row[2]) is not zeros
    np.testing.assert_array_equal(paint(generator(folder), ALL), theirs(diffusers_pipeline(folder), ALL, 2.0))


def test_a_variation_is_what_the_image_to_image_pipeline_paints(tmp_path: Path) -> None:
    folder = save_xl_pipeline(tmp_path, vae="kl", latents_mean=(0.1, -0.2, 0.3, 0.0))
    subject = generator(folder)
    originals = noise_images(len(ALL), subject.describe()["image_size"])
    pipeline = StableDiffusionXLImg2ImgPipeline(**diffusers_pipeline(folder).components, add_watermarker=False)
    pipeline.set_progress_bar_config(disable=True)
    given = {"image": [Image.fromarray(one) for one in originals], "strength": 0.7}
    np.testing.assert_array_equal(vary(subject, ALL, originals, 0.7), theirs(pipeline, ALL, 2.0, **given))


@pytest.mark.parametrize("mean", [None, (0.1, -0.2, 0.3, 0.0)])
def test_the_kl_autoencoder_is_decoded_as_the_pipeline_decodes_it(tmp_path: Path, mean: Any) -> None:
    folder = save_xl_pipeline(tmp_path, vae="kl", latents_mean=mean)
    np.testing.assert_array_equal(paint(generator(folder), ALL), theirs(diffusers_pipeline(folder), ALL, 2.0))


def test_a_distilled_model_takes_the_scale_as_an_input(tmp_path: Path) -> None:
    folder = save_xl_pipeline(tmp_path, scheduler="LCMScheduler", time_cond_proj_dim=8)
    subject = generator(folder, guidance_scale=7.5)
    assert set(subject.encoder("cpu").encode(ALL)[0]) == {"prompt_embeds", "pooled_prompt_embeds"}
    np.testing.assert_array_equal(paint(subject, ALL), theirs(diffusers_pipeline(folder), ALL, 7.5))


def test_sizes_and_crop_are_conditions(tmp_path: Path) -> None:
    folder = save_xl_pipeline(tmp_path)
    stated = {"original_size": (512, 768), "crops_coords_top_left": (16, 8), "target_size": (64, 32)}
    wanted = theirs(diffusers_pipeline(folder), ALL, 2.0, **stated)
    subject = generator(folder, **stated)
    np.testing.assert_array_equal(paint(subject, ALL), wanted)
    plain = generator(folder)
    assert (paint(plain, ALL) != wanted).any()
    assert subject.fingerprint() != plain.fingerprint()


def test_another_size_is_painted_as_the_pipeline_paints_it(tmp_path: Path) -> None:
    folder = save_xl_pipeline(tmp_path)
    wanted = theirs(diffusers_pipeline(folder), ALL[:2], 2.0, height=24, width=32)
    np.testing.assert_array_equal(paint(generator(folder, height=24, width=32), ALL[:2]), wanted)


def test_from_words_to_pixels_one_image_is_the_pipelines(tmp_path: Path) -> None:
    folder = save_xl_pipeline(tmp_path)
    pipeline = diffusers_pipeline(folder)
    for prompt in ALL:
        with quiet_diffusers():
            image = pipeline(
                [prompt.text],
                negative_prompt=None if prompt.negative is None else [prompt.negative],
                guidance_scale=2.0,
                num_inference_steps=3,
                generator=[torch.Generator("cpu").manual_seed(SEEDS[0])],
            ).images[0]
        np.testing.assert_array_equal(paint(generator(folder), [prompt])[0], np.asarray(image))


def test_strings_and_their_uploaded_embeddings_give_the_same_pictures(tmp_path: Path) -> None:
    """The whole way: text encoders, codec fp32, bytes, validation, aggregation, plan, shard; equal batches."""
    folder = save_xl_pipeline(tmp_path)
    subject = generator(folder, encode_batch_size=3, batch_size=3)
    declared = {spec.name: (spec.shape, spec.shared) for spec in subject.declare().arrays}
    joined = (TOKENS, WIDTH + XL_WIDTH)
    assert declared == {
        "prompt_embeds": (joined, False),
        "pooled_prompt_embeds": ((POOLED,), False),
        "negative_prompt_embeds": (joined, True),
        "negative_pooled_prompt_embeds": ((POOLED,), True),
    }
    texts, negatives = ["forest", "a sandal", "river, dark"], ["low quality, low resolution", "blurry", ""]
    prompts = [Prompt(k, text, negative) for k, (text, negative) in enumerate(zip(texts, negatives, strict=True))]
    arrays, indices = subject.encoder("cpu").encode(prompts)
    sender = upload.UploadHeader("k", 0, texts)
    data = upload.encode(sender, subject.declare(), "fp32", prompts, arrays, indices)
    accepted = upload_reader.decode(data, upload_reader.UploadPolicy(subject.declare(), ("k",), 0, texts, 10**8))
    conditioning = Union(UnionOptions()).aggregate([accepted], subject.fingerprint())
    (shard,) = make_plan(conditioning, 1, run_seed=7, shard_size=10)
    painted = subject.synthesizer("cpu").synthesize(shard, conditioning, lambda count: None)
    ours = np.concatenate([batch.pixels for batch in painted])
    with quiet_diffusers():
        images = diffusers_pipeline(folder)(
            texts,
            negative_prompt=negatives,
            guidance_scale=2.0,
            num_inference_steps=3,
            generator=[torch.Generator("cpu").manual_seed(item.seed) for item in shard.items],
        ).images
    np.testing.assert_array_equal(ours, np.stack([np.asarray(image) for image in images]))


def test_the_size_of_a_batch_changes_no_pixel_by_more_than_one_level(tmp_path: Path) -> None:
    folder = save_xl_pipeline(tmp_path, scheduler="EulerAncestralDiscreteScheduler")
    four, one = (paint(generator(folder, batch_size=size), ALL).astype(int) for size in (4, 1))
    assert abs(four - one).max() <= 1


def test_bf16_paints_nearly_the_same(tmp_path: Path) -> None:
    folder = save_xl_pipeline(tmp_path)
    exact = paint(generator(folder), ALL).astype(int)
    low = paint(generator(folder, dtype="bf16"), ALL).astype(int)
    assert abs(exact - low).mean() < 2
    assert (exact != low).any()
