"""Weights that are missing, named otherwise, cut off or not finite are told before anything rests on them."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from fgl.errors import ModelError
from fgl.hub.documents import json_object, license
from fgl.hub.folders import verify_folder
from fgl.hub.weights import POINTER, flaw, not_finite, tensors
from fgl.plugins.generators.options import StableDiffusionOptions, StableDiffusionXLOptions
from fgl.plugins.generators.stable_diffusion import StableDiffusion, StableDiffusionXL
from fgl.text import is_unseen
from tests.helpers.mutants import mutants, with_other_values
from tests.helpers.pipelines import save_pipeline, save_xl_pipeline

Weights = dict[str, torch.Tensor]

STEMS = {
    "text_encoder": "model",
    "text_encoder_2": "model",
    "unet": "diffusion_pytorch_model",
    "vae": "diffusion_pytorch_model",
}
PARTS = [("sd", "text_encoder"), ("sd", "unet"), ("sd", "vae"), ("xl", "text_encoder"), ("xl", "text_encoder_2")]


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, Path]:
    return {"sd": save_pipeline(tmp_path / "sd", vae="kl"), "xl": save_xl_pipeline(tmp_path / "xl")}


def generator(kind: str, folder: Path) -> StableDiffusion:
    if kind == "xl":
        return StableDiffusionXL(StableDiffusionXLOptions(model=str(folder)))
    return StableDiffusion(StableDiffusionOptions(model=str(folder)))


def change(folder: Path, part: str, by: Callable[[Weights], Weights]) -> Path:
    path = folder / part / f"{STEMS[part]}.safetensors"
    save_file(by(load_file(path)), path, {"format": "pt"})
    return path


def test_whole_pipelines_are_not_complained_of(folders: dict[str, Path]) -> None:
    for kind, folder in folders.items():
        generator(kind, folder).declare()
        generator(kind, folder).fingerprint()


@pytest.mark.parametrize(("kind", "part"), PARTS)
def test_missing_weights_are_named_before_anything_is_encoded(folders: dict[str, Path], kind: str, part: str) -> None:
    lost: list[str] = []

    def without_some(weights: Weights) -> Weights:
        lost.extend(name for name in weights if name.endswith("weight"))
        return {name: value for name, value in weights.items() if name != lost[0]}

    change(folders[kind], part, without_some)
    with pytest.raises(ModelError, match=rf"the {part} of .* lacks 1 of its \d+ weights .*random numbers"):
        generator(kind, folders[kind]).declare()


@pytest.mark.parametrize(("kind", "part"), PARTS)
def test_the_prefix_of_a_wrapper_is_named(folders: dict[str, Path], kind: str, part: str) -> None:
    change(folders[kind], part, lambda weights: {f"module.{name}": value for name, value in weights.items()})
    with pytest.raises(ModelError, match=rf"the {part} of .*their names begin with 'module\.'"):
        generator(kind, folders[kind]).declare()


@pytest.mark.parametrize(("kind", "part"), PARTS)
def test_weights_of_another_shape_are_named(folders: dict[str, Path], kind: str, part: str) -> None:
    change(folders[kind], part, lambda weights: {name: value[:-1].clone() for name, value in weights.items()})
    with pytest.raises(ModelError, match=rf"the {part} of .* of another shape than its config.json says"):
        generator(kind, folders[kind]).declare()


@pytest.mark.parametrize(("kind", "part"), PARTS)
@pytest.mark.parametrize("number", [torch.nan, torch.inf])
def test_weights_that_are_not_finite_are_told_with_the_fingerprint(
    folders: dict[str, Path], kind: str, part: str, number: float
) -> None:
    def spoilt(weights: Weights) -> Weights:
        last = [name for name in weights if name.endswith("bias")][-1]
        return {**weights, last: torch.full_like(weights[last], number)}

    change(folders[kind], part, spoilt)
    with pytest.raises(
        ModelError, match=rf"the {part} of .* not finite \(NaN or infinity in .*bias\); no number format"
    ):
        generator(kind, folders[kind]).fingerprint()


def test_an_encoder_whose_weights_are_not_finite_does_not_encode(folders: dict[str, Path]) -> None:
    change(folders["sd"], "text_encoder", lambda weights: {name: value * torch.nan for name, value in weights.items()})
    with pytest.raises(ModelError, match="not finite"):
        generator("sd", folders["sd"]).encoder("cpu")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def cut_in_the_header(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:40])


def left_by_git(path: Path) -> None:
    path.write_bytes(POINTER + b"v1\noid sha256:" + b"ab" * 32 + b"\nsize 3438167536\n")


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def of_another_kind(path: Path) -> None:
    torch.save({}, path)


DAMAGES = [
    (cut, "is cut off: it has"),
    (cut_in_the_header, "is cut off within its header"),
    (left_by_git, "is a git-lfs pointer: .*`git lfs pull`"),
    (emptied, "is empty"),
    (of_another_kind, "is not a safetensors file"),
]


@pytest.mark.parametrize("part", ["text_encoder", "unet", "vae"])
@pytest.mark.parametrize(("damage", "said"), DAMAGES)
def test_files_that_cannot_be_weights_are_told_by_a_run_and_by_verify(
    folders: dict[str, Path], part: str, damage: Callable[[Path], None], said: str
) -> None:
    path = folders["sd"] / part / f"{STEMS[part]}.safetensors"
    damage(path)
    with pytest.raises(ModelError, match=f"damaged {part}: {part}/{path.name} in .* {said}"):
        generator("sd", folders["sd"]).declare()
    (broken,) = verify_folder(folders["sd"]).damaged
    assert broken[0] == f"{part}/{path.name}"


def in_shards(folder: Path, part: str) -> tuple[Path, list[Path]]:
    """Split a part's weights into two files with an index, as save_pretrained does with large ones."""
    path = folder / part / f"{STEMS[part]}.safetensors"
    weights = load_file(path)
    path.unlink()
    names = sorted(weights)
    halves = [names[::2], names[1::2]]
    paths = [path.with_name(f"{STEMS[part]}-{at + 1:05d}-of-00002.safetensors") for at in range(2)]
    for shard, half in zip(paths, halves, strict=True):
        save_file({name: weights[name] for name in half}, shard, {"format": "pt"})
    where = {name: shard.name for shard, half in zip(paths, halves, strict=True) for name in half}
    index = path.with_name(f"{path.name}.index.json")
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": where}))
    return index, paths


