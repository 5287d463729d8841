"""Generators declare, encode, paint and refuse: on real diffusers classes of some thousand parameters."""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file, save_file

from fgl.contracts.aggregator import ClientUpload, Conditioning
from fgl.contracts.generator import PlanItem, Shard
from fgl.contracts.prompts import Prompt
from fgl.errors import ModelError
from fgl.plugins.generators import fgl_generators
from fgl.plugins.generators.options import StableDiffusionOptions
from fgl.plugins.generators.pipeline_parts import WEIGHTS
from fgl.plugins.generators.stable_diffusion import StableDiffusion
from fgl.plugins.generators.synthesizer import draw_guidance
from tests.helpers import warm
from tests.helpers.hub import Hub
from tests.helpers.pipelines import SIDE, TOKENS, WIDTH, save_pipeline

PROMPTS = [Prompt(0, "a cat", "blurry"), Prompt(1, "a dog"), Prompt(0, "a cat", "blurry", guidance_scale=1.0)]
UNET = "unet/diffusion_pytorch_model.safetensors"


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_pipeline(tmp_path_factory.mktemp("model"))


@pytest.fixture
def own(shared: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(shared, tmp_path / "model"))


def make(model: Path | str, **options: Any) -> StableDiffusion:
    given = {"model": str(model), "dtype": "fp32", "num_inference_steps": 2, **options}
    return StableDiffusion(StableDiffusionOptions(**given))


def edit(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def conditioning(arrays: Any, indices: Any, count: int, scales: list[float] | None = None) -> Conditioning:
    zeros = np.zeros(count, np.int64)
    own = np.array(scales or [np.nan] * count)
    upload = ClientUpload("k", 0, "e", arrays, indices, zeros, zeros + 1.0, ("",) * count, own)
    ids = tuple(f"c{row}" for row in range(count))
    return Conditioning(ids, zeros, zeros + 1.0, ("",) * count, own, zeros, np.arange(count), zeros + 1, [upload])


def shard(rows: list[int], scale: float | None = None) -> Shard:
    return Shard(0, tuple(PlanItem(f"i{k}", row, f"c{row}", 0, "", scale, 100 + k) for k, row in enumerate(rows)))


def silent(count: int) -> None:
    pass


# --- the embedded model


def test_the_embedded_model_fits_the_package_and_holds_no_pickle() -> None:
    folder = Path(import_module("fgl.plugins.generators").__file__ or "").parent / "tiny"
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} <= {".json", ".md", ".safetensors", ".txt"}
    assert sum(path.stat().st_size for path in files if path.suffix == ".safetensors") <= 25_000_000


# --- registration and options


def test_every_component_names_classes_that_exist_and_options_they_accept() -> None:
    assert {"tiny", "sd15", "sd21", "stable-diffusion"} <= {component.name for component in fgl_generators()}
    for component in fgl_generators():
        module, _, name = (component.options or "").partition(":")
        options = getattr(import_module(module), name)(**component.defaults)
        module, _, name = component.target.partition(":")
        getattr(import_module(module), name)(options)  # reads nothing yet


