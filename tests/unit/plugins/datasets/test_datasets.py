"""Datasets of one's own: folders, parquet files, and what the `datasets` library reads."""

from __future__ import annotations

import io
import json
import os
import struct
import unicodedata
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from transformers.image_utils import load_image

from fgl.contracts.dataset import ImageSet
from fgl.errors import BadImageError, DataError, FGLError
from fgl.plugins.datasets import fgl_datasets
from fgl.plugins.datasets.decode import decode
from fgl.plugins.datasets.holdout import hold_out
from fgl.plugins.datasets.imagefolder import ImageFolder
from fgl.plugins.datasets.options import HuggingFaceOptions, ImageFolderOptions, ParquetOptions
from fgl.plugins.datasets.parquet import Parquet
from tests.helpers.mutants import mutants

ODD_NAMES = ["T-shirt ∕ top", 'it\'s "quoted"', "猫", "two  words", "naïve"]


def encoded(image: Image.Image, kind: str = "PNG", **how: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **how)
    return buffer.getvalue()


def picture(number: int, kind: str = "PNG") -> bytes:
    """A picture that no other number gives."""
    pixels = np.random.default_rng(number).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return encoded(Image.fromarray(pixels), kind)


def put(folder: Path, count: int, start: int = 0) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(start, start + count):
        (folder / f"{number:03}.png").write_bytes(picture(number))


def table(count: int, classes: int = 2, **columns: list[Any]) -> pa.Table:
    content: dict[str, Any] = {
        "image": [picture(number) for number in range(count)],
        "label": [number % classes for number in range(count)],
    }
    return pa.table({**content, **columns})


def split_of(dataset: ImageFolder | Parquet, name: str) -> ImageSet:
    images = dataset.split(name)
    assert images is not None
    return images


def folder(path: Path, **options: Any) -> ImageFolder:
    return ImageFolder(ImageFolderOptions(path=str(path), **options))


def parquet(path: Path, **options: Any) -> Parquet:
    return Parquet(ParquetOptions(path=str(path), **options))


def test_names_of_the_built_ins() -> None:
    assert [component.name for component in fgl_datasets()] == ["bundled", "imagefolder", "parquet", "npz", "hf"]


# Decoding


def one_pixel(data: bytes) -> tuple[int, ...]:
    image = decode(data, "x")
    assert image.mode == "RGB"
    pixel = image.getpixel((0, 0))
    assert isinstance(pixel, tuple)
    return pixel


def test_every_kind_of_pixel_becomes_rgb() -> None:
    size = (2, 2)
    assert one_pixel(encoded(Image.new("L", size, 7))) == (7, 7, 7)
    assert one_pixel(encoded(Image.new("1", size, 1))) == (255, 255, 255)
    assert one_pixel(encoded(Image.new("RGB", size, (1, 2, 3)).quantize())) == (1, 2, 3)
    assert one_pixel(encoded(Image.fromarray(np.full(size, 0x7FFF, np.uint16)))) == (127, 127, 127)
    assert one_pixel(encoded(Image.fromarray(np.full(size, 0.5, np.float32)), "TIFF")) == (128, 128, 128)
    assert one_pixel(encoded(Image.fromarray(np.array([[100000, -5]], np.int32)), "TIFF")) == (255, 255, 255)
    assert one_pixel(encoded(Image.new("CMYK", size, (0, 0, 0, 255)), "TIFF")) == (0, 0, 0)


def test_transparency_is_left_out_as_transformers_does_when_it_loads_a_file(tmp_path: Path) -> None:
    palette = Image.new("P", (2, 2), 0)
    palette.putpalette([200, 0, 0])
    for data in (
        encoded(Image.new("RGBA", (2, 2), (200, 3, 0, 0))),
        encoded(Image.new("LA", (2, 2), (9, 100))),
        encoded(palette, transparency=0),
    ):
        path = tmp_path / "image.png"
        path.write_bytes(data)
        assert one_pixel(data) == load_image(str(path)).getpixel((0, 0))


