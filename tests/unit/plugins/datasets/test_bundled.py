"""The data that ships inside the package is what its description says, small enough, and free to ship."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from fgl.errors import BadImageError, DataError
from fgl.plugins.datasets import bundled
from fgl.plugins.datasets.bundled import FILES, FOLDER, Bundled
from fgl.plugins.datasets.options import BundledOptions

NAMES = ["eurosat", "fashion_mnist", "emoji"]
BUDGET = 20_000_000
FREE = ("MIT", "Apache-2.0", "CC BY 4.0")


def meta(name: str) -> dict[str, object]:
    loaded: dict[str, object] = json.loads((FOLDER / name / "meta.json").read_text(encoding="utf-8"))
    return loaded


def test_everything_together_keeps_the_size_budget() -> None:
    assert sum(file.stat().st_size for file in FOLDER.rglob("*") if file.is_file()) <= BUDGET


def test_the_options_name_exactly_what_ships() -> None:
    assert sorted(path.name for path in FOLDER.iterdir() if path.is_dir()) == sorted(NAMES)
    for name in NAMES:
        assert BundledOptions.model_validate({"subset": name}).subset == name


@pytest.mark.parametrize("name", NAMES)
def test_counts_are_those_of_the_description(name: str) -> None:
    dataset = Bundled(BundledOptions.model_validate({"subset": name}))
    names = dataset.info().class_names
    for split, file in FILES.items():
        images = dataset.split(split)
        assert images is not None
        stated = meta(name)["splits"][Path(file).stem]  # type: ignore[index]
        assert len(images) == stated["images"]
        assert dict(Counter(names[label] for label in images.labels)) == stated["by_class"]
        assert dict(Counter(images.domains or ())) == stated["by_domain"]


@pytest.mark.parametrize(
    ("name", "train", "public", "test"), [("eurosat", 350, 250, 200), ("fashion_mnist", 300, 300, 200)]
)
def test_classes_are_balanced(name: str, train: int, public: int, test: int) -> None:
    dataset = Bundled(BundledOptions.model_validate({"subset": name}))
    for split, count in (("train", train), ("public", public), ("test", test)):
        images = dataset.split(split)
        assert images is not None
        assert np.bincount(images.labels).tolist() == [count] * 10


@pytest.mark.parametrize("name", NAMES)
def test_every_image_decodes_and_no_picture_is_there_twice(name: str) -> None:
    dataset = Bundled(BundledOptions.model_validate({"subset": name}))
    seen: dict[bytes, str] = {}
    for split in FILES:
        images = dataset.split(split)
        assert images is not None
        for index in range(len(images)):
            image = images.image(index)
            assert (image.mode, image.size) == ("RGB", (32, 32))
            pixels = hashlib.sha256(image.tobytes()).digest()
            assert pixels not in seen, f"{images.name(index)} is {seen[pixels]}"
            seen[pixels] = images.name(index)


@pytest.mark.parametrize("name", NAMES)
def test_license_and_attribution_are_stated(name: str) -> None:
    info = Bundled(BundledOptions.model_validate({"subset": name})).info()
    assert any(license in info.license for license in FREE)
    assert "SA" not in info.license
    assert info.attribution
    assert info.source
    licenses = (FOLDER / "DATA_LICENCES.md").read_text(encoding="utf-8")
    assert f"bundled:{name}" in licenses


def test_only_emoji_styles_that_may_ship_are_there() -> None:
    assert Bundled(BundledOptions(subset="emoji")).info().domains == ("fluent", "noto", "twemoji")


@pytest.mark.parametrize("name", NAMES)
def test_the_description_holds_no_path_of_the_machine_that_built_it(name: str) -> None:
    text = (FOLDER / name / "meta.json").read_text(encoding="utf-8")
    assert not [mark for mark in ("/work", "/home", "/tmp", "/root", "\\\\", "../") if mark in text]


@pytest.mark.parametrize("name", NAMES)
def test_the_datasets_library_opens_it_with_decoded_images(name: str, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    rows = datasets.load_dataset(
        "parquet", data_files=str(FOLDER / name / "test.parquet"), split="train", cache_dir=str(tmp_path)
    )
    assert isinstance(rows.features["image"], datasets.Image)
    assert rows.features["label"].names == meta(name)["class_names"]
    assert rows[0]["image"].size == (32, 32)


def test_domains_can_be_chosen() -> None:
    whole = Bundled(BundledOptions(subset="emoji"))
    part = Bundled(BundledOptions(subset="emoji", domains=["noto", "fluent"]))
    train, all_of_train = part.split("train"), whole.split("train")
    assert train is not None
    assert all_of_train is not None
    assert set(train.domains or ()) == {"noto", "fluent"}
    rows = [index for index, domain in enumerate(all_of_train.domains or ()) if domain != "twemoji"]
    assert train.labels.tolist() == all_of_train.labels[rows].tolist()
    assert train.image(5).tobytes() == all_of_train.image(rows[5]).tobytes()
    assert train.name(5) == all_of_train.name(rows[5])
    assert part.info().digest != whole.info().digest


def test_an_unknown_domain_is_corrected() -> None:
    with pytest.raises(DataError, match=r"no domain 'not': did you mean 'noto'\? \(domains: fluent, noto, twemoji\)"):
        Bundled(BundledOptions(subset="emoji", domains=["not"])).info()
    with pytest.raises(DataError, match="eurosat has no domains"):
        Bundled(BundledOptions(domains=["noto"])).info()


@pytest.fixture
def damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of emoji whose first training image is cut short."""
    folder = tmp_path / "emoji"
    folder.mkdir()
    for file in (FOLDER / "emoji").iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    table = pq.read_table(folder / "private.parquet")
    rows = table.to_pylist()
    rows[0]["image"]["bytes"] = rows[0]["image"]["bytes"][:40]
    pq.write_table(type(table).from_pylist(rows, schema=table.schema), folder / "private.parquet")
    monkeypatch.setattr(bundled, "FOLDER", tmp_path)
    return folder


def test_damaged_data_is_noticed(damaged: Path) -> None:
    with pytest.raises(DataError, match=r"damaged: .*private\.parquet; reinstall fgl") as caught:
        Bundled(BundledOptions(subset="emoji")).info()
    assert not isinstance(caught.value, BadImageError)


def test_damaged_data_can_be_used_without_what_is_broken(damaged: Path) -> None:
    dataset = Bundled(BundledOptions(subset="emoji", skip_bad_images=True))
    train = dataset.split("train")
    assert train is not None
    assert len(train) == 998
    assert dataset.info().skipped == (f"{damaged / 'private.parquet'} row 0",)
