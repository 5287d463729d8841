"""Learned prompts follow the client's images, resume to the same bytes, and say what they cannot do."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from fgl.contracts.dataset import Subset
from fgl.contracts.generator import SupportsDenoiser
from fgl.contracts.progress import NullProgress
from fgl.contracts.prompts import ClientContext, Encoded, Prepared, Prompt
from fgl.errors import DivergedError, ModelError
from fgl.plugins.generators.options import StableDiffusionOptions, StableDiffusionXLOptions
from fgl.plugins.generators.stable_diffusion import StableDiffusion, StableDiffusionXL
from fgl.plugins.prompts.learned import LearnedPrompts
from fgl.plugins.prompts.learned_options import LearnedOptions
from fgl.plugins.prompts.learned_state import FILE, LearnedState
from fgl.plugins.prompts.learning import Examples, Learned, Learner
from fgl.testing.data import DrawnImages, client_context
from tests.helpers.pipelines import POOLED, save_xl_pipeline


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@dataclass(frozen=True)
class Colors(DrawnImages):
    """Images of one colour each, of two shades in turn."""

    def image(self, index: int) -> Image.Image:
        level = 40 if index % 2 else 210
        return Image.fromarray(np.full((16, 16, 3), level + index, dtype=np.uint8))


@dataclass
class Stopping(NullProgress):
    """Interrupts the process's work after some steps, as Ctrl-C does."""

    steps: int
    done: int = field(default=0)

    def track(self, what: str, total: int, unit: str = "images") -> Any:
        return self if unit == "steps" else NullProgress()

    def advance(self, count: int = 1, note: str = "") -> None:
        self.done += count
        if self.done >= self.steps:
            raise KeyboardInterrupt


@pytest.fixture
def context(tmp_path: Path, learnable: Any) -> ClientContext:
    labels = np.array([0] * 12 + [1] * 12 + [3] * 3, dtype=np.int64)
    return learnable(client_context(Colors(labels, None), private=tmp_path / "private"))  # type: ignore[no-any-return]


def learn(context: ClientContext, **options: Any) -> Prepared:
    given = {"steps": 6, "batch_size": 8, "evaluations": 3, "guidance_scale": 1.0, **options}
    return LearnedPrompts(LearnedOptions(**given)).prompts(context)


def as_bytes(prepared: Prepared) -> dict[str, bytes]:
    return {name: np.asarray(array).tobytes() for name, array in prepared.arrays.items()}


def test_clusters_of_a_class_get_rows_that_stand_for_their_images(context: ClientContext) -> None:
    prepared = learn(context, rows_per_class=2)
    # three images are too few for two rows
    assert [prompt.class_id for prompt in prepared.prompts] == [0, 0, 1, 1, 3]
    assert [prompt.weight for prompt in prepared.prompts] == [6, 6, 6, 6, 3]
    rows = prepared.arrays["prompt_embeds"]
    assert len({row.tobytes() for row in rows}) == 5
    assert {prompt.guidance_scale for prompt in prepared.prompts} == {1.0}


def test_no_row_is_left_with_fewer_than_four_images(context: ClientContext) -> None:
    odd = Subset(context.images, [0, 1, 3, 5, 7, 9, 11, 2])  # three light ones, five dark ones
    prepared = learn(replace(context, images=odd), rows_per_class=2)
    assert [prompt.weight for prompt in prepared.prompts] == [8]


def test_without_steps_rows_are_those_of_the_class_names(context: ClientContext) -> None:
    prepared = learn(context, steps=0, template="{label}", rows_per_class=1)
    texts = [replace(prompt, text=context.class_names[prompt.class_id]) for prompt in prepared.prompts]
    np.testing.assert_array_equal(prepared.arrays["prompt_embeds"], context.encode(texts)["prompt_embeds"])


def test_weights_count_the_images_that_are_not_learned_from(context: ClientContext) -> None:
    prepared = learn(context, images_per_class=5, rows_per_class=1)
    assert [prompt.weight for prompt in prepared.prompts] == [12, 12, 3]


def test_an_interrupted_client_resumes_to_the_same_bytes(context: ClientContext, tmp_path: Path) -> None:
    undisturbed = learn(replace(context, private=tmp_path / "other"))
    with pytest.raises(KeyboardInterrupt):
        learn(replace(context, progress=Stopping(5)))
    resumed = Stopping(100)
    assert as_bytes(learn(replace(context, progress=resumed))) == as_bytes(undisturbed)
    # progress counts what was stored in one go
    assert resumed.done == 6
    finished = Stopping(100)
    assert as_bytes(learn(replace(context, progress=finished))) == as_bytes(undisturbed)
    assert (context.private or Path()).joinpath(FILE).stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("at", [3, 40, -5])