def test_registering_and_options_stay_light() -> None:
    code = (
        "import sys, fgl.plugins.generators, fgl.plugins.generators.options;"
        "print({'torch', 'diffusers', 'transformers', 'numpy', 'huggingface_hub'} & set(sys.modules))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert found.strip() == "set()"


@pytest.mark.parametrize(
    "wrong",
    [
        {"guidance_scale": [3.0, 2.0]},
        {"guidance_scale": -1.0},
        {"guidance_scale": "2.0"},
        {"guidance_scale": [1.0, float("inf")]},
        {"guidance_scale": ["1", "2"]},
        {"num_inference_steps": 0},
        {"height": 500},
        {"dtype": "int8"},
        {"batch_size": "8"},
        {"steps": 3},
    ],
)
def test_wrong_options_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        StableDiffusionOptions(**wrong)


def test_guidance_is_a_number_or_a_range() -> None:
    assert StableDiffusionOptions(guidance_scale=3).guidance_range == (3, 3)
    assert StableDiffusionOptions(**json.loads('{"guidance_scale": [1, 3.5]}')).guidance_range == (1, 3.5)


# --- declaration, fingerprint, description


def test_the_declaration_is_read_without_the_images_half(own: Path) -> None:
    whole = make(own).declare()
    (own / UNET).unlink()
    (own / "vae/diffusion_pytorch_model.safetensors").unlink()
    assert make(own).declare() == whole
    prompt, negative = whole.arrays
    assert (prompt.name, prompt.shape, prompt.shared) == ("prompt_embeds", (TOKENS, WIDTH), False)
    assert (negative.shape, negative.shared, negative.optional) == ((TOKENS, WIDTH), True, True)


def test_fingerprints_follow_the_files_and_not_their_place(shared: Path, own: Path) -> None:
    declared, whole = make(shared).declare().encoder, make(shared).fingerprint()
    assert (make(own).declare().encoder, make(own).fingerprint()) == (declared, whole)
    weights = load_file(own / UNET)
    next(iter(weights.values())).view(-1)[0] += 1
    save_file(weights, own / UNET)
    assert make(own).declare().encoder == declared
    assert make(own).fingerprint() != whole
    edit(own / "tokenizer/tokenizer_config.json", comment="another")
    assert make(own).declare().encoder != declared


def test_fingerprints_follow_what_changes_a_picture_and_nothing_else(shared: Path) -> None:
    base = make(shared).fingerprint()
    same: list[dict[str, Any]] = [
        {"batch_size": 3},
        {"encode_batch_size": 9},
        {"channels_last": True},
        {"height": SIDE},
        {"scheduler": "DDIMScheduler"},
    ]
    assert {make(shared, **options).fingerprint() for options in same} == {base}
    other: list[dict[str, Any]] = [
        {"num_inference_steps": 3},
        {"guidance_scale": 3.0},
        {"guidance_scale": [1.0, 3.0]},
        {"height": 32},
        {"scheduler": "EulerDiscreteScheduler"},
        {"dtype": "bf16"},
    ]
    assert len({make(shared, **options).fingerprint() for options in other} | {base}) == len(other) + 1


def test_the_description_counts_parameters_and_quotes_the_card(own: Path) -> None:
    (own / "README.md").write_text("---\nlicense: openrail++\n---\n# A model\n")
    found = make(own, guidance_scale=[1.0, 3.0]).describe()
    parameters = found["parameters"]
    assert isinstance(parameters, dict)
    assert parameters["unet"] == sum(value.numel() for value in load_file(own / UNET).values())
    assert parameters["total"] == sum(count for part, count in parameters.items() if part != "total")
    assert (found["license"], found["image_size"], found["commit"]) == ("openrail++", [SIDE, SIDE], None)
    assert (found["scheduler"], found["guidance_scale"]) == ("DDIMScheduler", [1.0, 3.0])
    (own / "README.md").write_text("no front matter")
    assert make(own).describe()["license"] == "not stated"


# --- the client side


def test_the_client_needs_no_denoiser_and_no_decoder(own: Path) -> None:
    for part in ("unet", "vae"):
        (own / part / "diffusion_pytorch_model.safetensors").write_bytes(b"not weights at all")
    arrays, indices = make(own).encoder("cpu").encode(PROMPTS)
    assert arrays["prompt_embeds"].shape == (3, TOKENS, WIDTH)
    assert {array.dtype for array in arrays.values()} == {np.dtype(np.float32)}
    assert indices["negative_prompt_embeds"].dtype == np.int32


def test_negative_texts_cross_once_and_only_where_guidance_is_on(shared: Path) -> None:
    encoder = make(shared).encoder("cpu")
    arrays, indices = encoder.encode([*PROMPTS, Prompt(2, "a fox", "blurry")])
    assert indices["negative_prompt_embeds"].tolist() == [0, 1, -1, 0]
    assert len(arrays["negative_prompt_embeds"]) == 2
    empty = encoder.encode([Prompt(0, "")])[0]["prompt_embeds"][0]
    np.testing.assert_array_equal(arrays["negative_prompt_embeds"][1], empty)
    assert make(shared, guidance_scale=1.0).encoder("cpu").encode(PROMPTS)[1] == {}
    assert encoder.encode([])[0]["prompt_embeds"].shape == (0, TOKENS, WIDTH)


def test_equal_prompts_give_equal_bytes_whatever_else_is_encoded(shared: Path) -> None:
    encoder = make(shared).encoder("cpu")
    alone = encoder.encode(PROMPTS[1:2])[0]["prompt_embeds"][0]
    among = encoder.encode([Prompt(0, f"a {k}") for k in range(5)] + PROMPTS)[0]["prompt_embeds"][6]
    assert alone.tobytes() == among.tobytes()


def test_texts_that_are_cut_are_counted_and_not_quoted(shared: Path, caplog: pytest.LogCaptureFixture) -> None:
    encoder = make(shared).encoder("cpu")
    with caplog.at_level(logging.WARNING):
        encoder.encode([Prompt(0, "secret " * 20), Prompt(0, "short"), Prompt(0, "secret " * 20)])
    assert "1 of 3 texts are longer than the 16 tokens" in caplog.text
    assert "secret" not in caplog.text
    assert len(caplog.records) == 1
    long, short = "secret " * 20, "short"
    asked = [Prompt(0, long), Prompt(0, short), Prompt(0, short, long), Prompt(0, short, long, guidance_scale=1.0)]
    assert encoder.truncated(asked) == 2, "a negative text counts where guidance uses it"
    assert encoder.truncated([]) == 0


# --- the server side


def test_the_server_needs_no_text_encoder(own: Path) -> None:
    arrays, indices = make(own).encoder("cpu").encode(PROMPTS)
    (own / "text_encoder/model.safetensors").unlink()
    for path in (own / "tokenizer").iterdir():
        if path.name != "tokenizer_config.json":
            path.unlink()
    done: list[int] = []
    painter, rows = make(own, batch_size=2).synthesizer("cpu"), conditioning(arrays, indices, 3)
    batches = list(painter.synthesize(shard([0, 1, 1, 0, 1]), rows, done.append))
    assert [batch.pixels.shape for batch in batches] == [(2, SIDE, SIDE, 3), (2, SIDE, SIDE, 3), (1, SIDE, SIDE, 3)]
    assert all(batch.pixels.dtype == np.uint8 for batch in batches)
    assert done == [2, 2, 1]


def test_a_guidance_range_is_drawn_from_each_images_seed(shared: Path) -> None:
    drawn = [draw_guidance((1.0, 3.0), seed) for seed in range(500)]
    assert 1 <= min(drawn) < 1.1 < 1.9 < sum(drawn) / 500 < 2.1 < 2.9 < max(drawn) <= 3
    assert draw_guidance((1.0, 3.0), 7) == drawn[7]
    arrays, indices = make(shared).encoder("cpu").encode(PROMPTS[:2])
    rows = conditioning(arrays, indices, 2)
    painter = make(shared, guidance_scale=[1.5, 9.0]).synthesizer("cpu")
    ranged = next(painter.synthesize(shard([0, 0]), rows, silent)).pixels
    for k in (0, 1):
        scale = draw_guidance((1.5, 9.0), 100 + k)
        fixed = next(make(shared).synthesizer("cpu").synthesize(shard([0, 0], scale), rows, silent)).pixels
        np.testing.assert_allclose(ranged[k].astype(int), fixed[k], atol=1)
    assert (ranged[0] != ranged[1]).any()


def test_an_items_guidance_comes_before_its_rows_and_that_before_the_options(shared: Path) -> None:
    arrays, indices = make(shared).encoder("cpu").encode(PROMPTS[:1])
    painter = make(shared).synthesizer("cpu")

    def paint(item: float | None, row: float) -> bytes:
        rows = conditioning(arrays, indices, 1, [row])
        return next(painter.synthesize(shard([0], item), rows, silent)).pixels.tobytes()

    assert paint(None, np.nan) == paint(2.0, np.nan) == paint(None, 2.0) == paint(2.0, 9.0)
    assert paint(None, 9.0) == paint(9.0, np.nan) != paint(None, np.nan)


def test_a_guided_row_without_a_negative_is_refused_by_name(shared: Path) -> None:
    arrays, indices = make(shared, guidance_scale=1.0).encoder("cpu").encode(PROMPTS[:1])
    rows = conditioning(arrays, indices, 1)
    assert len(list(make(shared, guidance_scale=1.0).synthesizer("cpu").synthesize(shard([0]), rows, silent))) == 1
    with pytest.raises(ModelError, match="c0 has no negative_prompt_embeds but a guidance scale of 2"):
        list(make(shared).synthesizer("cpu").synthesize(shard([0]), rows, silent))


def test_pixels_that_are_not_finite_are_an_error_and_not_a_black_image(own: Path) -> None:
    path = own / "vae/diffusion_pytorch_model.safetensors"
    save_file({name: torch.full_like(value, 1e30) for name, value in load_file(path).items()}, path)
    arrays, indices = make(own).encoder("cpu").encode(PROMPTS)
    painter = make(own, dtype="bf16").synthesizer("cpu")
    with pytest.raises(ModelError, match="not finite in bfloat16; set its dtype to fp32"):
        list(painter.synthesize(shard([0]), conditioning(arrays, indices, 3), silent))
    with pytest.raises(ModelError, match="not finite in float32; no number format fixes that"):
        list(make(own).synthesizer("cpu").synthesize(shard([0]), conditioning(arrays, indices, 3), silent))


# --- what is refused, and how


@pytest.mark.parametrize(
    ("scheduler", "message"),
    [
        ("DPMSolverMultistep", "did you mean DPMSolverMultistepScheduler"),
        ("DPMScheduler", "did you mean DPMSolverMultistepScheduler"),  # and not DDPM
        ("DPM++ 2M", "did you mean DPMSolverMultistepScheduler"),
        ("Euler a", "did you mean EulerAncestralDiscreteScheduler"),
        ("DDIMSheduler", "did you mean DDIMScheduler"),
        ("Nonsense", r"cannot replace the DDIMScheduler of \S+ \("),
        ("LCMScheduler", "cannot replace the DDIMScheduler"),
        ("DPMSolverSDEScheduler", "ignores the generator of each image"),
        ("EDMEulerScheduler", "EulerDiscreteScheduler is the same solver"),
    ],
)
def test_a_scheduler_that_does_not_fit_is_refused_before_anything_is_encoded(
    shared: Path, scheduler: str, message: str
) -> None:
    for method in ("declare", "fingerprint"):
        with pytest.raises(ModelError, match=message):
            getattr(make(shared, scheduler=scheduler), method)()


def _sdxl(folder: Path) -> None:
    edit(folder / "model_index.json", _class_name="StableDiffusionXLPipeline")


def _custom_code(folder: Path) -> None:
    edit(folder / "model_index.json", unet=["my_unet", "MyUNet"])


def _pickle(folder: Path) -> None:
    (folder / "text_encoder/model.safetensors").rename(folder / "text_encoder/pytorch_model.bin")


def _inpainting(folder: Path) -> None:
    edit(folder / "unet/config.json", in_channels=9)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_sdxl, "is a StableDiffusionXLPipeline; expected a StableDiffusionPipeline"),
        (_custom_code, "unet of my_unet.MyUNet; expected UNet2DConditionModel"),
        (_pickle, "pickle only .pytorch_model.bin.*expected safetensors"),
        (_inpainting, "denoises 9 channels to 4 and decodes 4"),
        (lambda folder: (folder / "text_encoder/model.safetensors").unlink(), "lacks the weights of its text_encoder"),
        (lambda folder: (folder / "model_index.json").unlink(), "not the folder of a diffusers pipeline"),
        (lambda folder: (folder / "unet/config.json").write_text("{"), "cannot read unet/config.json"),
        (lambda folder: edit(folder / "unet/config.json", cross_attention_dim=99), "16 wide, its denoiser takes 99"),
    ],
)
def test_a_folder_that_cannot_be_used_is_refused_with_the_reason(
    own: Path, damage: Callable[[Path], Any], message: str
) -> None:
    damage(own)
    with pytest.raises(ModelError, match=message):
        make(own).declare()