@pytest.mark.parametrize("part", ["text_encoder", "unet", "vae"])
def test_shards_are_taken_and_a_missing_one_is_named(folders: dict[str, Path], part: str) -> None:
    whole = generator("sd", folders["sd"]).describe()["parameters"]
    index, shards = in_shards(folders["sd"], part)
    own = generator("sd", folders["sd"])
    own.declare()
    assert own.describe()["parameters"] == whole
    assert verify_folder(folders["sd"]).damaged == ()
    kept = shards[1].read_bytes()
    shards[1].unlink()
    with pytest.raises(ModelError, match=rf"lacks 1 of the 2 shards of its {part} \({part}/{shards[1].name}\)"):
        generator("sd", folders["sd"]).declare()
    ((path, said),) = verify_folder(folders["sd"]).damaged
    assert (path, "which does not exist" in said) == (f"{part}/{index.name}", True)
    shards[1].write_bytes(kept)
    index.write_text(json.dumps({"weight_map": {"a": 3}}))
    with pytest.raises(ModelError, match="names no shards"):
        generator("sd", folders["sd"]).declare()


def test_a_variant_is_named_with_what_to_do(folders: dict[str, Path]) -> None:
    path = folders["sd"] / "unet/diffusion_pytorch_model.safetensors"
    path.rename(path.with_name("diffusion_pytorch_model.fp16.safetensors"))
    with pytest.raises(ModelError, match=r"its unet only as the variant fp16 .*variant='fp16'.*save_pretrained"):
        generator("sd", folders["sd"]).declare()


def test_damage_of_a_number_is_found_by_verify(folders: dict[str, Path]) -> None:
    path = change(folders["sd"], "unet", lambda weights: {name: value.half() for name, value in weights.items()})
    assert verify_folder(folders["sd"]).damaged == ()
    change(folders["sd"], "unet", lambda weights: {name: value / 0 for name, value in weights.items()})
    ((name, said),) = verify_folder(folders["sd"]).damaged
    assert (name, "holds NaN or infinity" in said) == (f"unet/{path.name}", True)


def test_a_folder_without_weights_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no safetensors weights"):
        verify_folder(tmp_path)


@pytest.mark.parametrize("kind", [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e5m2])
def test_each_number_format_is_searched_for_infinity_and_nan(tmp_path: Path, kind: torch.dtype) -> None:
    largest = torch.tensor([torch.finfo(kind).max, torch.finfo(kind).min, 0.0], dtype=torch.float64).to(kind)
    save_file(
        {
            "fine": largest,
            "whole": torch.tensor([2**31 - 1, -1]),
            "none": torch.zeros(0, dtype=kind),
            "nan": torch.tensor([0.0, torch.nan]).to(kind),
            "infinite": torch.tensor([-torch.inf]).to(kind),
        },
        tmp_path / "a.safetensors",
    )
    assert sorted(not_finite(tmp_path / "a.safetensors")) == ["infinite", "nan"]
    assert tensors(tmp_path / "a.safetensors")["fine"].shape == (3,)