def test_a_damaged_state_is_learned_again(context: ClientContext, at: int) -> None:
    first = learn(context)
    path = (context.private or Path()) / FILE
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)
    assert as_bytes(learn(context)) == as_bytes(first)


def test_a_state_of_other_options_or_images_is_not_resumed(context: ClientContext, tmp_path: Path) -> None:
    learn(context)
    fewer = replace(context, images=Subset(context.images, range(20)))
    for other, options in ((context, {"lr": 0.02}), (fewer, {})):
        fresh = replace(other, private=tmp_path / f"fresh{len(options)}")
        assert as_bytes(learn(other, **options)) == as_bytes(learn(fresh, **options))


def test_guidance_leads_away_from_one_row_that_all_share(context: ClientContext) -> None:
    prepared = learn(context, guidance_scale=3.0, rows_per_class=1)
    assert prepared.arrays["negative_prompt_embeds"].shape[0] == 1
    assert np.asarray(prepared.indices["negative_prompt_embeds"]).tolist() == [0, 0, 0]
    assert {prompt.guidance_scale for prompt in prepared.prompts} == {3.0}


def test_guidance_needs_a_generator_that_takes_negative_rows(context: ClientContext) -> None:
    assert context.declaration is not None
    bare = replace(context.declaration, arrays=context.declaration.arrays[:1])
    with pytest.raises(ModelError, match="guidance_scale: got 2, and the generator 'stable-diffusion' takes no negati"):
        learn(replace(context, declaration=bare), guidance_scale=2.0)


def test_a_learned_word_starts_as_the_class_name_and_stays_within_its_text(context: ClientContext) -> None:
    options = {"learn": "token", "template": "a {label}", "rows_per_class": 1}
    short = replace(context, class_names=("owl", "cat", "dog", "jay"))
    start, learned = learn(short, steps=0, **options), learn(short, guidance_scale=2.0, **options)
    texts = [Prompt(class_id, f"a {short.class_names[class_id]}", guidance_scale=1.0) for class_id in (0, 1, 3)]
    encoded = np.asarray(short.encode(texts)["prompt_embeds"])
    np.testing.assert_allclose(start.arrays["prompt_embeds"], encoded, rtol=0, atol=1e-5)
    rows = np.asarray(learned.arrays["prompt_embeds"])
    # the text encoder is causal: what stands before the word does not change
    np.testing.assert_allclose(rows[:, :2], encoded[:, :2], rtol=0, atol=1e-5)
    assert (np.abs(rows[:, 2:] - encoded[:, 2:]).max(axis=(1, 2)) > 1e-3).all()
    assert learned.arrays["negative_prompt_embeds"].shape[0] == 1


def test_a_class_name_that_the_text_encoder_cuts_off_cannot_be_learned(context: ClientContext) -> None:
    long = replace(context, class_names=("an owl of the northern woods", "cat", "dog", "jay"))
    with pytest.raises(ModelError, match="is cut before the end of 'an owl of the northern woods'; expected a shorter"):
        learn(long, learn="token")


def test_a_generator_whose_words_cannot_be_learned_is_one_line(context: ClientContext) -> None:
    generator = context.generator()

    class Wordless:
        describe, denoiser = generator.describe, generator.denoiser  # type: ignore[attr-defined]

    with pytest.raises(ModelError, match="learn: got token, and the text encoder of 'stable-diffusion' cannot be"):
        learn(replace(context, generator=Wordless), learn="token")  # type: ignore[arg-type]


def test_one_image_is_enough(context: ClientContext) -> None:
    prepared = learn(replace(context, images=Subset(context.images, [25])), guidance_scale=2.0)
    assert [(prompt.class_id, prompt.weight) for prompt in prepared.prompts] == [(3, 1)]
    assert np.isfinite(prepared.arrays["prompt_embeds"]).all()


def test_a_generator_without_a_denoiser_is_one_line(context: ClientContext) -> None:
    class Closed:
        def __init__(self) -> None:
            self.describe = context.generator().describe

    with pytest.raises(ModelError, match="the generator 'stable-diffusion' has no denoiser to learn against; expected"):
        learn(replace(context, generator=Closed))  # type: ignore[arg-type]