def test_damaged_weights_are_a_model_error(own: Path) -> None:
    (own / UNET).write_bytes(b"\x00" * 100)
    with pytest.raises(ModelError, match="damaged"):
        make(own).synthesizer("cpu")


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        ("/nowhere/at/all", {}, "does not exist; expected the folder of a diffusers pipeline"),
        ("nothing", {}, "or a Hub id such as"),
        ("embedded:other", {}, "does not ship with this installation"),
        ("SHARED", {"revision": "main"}, "only Hub models have revisions"),
        ("SHARED", {"height": 24, "width": 8}, None),
    ],
)
def test_what_a_model_may_be_called(shared: Path, model: str, options: dict[str, Any], message: str | None) -> None:
    subject = make(model.replace("SHARED", str(shared)), **options)
    if message is None:
        assert subject.describe()["image_size"] == [24, 8]
        return
    with pytest.raises(ModelError, match=message):
        subject.declare()


# --- the Hub: see tests/integration/test_hub.py for what a pull does


def _run(environment: dict[str, str], code: str) -> str:
    """Output of `code`, in a process of its own: the client reads its settings when it is imported."""
    done = warm.run(code, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_client_pulls_its_half_and_the_commit_is_locked(hub: Hub, own: Path, tmp_path: Path) -> None:
    shutil.copy(own / UNET, own / UNET.replace(".safetensors", ".fp16.safetensors"))
    (own / "unet/diffusion_pytorch_model.bin").write_bytes(b"pickle")
    commit = hub.push("who/model", own)
    online = hub.env(tmp_path / "cache")
    offline = {**online, "HF_HUB_OFFLINE": "1"}
    head = (
        "from fgl.plugins.generators.stable_diffusion import StableDiffusion\n"
        "from fgl.plugins.generators.options import StableDiffusionOptions as Options\n"
        "subject = StableDiffusion(Options(model='who/model'))\n"
    )
    encoder = _run(online, head + "print(subject.declare().encoder)").strip()
    assert encoder == make(own).declare().encoder
    assert hub.sent("text_encoder/model.safetensors") == 1
    assert not [one.path for one in hub.downloads() if "/unet/diff" in one.path or "/vae/diff" in one.path]
    incomplete = head + (
        "print(subject.declare().encoder)\ntry: subject.synthesizer('cpu')\nexcept Exception as error: print(error)"
    )
    said = _run(offline, incomplete)
    assert said.startswith(encoder)
    assert "only a part of it, and HF_HUB_OFFLINE is set" in said
    whole = head + "print(subject.describe()['commit'], subject.fingerprint() and subject._commit)"
    assert _run(online, whole).split() == [commit, commit]
    assert hub.sent(UNET) == 1
    assert not [one.path for one in hub.downloads() if "fp16" in one.path or one.path.endswith(".bin")]


def test_the_footprint_of_a_client_is_the_text_encoder_and_that_of_the_whole_all_parts(own: Path) -> None:
    half, whole = make(own).footprint(False), make(own).footprint(True)
    files = {name: own / name / f"{WEIGHTS[name]}.safetensors" for name in whole.parts}
    assert (half.parts, whole.parts) == (("text_encoder",), ("text_encoder", "unet", "vae"))
    assert half.size_bytes == files["text_encoder"].stat().st_size
    assert whole.size_bytes == sum(path.stat().st_size for path in files.values())
    parameters = make(own).describe()["parameters"]
    assert isinstance(parameters, dict)
    assert whole.parameters == parameters["total"]
    assert half.parameters == sum(value.numel() for value in load_file(files["text_encoder"]).values())


def test_options_name_the_model_and_its_halves() -> None:
    (use,) = StableDiffusionOptions(model="who/model", revision="v1").models()
    assert (use.model, use.revision) == ("who/model", "v1")
    assert set(use.client_files) < set(use.files)
    assert UNET in set(use.files) - set(use.client_files)
    assert StableDiffusionOptions(model="embedded:tiny").models() == ()
