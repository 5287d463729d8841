"""Labels in the data that are not the class names: mapped, checked both ways, and taken in part."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from pydantic import ValidationError

from fgl.contracts.dataset import ImageSet, Subset
from fgl.errors import ClassListError, DataError
from fgl.plugins.datasets.bundled import Bundled
from fgl.plugins.datasets.hf import HuggingFace
from fgl.plugins.datasets.imagefolder import ImageFolder
from fgl.plugins.datasets.npz import Npz
from fgl.plugins.datasets.options import (
    BundledOptions,
    HuggingFaceOptions,
    ImageFolderOptions,
    NpzOptions,
    ParquetOptions,
)
from fgl.plugins.datasets.parquet import Parquet

WNIDS = {"n01440764": "tench", "n02102040": "English springer", "n03028079": "church"}


def put(folder: Path, count: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        Image.new("RGB", (6, 4), (number, sum(folder.name.encode()) % 200, 9)).save(folder / f"{number}.png")


def folder(root: Path, names: dict[str, int], **options: Any) -> ImageFolder:
    for name, count in names.items():
        put(root / name, count)
    return ImageFolder(ImageFolderOptions(path=str(root), **options))


def split(dataset: Any, name: str = "train") -> ImageSet:
    images = dataset.split(name)
    assert images is not None
    return images  # type: ignore[no-any-return]


def test_labels_get_class_names_in_the_order_of_the_mapping(tmp_path: Path) -> None:
    names = {"n03028079": 2, "n02102040": 3, "n01440764": 4}
    dataset = folder(tmp_path / "a", names, labels=WNIDS, holds="train")
    assert dataset.info().class_names == ("tench", "English springer", "church")
    images = split(dataset)
    found = {Path(images.name(i)).parent.name: int(images.labels[i]) for i in range(len(images))}
    assert found == {"n01440764": 0, "n02102040": 1, "n03028079": 2}


def test_the_order_of_classes_outlives_a_mapping_that_lost_its_own() -> None:

    names = {"n1": "zebra", "n2": "ant"}
    options = ImageFolderOptions(path="x", labels=dict(reversed(names.items())))
    again = ImageFolderOptions(**json.loads(json.dumps(options.model_dump(mode="json"), sort_keys=True)))
    assert again.class_names == options.class_names == ["ant", "zebra"]
    other = ImageFolderOptions(path="x", labels=names, class_names=["ant", "zebra"])
    assert other.class_names == ["ant", "zebra"]


def test_a_class_name_is_a_label_of_itself_and_several_labels_may_be_one_class(tmp_path: Path) -> None:
    labels = {"cat": "pet", "dog": "pet", "n1": "fox"}
    dataset = folder(tmp_path / "a", {"cat": 2, "dog": 3, "fox": 4}, labels=labels, holds="train")
    assert dataset.info().class_names == ("pet", "fox")
    assert Counter(split(dataset).labels.tolist()) == {0: 5, 1: 4}


def test_a_mismatch_is_one_error_with_what_is_missing_surplus_and_near(tmp_path: Path) -> None:
    dataset = folder(tmp_path / "a", {"n01440764": 2, "n02102041": 2, "dome": 2}, labels=WNIDS)
    with pytest.raises(ClassListError) as caught:
        dataset.info()
    said = str(caught.value)
    assert "no images of 'English springer' (n02102040) - did you mean 'n02102041'?, 'church' (n03028079);" in said
    assert "not in the list: 'dome', 'n02102041' (such as" in said
    assert "the list: tench, English springer, church" in said
    assert caught.value.exit_code == DataError.exit_code


def test_names_that_differ_in_case_and_signs_alone_are_near(tmp_path: Path) -> None:
    dataset = folder(tmp_path / "a", {"Sea_Lake": 2, "River": 2}, labels={"s": "sea lake", "r": "river"})
    with pytest.raises(ClassListError, match=r"'sea lake' \(s\) - did you mean 'Sea_Lake'\?, 'river' \(r\) - did you"):
        dataset.info()


def test_other_labels_are_left_out_where_that_is_asked_for_and_not_opened(tmp_path: Path) -> None:
    root = tmp_path / "a"
    dataset = folder(
        root,
        {"n01440764": 5, "n02102040": 5, "n03028079": 5, "n09999999": 5},
        labels=WNIDS,
        unlisted_labels="leave out",
    )
    (root / "n09999999" / "bad.png").write_bytes(b"no image")
    assert len(split(dataset)) + len(split(dataset, "test")) == 15
    with pytest.raises(ClassListError, match=r"not in the list: 'n09999999'"):
        folder(root, {}, labels=WNIDS).info()


def test_leaving_out_does_not_hide_a_class_that_is_missing(tmp_path: Path) -> None:
    dataset = folder(
        tmp_path / "a",
        {"n01440764": 2, "n02102040": 2, "chuch": 2},
        labels={**WNIDS, "n03028079": "church"},
        unlisted_labels="leave out",
    )
    with pytest.raises(ClassListError, match=r"no images of 'church' \(n03028079\) - did you mean 'chuch'"):
        dataset.info()


def test_a_part_may_lack_classes_of_the_mapping(tmp_path: Path) -> None:
    dataset = folder(tmp_path / "a", {"n02102040": 2}, labels=WNIDS, holds="train")
    assert dataset.info().class_names == ("tench", "English springer", "church")
    assert set(split(dataset).labels.tolist()) == {1}


def test_domain_folders_are_mapped_too(tmp_path: Path) -> None:
    dataset = folder(
        tmp_path / "a",
        {f"{domain}/{name}": 5 for domain in ("real", "sketch") for name in ("n1", "n2", "other")},
        labels={"n2": "axe", "n1": "bird"},
        unlisted_labels="leave out",
    )
    assert dataset.info().class_names == ("axe", "bird")
    assert dataset.info().domains == ("real", "sketch")
    assert len(split(dataset)) + len(split(dataset, "test")) == 20


def picture(number: int) -> bytes:
    import io

    buffer = io.BytesIO()
    Image.new("RGB", (4, 4), (number, 0, 0)).save(buffer, "PNG")
    return buffer.getvalue()


def test_numbers_in_a_table_are_labels_and_so_are_the_names_that_it_states(tmp_path: Path) -> None:
    rows = {"image": [picture(number) for number in range(8)], "label": [0, 1, 2, 1] * 2}
    pq.write_table(pa.table(rows), tmp_path / "train.parquet")
    options = {"path": str(tmp_path), "holds": "train"}
    found = Parquet(ParquetOptions(**options, labels={2: "c", 1: "b", 0: "a"}))  # type: ignore[dict-item]
    assert (found.info().class_names, split(found).labels.tolist()) == (("c", "b", "a"), [2, 1, 0, 1] * 2)
    (tmp_path / "meta.json").write_text(json.dumps({"class_names": ["x", "y", "z"]}))
    found = Parquet(ParquetOptions(**options, labels={"z": "c", "y": "b", "x": "a"}))
    assert split(found).labels.tolist() == [2, 1, 0, 1] * 2
    with pytest.raises(
        ClassListError, match=r"no images of 'c' \(2\), 'b' \(1\), 'a' \(0\); not in the list: 'x', 'y'"
    ):
        Parquet(ParquetOptions(**{**options, "holds": "all"}, labels={"2": "c", "1": "b", "0": "a"})).info()


def test_class_labels_of_a_hub_dataset_are_mapped_and_chosen(tmp_path: Path) -> None:
    features = datasets.Features(
        {
            "img": datasets.Image(),
            "fine_label": datasets.ClassLabel(names=["apple", "aquarium_fish", "cra"]),
            "domain": datasets.ClassLabel(names=["clipart", "real"]),
        }
    )
    rows = [
        {"img": {"bytes": picture(number), "path": None}, "fine_label": number % 3, "domain": number // 6}
        for number in range(12)
    ]
    datasets.Dataset.from_list(rows, features=features).save_to_disk(str(tmp_path / "saved"))
    options = HuggingFaceOptions(
        path=str(tmp_path / "saved"),
        labels={"cra": "crab", "aquarium_fish": "aquarium fish"},
        unlisted_labels="leave out",
        test_fraction=0.5,
    )
    dataset = HuggingFace(options)
    assert dataset.info().class_names == ("crab", "aquarium fish")
    assert dataset.info().domains == ("clipart", "real")
    assert len(split(dataset)) + len(split(dataset, "test")) == 8


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"labels": {"a": "x", "b": "y"}, "class_names": ["x", "z"]}, "are not those of class_names: y, z"),
        ({"labels": {"a": "x", "b": "x"}}, "class_names"),
        ({"unlisted_labels": "leave out"}, "given without labels"),
        ({"labels": {"a": 3, "b": "x"}}, "string"),
        ({"max_per_class": 0}, "greater than or equal to 1"),
    ],
)
def test_options_that_contradict_each_other_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ImageFolderOptions(path="x", **options)


def test_at_most_so_many_of_each_class_and_domain_the_same_for_the_same_seed(tmp_path: Path) -> None:
    names = {f"{domain}/{name}": 9 for domain in ("real", "sketch") for name in ("axe", "bird")}
    options = {"max_per_class": 3, "holds": "train"}
    images = split(folder(tmp_path / "a", names, **options))
    assert images.domains is not None
    assert set(Counter(zip(images.domains, images.labels.tolist(), strict=True)).values()) == {3}
    again = split(folder(tmp_path / "a", {}, **options))
    other = split(folder(tmp_path / "a", {}, **options, seed=1))
    taken = [[each.name(index) for index in range(12)] for each in (images, again, other)]
    assert taken[0] == taken[1] != taken[2]


def test_images_beyond_the_limit_are_not_opened(tmp_path: Path) -> None:
    root = tmp_path / "a"
    folder(root, {"axe": 40, "bird": 40})
    for file in sorted((root / "axe").iterdir())[::2]:
        file.write_bytes(b"broken")
    info = folder(root, {}, max_per_class=1, skip_bad_images=True, holds="train", class_names=["axe", "bird"]).info()
    assert len(info.skipped) <= 1


def test_the_bundled_data_can_be_limited_too() -> None:
    images = split(Bundled(BundledOptions(subset="emoji", max_per_class=2)))
    assert isinstance(images.labels, np.ndarray)
    assert len(images) == 2 * 10 * 3


def archive(path: Path, **changes: Any) -> Path:
    draw = np.random.default_rng(0)
    arrays = {
        "train_images": draw.integers(0, 256, (12, 5, 7, 3), np.uint8),
        "train_labels": np.arange(12, dtype=np.uint8)[:, None] % 3,
        "val_images": draw.integers(0, 256, (3, 5, 7, 3), np.uint8),
        "val_labels": np.arange(3, dtype=np.uint8)[:, None],
        "test_images": draw.integers(0, 256, (6, 5, 7, 3), np.uint8),
        "test_labels": np.arange(6, dtype=np.uint8)[:, None] % 3,
    }
    np.savez(path, **{key: value for key, value in {**arrays, **changes}.items() if value is not None})
    return path


def npz(path: Path, **options: Any) -> Npz:
    return Npz(NpzOptions(path=str(path), **options))


def test_an_archive_of_arrays_is_read_to_the_pixel(tmp_path: Path) -> None:
    path = archive(tmp_path / "blood.npz")
    dataset = npz(path, labels={"2": "c", "0": "a", "1": "b"})
    info = dataset.info()
    assert (info.name, info.class_names, info.license) == ("blood", ("c", "a", "b"), "not stated")
    train, test = split(dataset), split(dataset, "test")
    assert (train.labels.tolist(), len(test)) == ([1, 2, 0] * 4, 6)
    with np.load(path) as file:
        assert np.array_equal(np.asarray(train.image(5)), file["train_images"][5])
    assert train.name(5) == f"{path} train row 5"
    assert not isinstance(train, Subset)
    assert train.kind(0) == ("PPM", "RGB", 7, 5)  # type: ignore[attr-defined]
    assert npz(path, labels={"2": "c", "0": "a", "1": "b"}).info().digest == info.digest


def test_a_grey_archive_without_test_images_uses_its_validation_images_or_holds_some_out(tmp_path: Path) -> None:
    grey = np.random.default_rng(0).integers(0, 256, (12, 5, 7), np.uint8)
    gone = dict.fromkeys(("test_images", "test_labels"))
    with_val = npz(archive(tmp_path / "a.npz", train_images=grey, **gone))
    assert len(split(with_val, "test")) == 3
    assert split(with_val).image(0).mode == "RGB"
    without = npz(archive(tmp_path / "b.npz", **gone, val_images=None, val_labels=None))
    assert (len(split(without)), len(split(without, "test"))) == (9, 3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train_images": None}, r"has no array train_images; it has train_labels, val_images"),
        ({"train_images": np.zeros((12, 5, 7, 3))}, r"train_images is float64 \[12, 5, 7, 3\]; expected uint8"),
        ({"train_images": np.zeros((12, 3, 5, 7), np.uint8)}, r"expected uint8 \[n, h, w\] or \[n, h, w, 3\]"),
        ({"train_labels": np.zeros((12, 14), np.uint8)}, r"expected one whole number per image .* several labels"),
        ({"train_labels": np.zeros(12)}, "expected one whole number per image"),
        ({"train_labels": np.zeros(11, np.int64)}, "12 train_images, but 11 train_labels"),
        ({"test_labels": None}, "has test_images, but no test_labels"),
        ({"train_labels": np.array([{}] * 12)}, "allow_pickle"),
    ],
)
def test_what_is_wrong_with_an_archive_is_said(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        npz(archive(tmp_path / "a.npz", **changes)).info()


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 cut off"])
def test_a_file_that_is_no_archive_is_said(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.npz' is not a readable \.npz file"):
        npz(tmp_path / "a.npz").info()


# --- what prompts call the classes ------------------------------------------------------------------------------------


def test_prompts_may_call_classes_by_other_names_and_labels_and_digest_stay(tmp_path: Path) -> None:
    plain = folder(tmp_path, {"RBC": 4, "lymph": 4})
    mapped = ImageFolder(ImageFolderOptions(path=str(tmp_path), prompt_names={"RBC": "red blood cell"}))
    listed = ImageFolder(ImageFolderOptions(path=str(tmp_path), prompt_names=["red blood cell", "lymph"]))
    for named in (mapped, listed):
        assert named.info().class_names == plain.info().class_names == ("RBC", "lymph")
        assert named.info().names_in_prompts == ("red blood cell", "lymph")
        assert named.info().digest == plain.info().digest
    assert plain.info().names_in_prompts == ("RBC", "lymph")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ({"RBCs": "red blood cell"}, "no class 'RBCs': did you mean 'RBC'?"),
        (["red blood cell"], "1 names for 2 classes"),
        ({"RBC": "  "}, "'  ' is empty"),
        ({"RBC": "red\u0007cell"}, "invisible characters"),
    ],
)
def test_prompt_names_that_do_not_fit_the_classes_are_refused(tmp_path: Path, names: Any, message: str) -> None:
    with pytest.raises(ClassListError) as caught:
        folder(tmp_path, {"RBC": 4, "lymph": 4}, prompt_names=names).info()
    assert message in str(caught.value)
    assert "the classes: 'RBC', 'lymph'" in str(caught.value)
    assert "\u0007" not in str(caught.value)


def test_the_bundled_data_takes_prompt_names_too() -> None:
    info = Bundled(BundledOptions(prompt_names={"river": "a river seen from above"}, max_per_class=1)).info()
    assert "a river seen from above" in info.names_in_prompts
    assert "a river seen from above" not in info.class_names