def test_a_photograph_is_turned_as_its_exif_says() -> None:
    image = Image.new("RGB", (4, 2), (255, 0, 0))
    exif = Image.Exif()
    exif[0x0112] = 6
    assert decode(encoded(image, "JPEG", exif=exif), "x").size == (2, 4)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_damaged_exif_data_does_not_cost_the_image() -> None:
    data = encoded(Image.new("RGB", (4, 2)), "PNG", exif=b"Exif\0\0MM\0*\0\0\xff\xff")
    assert decode(data, "x").size == (4, 2)


@pytest.mark.parametrize("data", [b"", b"not an image", picture(0)[:60], picture(1, "JPEG")[:100]])
def test_what_cannot_be_decoded_is_named(data: bytes) -> None:
    with pytest.raises(BadImageError, match=r"cannot read the image shelf/7\.png: .+; replace or remove it"):
        decode(data, "shelf/7.png")


@pytest.mark.filterwarnings("ignore::UserWarning")  # of Pillow, which says what it passes over
def test_any_mutant_of_a_picture_is_decoded_or_named() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    sound = []
    for kind in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM"):
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, kind)
        sound.append(buffer.getvalue())
    for mutant in mutants(sound, 0, 300):
        said = ""
        try:
            assert decode(mutant, "x").mode == "RGB"
        except BadImageError as error:
            said = str(error)
        assert "\n" not in said, mutant


def test_a_decompression_bomb_is_refused() -> None:
    bomb = bytearray(picture(0))
    bomb[16:24] = struct.pack(">II", 60000, 60000)
    with pytest.raises(BadImageError):
        decode(bytes(bomb), "bomb")


# Hold-out


def test_the_hold_out_takes_its_share_of_every_class_and_domain() -> None:
    labels = np.repeat(np.arange(3), 100)
    domains = ["a", "b", "b", "b"] * 75
    train, test = hold_out(labels, domains, 0.2, seed=0)
    assert sorted(train + test) == list(range(300))
    assert Counter(labels[test].tolist()) == {0: 20, 1: 20, 2: 20}
    assert Counter(domains[index] for index in test) == {"a": 15, "b": 45}


def test_the_hold_out_is_the_same_for_a_seed_and_another_for_another() -> None:
    labels = np.repeat(np.arange(3), 100)
    assert hold_out(labels, None, 0.2, 0) == hold_out(labels, None, 0.2, 0)
    assert hold_out(labels, None, 0.2, 0) != hold_out(labels, None, 0.2, 1)


def test_the_hold_out_leaves_no_class_untrained_and_tests_what_it_can() -> None:
    train, test = hold_out(np.array([0, 1, 1, 2, 2, 2]), None, 0.9, seed=0)
    assert set(np.array([0, 1, 1, 2, 2, 2])[train].tolist()) == {0, 1, 2}
    assert set(np.array([0, 1, 1, 2, 2, 2])[test].tolist()) == {1, 2}


# Image folders


def test_class_folders_may_have_any_name(tmp_path: Path) -> None:
    for number, name in enumerate(ODD_NAMES):
        put(tmp_path / name, 5, 10 * number)
    dataset = folder(tmp_path)
    assert dataset.info().class_names == tuple(sorted(ODD_NAMES))
    train = split_of(dataset, "train")
    for index in range(len(train)):
        name = dataset.info().class_names[int(train.labels[index])]
        assert Path(train.name(index)).parent == tmp_path / name
        shown = np.asarray(train.image(index))
        assert np.array_equal(shown, np.asarray(decode(Path(train.name(index)).read_bytes(), "")))
    assert (len(train), len(split_of(dataset, "test"))) == (20, 5)
    assert train.labels.dtype == np.int64
    assert dataset.split("public") is None


def test_two_levels_of_folders_are_domains_and_classes(tmp_path: Path) -> None:
    for number, (domain, name) in enumerate((d, c) for d in ("real", "sketch") for c in ("cat", "dog")):
        put(tmp_path / domain / name, 4, 10 * number)
    dataset = folder(tmp_path, test_fraction=0.5)
    assert dataset.info().domains == ("real", "sketch")
    assert dataset.info().class_names == ("cat", "dog")
    train = split_of(dataset, "train")
    assert train.domains is not None
    assert Counter(train.domains) == {"real": 4, "sketch": 4}
    assert all(f"/{domain}/" in train.name(index) for index, domain in enumerate(train.domains))