def test_rows_are_kept_as_they_were_when_held_out_images_fitted_best(context: ClientContext) -> None:
    generator = context.generator()
    assert isinstance(generator, SupportsDenoiser)
    denoiser = generator.denoiser("cpu")
    latents = denoiser.latents(np.random.default_rng(0).integers(0, 256, (8, 16, 16, 3), dtype=np.uint8))
    examples = Examples(latents, [torch.arange(4)], [torch.arange(4, 8)])
    start = {name: torch.from_numpy(rows) for name, rows in context.encode([Prompt(0, "x", guidance_scale=1)]).items()}

    def run(steps: int, start: dict[str, torch.Tensor]) -> Learned:
        options = LearnedOptions(steps=steps, evaluations=10, lr=10, batch_size=4, patience=1)
        return Learner(denoiser, examples, start, options, 0, "cpu").run(LearnedState(None, ""), NullProgress(), "")

    wild = run(40, start)
    assert wild.losses[-1] > min(wild.losses), "a wild learning rate overshot nothing"
    assert run(0, wild.rows).losses[0] == pytest.approx(min(wild.losses))
    assert wild.steps < 40, "no evaluation found anything better, and it did not stop"


def test_a_loss_that_is_not_finite_is_an_error_and_no_upload(context: ClientContext) -> None:
    def broken(prompts: Any) -> Encoded:
        return Encoded({name: array * np.float32("nan") for name, array in context.encode(prompts).items()})

    with pytest.raises(DivergedError, match="learning prompts: the loss of step 1 is nan; expected a lower lr"):
        learn(replace(context, encode=broken))


def test_the_client_learns_what_it_cost_and_whether_it_helped(
    context: ClientContext, caplog: pytest.LogCaptureFixture
) -> None:
    notes: dict[str, int] = {}
    with caplog.at_level(logging.INFO):
        learn(replace(context, note=notes.__setitem__), holdout=0.4, rows_per_class=1)
    assert set(notes) == {"denoiser_parameters", "learning_memory_mb", "learning_seconds", "learning_steps"}
    assert notes["learning_steps"] == 6
    assert notes["denoiser_parameters"] > 10_000
    assert notes["learning_memory_mb"] > 10
    assert "client-0: loss on held-out images " in caplog.text


def test_the_pooled_embedding_of_xl_is_learned_too(context: ClientContext, tmp_path: Path) -> None:
    folder = save_xl_pipeline(tmp_path / "xl", scheduler="DDIMScheduler")
    generator = StableDiffusionXL(StableDiffusionXLOptions(model=str(folder), dtype="fp32"))
    encoder = generator.encoder("cpu")
    xl = replace(
        context,
        encode=lambda prompts: Encoded(*encoder.encode(prompts)),
        declaration=generator.declare(),
        generator=lambda: generator,
    )
    start, prepared = learn(xl, steps=0, rows_per_class=1), learn(xl, rows_per_class=1, guidance_scale=2.0, holdout=0)
    assert prepared.arrays["pooled_prompt_embeds"].shape == (3, POOLED)
    assert prepared.arrays["negative_pooled_prompt_embeds"].shape == (1, POOLED)
    for name in ("prompt_embeds", "pooled_prompt_embeds"):
        assert (start.arrays[name] != prepared.arrays[name]).any(axis=tuple(range(1, start.arrays[name].ndim))).all()


def test_learning_lowers_the_loss_on_images_that_the_model_does_not_know_by_name(tmp_path: Path) -> None:
    generator = StableDiffusion(StableDiffusionOptions(model="embedded:tiny", dtype="fp32", guidance_scale=1.0))
    encoder = generator.encoder("cpu")
    images = DrawnImages(np.zeros(40, dtype=np.int64), None)
    context = replace(
        client_context(images, class_names=("xqzt",)),
        encode=lambda prompts: Encoded(*encoder.encode(prompts)),
        declaration=generator.declare(),
        generator=lambda: generator,
    )
    rows = [
        learn(context, steps=steps, batch_size=16, rows_per_class=1, holdout=0).arrays["prompt_embeds"]
        for steps in (0, 16)
    ]
    denoiser = generator.denoiser("cpu")
    new = DrawnImages(np.zeros(32, dtype=np.int64), None, seed=1)
    latents = denoiser.latents(np.stack([np.asarray(new.image(index).resize((32, 32))) for index in range(32)]))
    with torch.no_grad():
        before, after = (
            float(
                denoiser.loss(
                    latents,
                    {"prompt_embeds": torch.from_numpy(row).expand(32, -1, -1)},
                    torch.Generator().manual_seed(5),
                ).mean()
            )
            for row in rows
        )
    assert after < 0.97 * before