def test_a_header_that_does_not_fit_its_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    for header in (
        {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}},
        {"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}},
        {"a": {"dtype": "nonsense", "shape": [1], "data_offsets": [0, 4]}},
        {"a": [1, 2]},
        {"a": {"dtype": "F32"}},
    ):
        text = json.dumps(header).encode()
        path.write_bytes(struct.pack("<Q", len(text)) + text + b"0000")
        assert "is not a safetensors file: its header is damaged" in flaw(path)
    deep = b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    path.write_bytes(struct.pack("<Q", len(deep)) + deep)
    assert "nested too deep" in flaw(path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[" * 100_000, "nested too deep"),
        ("[1]", "holds a list"),
        ("{", "Expecting"),
    ],
)
def test_json_of_a_model_is_read_strictly(folders: dict[str, Path], text: str, said: str) -> None:
    path = folders["sd"] / "unet/config.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=said):
        json_object(path)
    with pytest.raises(ModelError, match=rf"cannot read unet/config\.json of .*{said}"):
        generator("sd", folders["sd"]).declare()


def test_json_that_is_no_utf8_or_no_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b'{"a": "\xff"}')
    with pytest.raises(ValueError, match="not UTF-8"):
        json_object(tmp_path / "a.json")
    with pytest.raises(ValueError, match="not a regular file"):
        json_object(tmp_path)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"_class_name": ["pipeline", "MyPipeline"]}, "is a custom pipeline .*fgl runs no code of a model"),
        ({"_class_name": 3}, "names no pipeline"),
        ({"unet": ["mine", "UNet2DConditionModel"]}, "has a unet of mine.UNet2DConditionModel; expected"),
        ({"unet": [{}, []]}, "has a unet of"),
        ({"text_encoder": ["transformers", "NoSuchModel"]}, "NoSuchModel, which the installed transformers lacks"),
    ],
)
def test_a_pipeline_of_another_kind_is_one_error(
    folders: dict[str, Path], changed: dict[str, object], said: str
) -> None:
    path = folders["sd"] / "model_index.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changed}))
    with pytest.raises(ModelError, match=said):
        generator("sd", folders["sd"]).declare()


@pytest.mark.parametrize("part", ["unet", "vae"])
def test_a_configuration_of_nonsense_is_one_error(folders: dict[str, Path], part: str) -> None:
    path = folders["sd"] / part / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "block_out_channels": "wide"}))
    with pytest.raises(ModelError, match=part):
        generator("sd", folders["sd"]).declare()


def test_any_mutant_of_a_models_file_is_loaded_or_refused(tmp_path: Path) -> None:
    folder = save_pipeline(tmp_path / "sd", vae="kl")
    weights = folder / "text_encoder" / "model.safetensors"
    whole = weights.read_bytes()
    end = 8 + int.from_bytes(whole[:8], "little")
    changed = [(weights, header + whole[end:]) for header in mutants([whole[:end]], 0, 4)]
    for number, path in enumerate(sorted(folder.rglob("*config.json"))):
        changed += [(path, mutant) for mutant in with_other_values(path.read_bytes(), number, 2)]
        changed += [(path, mutant) for mutant in mutants([path.read_bytes()], number, 1)]
    for path, mutant in changed:
        sound = path.read_bytes()
        path.write_bytes(mutant)
        said = ""
        try:
            found = generator("sd", folder)
            found.declare()
            found.fingerprint()
        except ModelError as error:
            said = str(error)
        assert not [one for one in said if is_unseen(one)], mutant
        path.write_bytes(sound)


def bomb(levels: int) -> str:
    lines = ["a0: &a0 [1,1,1,1,1,1,1,1,1]"]
    lines += [f"a{at}: &a{at} [{','.join([f'*a{at - 1}'] * 9)}]" for at in range(1, levels)]
    return "\n".join([*lines, f"license: *a{levels - 1}"])


@pytest.mark.parametrize(
    ("card", "stated"),
    [
        ("---\nlicense: mit\ntags: [a, b]\n---\n# A model", "mit"),
        ("---\nlicense: other\nlicense_name: own\n---\n", "own"),
        ("---\ntags:\n- license: mit\n---\n", "not stated"),
        (f"---\n{bomb(40)}\n---\n", "not stated"),
        ("---\nlicense: [mit]\n---\n", "not stated"),
        ("---\nlicense: " + "x" * 500 + "\n---\n", "x" * 80 + "…"),
        ("---\nlicense: 'a\\x1b[2J'\n---\n", r"a\x1b[2J"),
        ("---\n" + "[" * 60_000, "not stated"),
        ("no card", "not stated"),
    ],
)
def test_a_license_is_a_scalar_of_the_card_and_nothing_that_grows(tmp_path: Path, card: str, stated: str) -> None:
    (tmp_path / "README.md").write_text(card)
    assert license(tmp_path / "README.md") == stated


def test_numbers_of_blocks_are_all_looked_at(tmp_path: Path) -> None:
    numbers = np.zeros(5_000_000, dtype=np.float32)
    numbers[-1] = np.inf
    save_file({"a": torch.from_numpy(numbers)}, tmp_path / "a.safetensors")
    assert not_finite(tmp_path / "a.safetensors") == ("a",)