@pytest.mark.parametrize("test", ["test", "val"])
def test_split_folders_are_found(tmp_path: Path, test: str) -> None:
    for name in ("cat", "dog"):
        put(tmp_path / "train" / name, 3)
        put(tmp_path / test / name, 2, 50)
    dataset = folder(tmp_path)
    assert dataset.info().class_names == ("cat", "dog")
    assert len(split_of(dataset, "train")) == 6
    assert all(f"/{test}/" in split_of(dataset, "test").name(index) for index in range(4))


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    for name in ("train", "bus"):
        put(tmp_path / name, 3)
    assert folder(tmp_path).info().class_names == ("bus", "train")


def test_the_test_split_may_lie_elsewhere(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        put(tmp_path / "ours" / name, 3)
        put(tmp_path / "theirs" / name, 2, 50)
    dataset = folder(tmp_path / "ours", test_path=str(tmp_path / "theirs"))
    assert (len(split_of(dataset, "train")), len(split_of(dataset, "test"))) == (6, 4)


def test_hidden_files_and_other_files_are_no_images(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        put(tmp_path / name, 3)
        (tmp_path / name / "._000.png").write_bytes(b"mac")
        (tmp_path / name / "notes.txt").write_text("x")
    (tmp_path / ".cache").mkdir()
    assert len(split_of(folder(tmp_path), "train")) == 4


def broken(change: Callable[[Path], None]) -> Any:
    return pytest.param(change, id=change.__name__)


def empty(root: Path) -> None:
    """'.*' is empty; expected folders named after the classes"""


def without_images(root: Path) -> None:
    """holds no images: 1 folders, none with a file that ends in"""
    (root / "cat").mkdir()
    (root / "cat" / "readme.txt").write_text("x")


def only_other_files(root: Path) -> None:
    r"""holds no images \(it holds: a.csv\)"""
    (root / "a.csv").write_text("x")


def one_class(root: Path) -> None:
    """found only one class, 'cat'; a classifier needs at least two"""
    put(root / "cat", 3)


def flat(root: Path) -> None:
    """000.png' lies outside any class folder"""
    put(root, 3)


def empty_class(root: Path) -> None:
    """the folder '.*/dog' holds no images; add some or remove it"""
    put(root / "cat", 3)
    (root / "dog").mkdir()


def mixed_levels(root: Path) -> None:
    """mixes two layouts: 'cat' holds images, 'real' holds folders of images"""
    put(root / "cat", 3)
    put(root / "real" / "dog", 3)


def too_deep(root: Path) -> None:
    """images three folders below"""
    put(root / "a" / "b" / "c", 3)


def two_spellings(root: Path) -> None:
    """the class name 'é' occurs twice"""
    put(root / unicodedata.normalize("NFC", "é"), 3)
    put(root / unicodedata.normalize("NFD", "é"), 3)


def unknown_test_class(root: Path) -> None:
    r"""not in the list: 'fox' \(such as .*test/fox/000.png'\); the list: cat, dog"""
    put(root / "train" / "cat", 3)
    put(root / "train" / "dog", 3)
    put(root / "test" / "fox", 3)


def only_a_test_folder(root: Path) -> None:
    """holds test but no train folder"""
    put(root / "test" / "cat", 3)


def layouts_differ(root: Path) -> None:
    """'.*train' holds class folders, '.*test' domain/class folders"""
    put(root / "train" / "cat", 3)
    put(root / "train" / "dog", 3)
    put(root / "test" / "real" / "cat", 3)


def nothing_to_test(root: Path) -> None:
    """the test split holds no images"""
    put(root / "cat", 1)
    put(root / "dog", 1)


@pytest.mark.parametrize(
    "change",
    [
        broken(empty),
        broken(without_images),
        broken(only_other_files),
        broken(one_class),
        broken(flat),
        broken(empty_class),
        broken(mixed_levels),
        broken(too_deep),
        broken(two_spellings),
        broken(unknown_test_class),
        broken(only_a_test_folder),
        broken(layouts_differ),
        broken(nothing_to_test),
    ],
)
def test_what_is_wrong_with_a_folder_is_said(tmp_path: Path, change: Callable[[Path], None]) -> None:
    change(tmp_path)
    with pytest.raises(DataError, match=change.__doc__):
        folder(tmp_path).info()


def test_a_missing_path_is_absolute_and_corrected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / "animals" / "cat", 1)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError) as caught:
        folder(Path("animlas/train")).info()
    assert f"does not exist: '{tmp_path}/animlas/train'; did you mean '{tmp_path}/animals'?" in str(caught.value)


def test_a_broken_image_stops_the_run_early_and_counts_the_others(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        put(tmp_path / name, 4)
    for path in ("cat/000.png", "cat/001.png", "dog/003.png"):
        (tmp_path / path).write_bytes(picture(0)[:50])
    with pytest.raises(BadImageError) as caught:
        folder(tmp_path).info()
    assert f"cannot read the image {tmp_path}/cat/000.png" in str(caught.value)
    assert "2 more could not be read" in str(caught.value)


def test_broken_images_can_be_left_out_and_are_listed(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        put(tmp_path / name, 4)
    (tmp_path / "cat/000.png").write_bytes(b"")
    dataset = folder(tmp_path, skip_bad_images=True)
    assert dataset.info().skipped == (f"{tmp_path}/cat/000.png",)
    splits = [split_of(dataset, "train"), split_of(dataset, "test")]
    assert sum(len(images) for images in splits) == 7
    for images in splits:
        for index in range(len(images)):
            images.image(index)


def test_a_class_of_which_nothing_can_be_read_is_not_trained_on_alone(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        put(tmp_path / name, 4)
    for path in (tmp_path / "cat").iterdir():
        path.write_bytes(b"")
    with pytest.raises(DataError, match="the train split holds only the class 'dog'"):
        folder(tmp_path, skip_bad_images=True).info()


def test_an_image_that_vanishes_is_named(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        put(tmp_path / name, 4)
    train = split_of(folder(tmp_path), "train")
    Path(train.name(0)).unlink()
    with pytest.raises(BadImageError, match=train.name(0)):
        train.image(0)


# The digest


def test_the_digest_stands_for_bytes_and_labels_and_not_for_the_place(tmp_path: Path) -> None:
    for place in ("here", "there"):
        for name in ("cat", "dog"):
            put(tmp_path / place / name, 4)
    here, there = (folder(tmp_path / place) for place in ("here", "there"))
    assert here.info().digest == there.info().digest
    same_size = bytearray((tmp_path / "there/cat/000.png").read_bytes())
    assert folder(tmp_path / "there", seed=1).info().digest != here.info().digest
    (tmp_path / "there/cat/000.png").write_bytes(picture(99))
    assert folder(tmp_path / "there").info().digest != here.info().digest
    (tmp_path / "there/cat/000.png").write_bytes(bytes(same_size))
    assert folder(tmp_path / "there").info().digest == here.info().digest
    (tmp_path / "there/cat").rename(tmp_path / "there/cow")
    assert folder(tmp_path / "there").info().digest != here.info().digest


@pytest.mark.parametrize("column", ["image", "label", "domain"])
def test_the_digest_changes_with_one_cell(tmp_path: Path, column: str) -> None:
    rows = table(10, domain=["a", "b"] * 5)
    pq.write_table(rows, tmp_path / "a.parquet")
    values = rows.column(column).to_pylist()
    values[3] = {"image": picture(77), "label": 0, "domain": "a"}[column]
    position = rows.column_names.index(column)
    pq.write_table(rows.set_column(position, column, pa.array(values)), tmp_path / "b.parquet")
    assert parquet(tmp_path / "a.parquet").info().digest != parquet(tmp_path / "b.parquet").info().digest


# Parquet


def test_a_folder_of_parquet_files_with_its_description(tmp_path: Path) -> None:
    names = ["T-shirt/top", 'it\'s "quoted"', "猫"]
    pq.write_table(table(30, 3), tmp_path / "train.parquet")
    pq.write_table(table(6, 3), tmp_path / "test.parquet")
    pq.write_table(table(3, 3), tmp_path / "public.parquet")
    (tmp_path / "meta.json").write_text(json.dumps({"class_names": names, "license": "MIT"}), encoding="utf-8")
    dataset = parquet(tmp_path)
    assert dataset.info().class_names == tuple(names)
    assert dataset.info().license == "MIT"
    assert [len(split_of(dataset, name)) for name in ("train", "test", "public")] == [30, 6, 3]
    train = split_of(dataset, "train")
    assert np.array_equal(np.asarray(train.image(4)), np.asarray(decode(picture(4), "")))
    assert train.name(4) == f"{tmp_path}/train.parquet row 4"


def test_shards_are_read_in_order_and_rows_named_by_file(tmp_path: Path) -> None:
    pq.write_table(table(4), tmp_path / "train-00000-of-00002.parquet")
    pq.write_table(table(4), tmp_path / "train-00001-of-00002.parquet")
    pq.write_table(table(4), tmp_path / "test.parquet")
    train = split_of(parquet(tmp_path), "train")
    assert train.name(5) == f"{tmp_path}/train-00001-of-00002.parquet row 1"
    assert np.array_equal(np.asarray(train.image(5)), np.asarray(decode(picture(1), "")))


def test_a_single_file_is_split_and_its_texts_are_the_classes(tmp_path: Path) -> None:
    rows = table(20, label=["dog", "T-shirt/top"] * 10, domain=["x", "y"] * 10)
    pq.write_table(rows, tmp_path / "mine.parquet")
    dataset = parquet(tmp_path / "mine.parquet")
    assert dataset.info().name == "mine"
    assert dataset.info().class_names == ("T-shirt/top", "dog")
    assert dataset.info().domains == ("x", "y")
    assert np.bincount(split_of(dataset, "test").labels).tolist() == [2, 2]


def test_integers_without_names_are_numbered(tmp_path: Path) -> None:
    pq.write_table(table(9, 3), tmp_path / "a.parquet")
    assert parquet(tmp_path / "a.parquet").info().class_names == ("class 0", "class 1", "class 2")


def test_categories_of_pandas_are_texts(tmp_path: Path) -> None:
    labels = pa.array(["dog", "cat"] * 5).dictionary_encode()
    pq.write_table(table(10).set_column(1, "label", labels), tmp_path / "a.parquet")
    assert parquet(tmp_path / "a.parquet").info().class_names == ("cat", "dog")


def test_columns_may_be_called_otherwise(tmp_path: Path) -> None:
    rows = table(10).rename_columns(["img", "y"]).append_column("site", pa.array(["n", "s"] * 5))
    pq.write_table(rows, tmp_path / "a.parquet")
    dataset = parquet(tmp_path / "a.parquet", image_column="img", label_column="y", domain_column="site")
    assert dataset.info().domains == ("n", "s")


def write(path: Path, rows: pa.Table, meta: object = None) -> None:
    pq.write_table(rows, path / "train.parquet")
    if meta is not None:
        (path / "meta.json").write_text(json.dumps(meta))


NAMES = {"class_names": ["cat", "dog"]}


@pytest.mark.parametrize(
    ("rows", "meta", "message"),
    [
        (table(4).drop_columns(["label"]), None, r"has no column 'label'; it has 'image'; set label_column"),
        (
            table(4).rename_columns(["img", "label"]),
            None,
            r"no column 'image'; it has 'img', 'label'; set image_column",
        ),
        (table(4, image=["a.png"] * 4), None, "column 'image' holds string; expected encoded images"),
        (table(4, label=[0.5] * 4), None, "column 'label' holds double; expected integers or texts"),
        (table(4, label=[0, None, 1, 0]), None, "row 1: column 'label' is empty"),
        (table(4, 4), NAMES, r"row 2: label 2 is outside 0\.\.1 \(2 class names\)"),
        (table(4, label=[0, 1, -1, 0]), NAMES, r"row 2: label -1 is outside 0\.\.1 .*without labels"),
        (
            table(4, label=["cat", "fox"] * 2),
            NAMES,
            r"no images of 'dog'; not in the list: 'fox' .*row 1\); the list: cat, dog",
        ),
        (table(4, 1), None, "found only one class, 'class 0'"),
        (table(4, 1), NAMES, "holds only the class 'cat'"),
        (table(4), {"class_names": ["cat", "cat"]}, "the class name 'cat' occurs twice"),
        (table(4), {"class_names": ["cat", " "]}, "' ' is not a class name"),
        (table(4), {"class_names": "cat"}, "class_names is a list of texts"),
        (table(2).slice(0, 0), NAMES, "the train split holds no images"),
        (table(4, label=[0, 10**9, 1, 0]), None, "label 1000000000 is too high"),
        (table(4, image=[picture(0), None, picture(1), picture(2)]), NAMES, "train.parquet row 1: it is empty"),
    ],
)
def test_what_is_wrong_with_a_table_is_said(tmp_path: Path, rows: pa.Table, meta: object, message: str) -> None:
    write(tmp_path, rows, meta)
    with pytest.raises(DataError, match=message):
        parquet(tmp_path).info()


@pytest.mark.parametrize("content", [b"", b"PAR1 but not really", b"a,b\n1,2\n"])
def test_a_file_that_is_not_parquet_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.parquet").write_bytes(content)
    with pytest.raises(DataError, match=r"x\.parquet' is not a readable parquet file"):
        parquet(tmp_path / "x.parquet").info()


def test_a_folder_without_train_lists_what_it_holds(tmp_path: Path) -> None:
    pq.write_table(table(4), tmp_path / "data.parquet")
    with pytest.raises(DataError, match=r"has no train\.parquet .* it holds: data\.parquet"):
        parquet(tmp_path).info()


def test_an_empty_test_split_is_refused(tmp_path: Path) -> None:
    write(tmp_path, table(4), NAMES)
    pq.write_table(table(4).slice(0, 0), tmp_path / "test.parquet")
    with pytest.raises(DataError, match="the test split holds no images"):
        parquet(tmp_path).info()


def test_the_files_are_read_once(tmp_path: Path) -> None:
    write(tmp_path, table(10), NAMES)
    dataset = parquet(tmp_path)
    digest = dataset.info().digest
    (tmp_path / "train.parquet").unlink()
    assert dataset.info().digest == digest
    assert split_of(dataset, "train") is dataset.split("train")
    split_of(dataset, "train").image(0)


# The datasets library


def rows_for_datasets(count: int = 12) -> Any:
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {
            "picture": datasets.Image(),
            "kind": datasets.ClassLabel(names=["T-shirt/top", "猫"]),
            "domain": datasets.Value("string"),
        }
    )
    return datasets.Dataset.from_dict(
        {
            "picture": [{"bytes": picture(number), "path": None} for number in range(count)],
            "kind": [number % 2 for number in range(count)],
            "domain": ["a", "b", "b"] * (count // 3),
        },
        features=features,
    )


def hub(path: Path | str, **options: Any) -> Any:
    from fgl.plugins.datasets.hf import HuggingFace

    return HuggingFace(HuggingFaceOptions(path=str(path), **options))


def test_a_saved_dataset_is_read_and_its_columns_found(tmp_path: Path) -> None:
    rows_for_datasets().save_to_disk(str(tmp_path / "saved"))
    dataset = hub(tmp_path / "saved", test_fraction=0.5)
    assert dataset.info().class_names == ("T-shirt/top", "猫")
    assert dataset.info().domains == ("a", "b")
    train = dataset.split("train")
    assert np.bincount(train.labels).tolist() == [3, 3]
    assert {train.image(index).tobytes() for index in range(6)} <= {
        decode(picture(number), "").tobytes() for number in range(12)
    }


def test_a_path_in_a_saved_dataset_that_is_no_file_is_an_image_that_cannot_be_read(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    os.mkfifo(tmp_path / "pipe")
    cells = [{"bytes": None, "path": str(tmp_path / "pipe")}, {"bytes": None, "path": "/dev/zero"}] * 2
    # as it lies in the table: the library's own kind of column would read the files when they are saved
    cell = {"bytes": datasets.Value("binary"), "path": datasets.Value("string")}
    features = datasets.Features({"image": cell, "label": datasets.ClassLabel(names=["a", "b"])})
    rows = datasets.Dataset.from_dict({"image": cells, "label": [0, 1, 0, 1]}, features)
    rows.save_to_disk(str(tmp_path / "saved"))
    with pytest.raises(FGLError, match="not a regular file"):
        hub(tmp_path / "saved", test_fraction=0.5).info()


def test_splits_of_a_saved_dataset_are_used(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    both = datasets.DatasetDict({"train": rows_for_datasets(12), "validation": rows_for_datasets(6)})
    both.save_to_disk(str(tmp_path / "saved"))
    assert len(hub(tmp_path / "saved").split("test")) == 6
    with pytest.raises(DataError, match="no split 'test'; it has train, validation; set test_split"):
        hub(tmp_path / "saved", test_split="test").info()
    with pytest.raises(DataError, match="no split 'training'; it has train, validation; set train_split"):
        hub(tmp_path / "saved", train_split="training").info()
    with pytest.raises(DataError, match=r"no column 'label'; it has picture \(Image\), kind \(ClassLabel\)"):
        hub(tmp_path / "saved", label_column="label").info()


def test_what_datasets_writes_to_parquet_needs_no_description(tmp_path: Path) -> None:
    rows_for_datasets().to_parquet(str(tmp_path / "train.parquet"))
    dataset = parquet(tmp_path, image_column="picture", label_column="kind")
    assert dataset.info().class_names == ("T-shirt/top", "猫")
    assert split_of(dataset, "train").image(0).size == (8, 8)


def test_a_local_folder_that_load_dataset_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    for name in ("cat", "dog"):
        put(tmp_path / "data" / "train" / name, 3)
    dataset = hub(tmp_path / "data")
    assert dataset.info().class_names == ("cat", "dog")
    assert dataset.split("train").image(0).size == (8, 8)


def test_a_dataset_on_the_hub_without_a_network_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(DataError, match=r"'nobody/nothing-at-all' cannot be loaded .*save_to_disk"):
        hub("nobody/nothing-at-all").info()


def test_a_missing_local_folder_is_not_taken_for_a_hub_id(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the dataset folder does not exist"):
        hub(tmp_path / "nowhere" / "data").info()


def test_a_dataset_without_images_lists_its_columns(tmp_path: Path) -> None:
    rows_for_datasets().remove_columns("picture").save_to_disk(str(tmp_path / "saved"))
    with pytest.raises(DataError, match=r"which column holds the images\? It has kind \(ClassLabel\)"):
        hub(tmp_path / "saved").info()


def folder_of(root: Path, classes: dict[str, int]) -> Path:
    """Class folders with so many 8x8 images each."""
    for name, count in classes.items():
        (root / name).mkdir(parents=True)
        for number in range(count):
            Image.new("RGB", (8, 8), (number, 0, 0)).save(root / name / f"{number}.png")
    return root


def test_a_client_may_hold_one_class_of_those_that_it_states(tmp_path: Path) -> None:
    options = ImageFolderOptions(
        path=str(folder_of(tmp_path / "mine", {"fox": 5})), holds="train", class_names=["cat", "dog", "fox"]
    )
    data = ImageFolder(options)
    assert data.info().class_names == ("cat", "dog", "fox")
    train = data.split("train")
    assert train is not None
    assert train.labels.tolist() == [2] * 5  # all five: a client's images are not held out for a test
    assert data.split("test") is None
    with pytest.raises(DataError, match="state them all in class_names"):
        ImageFolder(ImageFolderOptions(path=str(folder_of(tmp_path / "other", {"cat": 2})))).info()


def test_a_server_may_hold_test_images_alone(tmp_path: Path) -> None:
    path = folder_of(tmp_path / "tests", {"cat": 3, "dog": 2})
    data = ImageFolder(ImageFolderOptions(path=str(path), holds="test"))
    test = data.split("test")
    assert test is not None
    assert len(test) == 5
    assert data.split("train") is None


def test_a_class_outside_the_stated_ones_is_named(tmp_path: Path) -> None:
    path = folder_of(tmp_path / "mine", {"fox": 1, "wolf": 1})
    with pytest.raises(DataError, match=r"no images of 'cat'; not in the list: 'wolf' .*the list: cat, fox"):
        ImageFolder(ImageFolderOptions(path=str(path), holds="train", class_names=["cat", "fox"])).info()
