"""What lies in a dataset's folder and is not read is named; files that are damaged, or made to do harm, are refused."""

from __future__ import annotations

import io
import os
import struct
import zipfile
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from fgl.contracts.dataset import ImageSet
from fgl.core.config import short_forms
from fgl.core.plugin_manager import PluginManager
from fgl.errors import BadImageError, DataError
from fgl.plugins.datasets.decode import decode
from fgl.plugins.datasets.imagefolder import ImageFolder
from fgl.plugins.datasets.npz import Npz
from fgl.plugins.datasets.options import ImageFolderOptions, NpzOptions, ParquetOptions
from fgl.plugins.datasets.parquet import Parquet


def encoded(image: Image.Image, kind: str = "PNG", **how: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **how)
    return buffer.getvalue()


def picture(number: int) -> bytes:
    return encoded(Image.fromarray(np.random.default_rng(number).integers(0, 256, (8, 8, 3), dtype=np.uint8)))


def put(root: Path, names: tuple[str, ...] = ("cat", "dog"), count: int = 4) -> Path:
    for place, name in enumerate(names):
        (root / name).mkdir(parents=True)
        for number in range(count):
            (root / name / f"{number}.png").write_bytes(picture(100 * place + number))
    return root


def folder(path: Path, **options: Any) -> ImageFolder:
    return ImageFolder(ImageFolderOptions(path=str(path), **options))


def parquet(path: Path, **options: Any) -> Parquet:
    return Parquet(ParquetOptions(path=str(path), **options))


def size(dataset: ImageFolder | Parquet, split: str) -> int:
    images: ImageSet | None = dataset.split(split)
    return 0 if images is None else len(images)


def rows(count: int = 8, **columns: Any) -> pa.Table:
    return pa.table({"image": [picture(n) for n in range(count)], "label": [n % 2 for n in range(count)], **columns})


# Folders


def test_pictures_that_are_not_read_are_counted_with_what_to_do(tmp_path: Path) -> None:
    put(tmp_path)
    (tmp_path / "cat" / "a.heic").write_bytes(b"\0\0\0\x18ftypheic")
    (tmp_path / "cat" / "b.dcm").write_bytes(b"\0" * 128 + b"DICM")
    (tmp_path / "dog" / "scan").write_bytes(b"\0" * 128 + b"DICM")
    (tmp_path / "dog" / "nameless").write_bytes(picture(7))
    (tmp_path / "dog" / "x.png_large").write_bytes(picture(8))
    (tmp_path / "dog" / "notes.txt").write_text("x")
    (tmp_path / "labels.csv").write_text("x")
    notes = folder(tmp_path).info().notes
    for said in (
        "1 file (cat/a.heic): HEIC is not read: convert it to JPEG or PNG",
        "2 files (cat/b.dcm, dog/scan): DICOM is not read: export it as PNG",
        "1 file (dog/nameless): PNG by content, but with no ending: rename to end in .png",
        "1 file (dog/x.png_large): PNG by content, but with the ending '.png_large'",
        "2 files that are not images (.csv 1, .txt 1)",
    ):
        assert any(said in note for note in notes), (said, notes)


def test_a_folder_of_whole_files_has_nothing_to_say(tmp_path: Path) -> None:
    put(tmp_path)
    (tmp_path / "cat" / "._0.png").write_bytes(b"mac")
    assert folder(tmp_path).info().notes == ()


def test_a_folder_of_dicom_alone_says_how_to_convert(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.dcm").write_bytes(b"\0" * 128 + b"DICM")
    with pytest.raises(DataError, match=r"holds no images: .*2 files .*DICOM is not read: export it as PNG.*dcm2pnm"):
        folder(tmp_path).info()


def test_links_that_lead_nowhere_are_unreadable_images(tmp_path: Path) -> None:
    put(tmp_path)
    for number in range(3):
        (tmp_path / "cat" / f"far{number}.png").symlink_to(f"/nowhere/{number}.png")
    with pytest.raises(BadImageError, match=r"far0\.png: No such file .*link to /nowhere/0\.png.*2 more"):
        folder(tmp_path).info()
    assert len(folder(tmp_path, skip_bad_images=True).info().skipped) == 3


def test_a_class_that_is_a_link_to_nowhere_is_not_left_out(tmp_path: Path) -> None:
    put(tmp_path)
    (tmp_path / "fox").symlink_to("/nowhere/fox")
    with pytest.raises(DataError, match=r"fox' is a link to '/nowhere/fox', which does not exist"):
        folder(tmp_path).info()


def test_a_third_folder_beside_train_and_test_is_named_and_left_out(tmp_path: Path) -> None:
    for split in ("train", "test", "extra"):
        put(tmp_path / split)
    dataset = folder(tmp_path)
    assert (size(dataset, "train"), size(dataset, "test")) == (8, 8)
    assert dataset.info().domains == ()
    assert "left out beside the splits: extra (8 images); 'train' and 'test' are used" in dataset.info().notes


def test_a_second_test_folder_is_named_and_left_out(tmp_path: Path) -> None:
    for split in ("train", "test", "val"):
        put(tmp_path / split)
    assert any("left out beside the splits: val (8 images)" in note for note in folder(tmp_path).info().notes)


def test_a_test_folder_among_domains_is_asked_about(tmp_path: Path) -> None:
    for domain in ("real", "sketch", "test"):
        put(tmp_path / domain)
    with pytest.raises(DataError, match=r"test' lies beside other folders \(real, sketch\): .* one more domain\?"):
        folder(tmp_path).info()


def test_test_images_inside_the_training_folder_are_refused(tmp_path: Path) -> None:
    put(tmp_path / "all" / "one")
    put(tmp_path / "all" / "two")
    put(tmp_path / "held" / "three")
    (tmp_path / "all" / "three").symlink_to(tmp_path / "held" / "three")
    with pytest.raises(DataError, match="in the training and the test split"):
        folder(tmp_path / "all", test_path=str(tmp_path / "held")).info()


def test_splits_below_a_single_folder_are_found(tmp_path: Path) -> None:
    for split in ("train", "test"):
        put(tmp_path / "archive" / split)
    assert size(folder(tmp_path), "test") == 8


def test_a_name_that_is_not_text_is_listed_with_escapes(tmp_path: Path) -> None:
    put(tmp_path)
    with open(os.path.join(os.fsencode(tmp_path), b"cat/caf\xe9\x1b[31m.png"), "wb") as file:
        file.write(b"broken")
    (name,) = folder(tmp_path, skip_bad_images=True).info().skipped
    assert name.endswith(r"cat/caf\xe9\x1b[31m.png")
    name.encode()


def test_a_domain_that_no_upload_could_name_is_refused(tmp_path: Path) -> None:
    pq.write_table(rows(domain=["a\n", "b"] * 4), tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"domain name 'a'|domain name .* invisible characters"):
        parquet(tmp_path / "a.parquet").info()


def test_a_pipe_is_no_dataset(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "p.parquet")
    with pytest.raises(DataError, match="neither a file nor a folder"):
        parquet(tmp_path / "p.parquet").info()


# Pixels


def noise(dtype: Any, high: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, high, (8, 8)).astype(dtype))


def test_integers_of_32_bits_are_stretched_whatever_their_range() -> None:
    assert decode(encoded(noise(np.int32, 200), "TIFF"), "x").getextrema() == ((0, 255),) * 3


@pytest.mark.parametrize(("high", "how"), [(256, "black"), (4096, "dark")])
def test_16_bit_images_that_come_out_black_or_dark_are_said(tmp_path: Path, high: int, how: str) -> None:
    put(tmp_path)
    (tmp_path / "cat" / "deep.png").write_bytes(encoded(noise(np.uint16, high)))
    (note,) = folder(tmp_path).info().notes
    assert "1 16-bit image" in note
    assert f"they come out {how}" in note


def test_a_16_bit_image_that_fills_its_range_is_nothing_to_say(tmp_path: Path) -> None:
    put(tmp_path)
    (tmp_path / "cat" / "deep.png").write_bytes(encoded(noise(np.uint16, 65536)))
    assert folder(tmp_path).info().notes == ()


def test_animations_and_stretched_images_are_said(tmp_path: Path) -> None:
    put(tmp_path)
    frames = [Image.new("L", (8, 8), value) for value in (1, 9)]
    (tmp_path / "cat" / "a.gif").write_bytes(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    (tmp_path / "cat" / "b.tif").write_bytes(encoded(noise(np.int32, 99), "TIFF"))
    stretched, several = folder(tmp_path).info().notes
    assert "1 image of 32 bits" in stretched
    assert "1 image with several frames" in several


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("interlaced", [0, 1])
def test_a_png_with_fewer_pixels_than_it_states_is_truncated(interlaced: int) -> None:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 13000, 13000, 8, 2, 0, 0, interlaced))
    data = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 99)) + chunk(b"IEND", b"")
    with pytest.raises(BadImageError, match="it is truncated"):
        decode(data, "bomb")


def test_a_small_interlaced_png_is_whole() -> None:
    passes = [(1, 1), (0, 0), (1, 1), (1, 1), (2, 1), (1, 2), (3, 1)]  # columns, rows of a 3x3 image in Adam7
    rows_ = b"".join(b"\0" + bytes(columns) for columns, count in passes for _ in range(count) if columns)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 3, 3, 8, 0, 0, 0, 1))
    data = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows_)) + chunk(b"IEND", b"")
    assert decode(data, "x").size == (3, 3)


def test_what_is_not_an_image_is_called_by_its_name() -> None:
    with pytest.raises(BadImageError, match="Git LFS pointer: the image itself was not downloaded: run git lfs pull"):
        decode(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "x.png")


# Parquet


def test_validation_is_the_test_split(tmp_path: Path) -> None:
    pq.write_table(rows(), tmp_path / "train-00000-of-00001.parquet")
    pq.write_table(rows(6), tmp_path / "validation-00000-of-00001.parquet")
    assert (size(parquet(tmp_path), "train"), size(parquet(tmp_path), "test")) == (8, 6)


def test_files_that_are_no_split_and_missing_shards_are_named(tmp_path: Path) -> None:
    for name in ("train-00000-of-00003", "train-00002-of-00003", "test", "validation", "unlabelled"):
        pq.write_table(rows(), tmp_path / f"{name}.parquet")
    missing, left = parquet(tmp_path).info().notes
    assert "train is incomplete: 2 of 3 shards are present; missing train-00001-of-00003.parquet" in missing
    assert left == "left out beside the splits: unlabelled (1 file), validation (1 file)"


def test_shards_of_two_ways_to_cut_are_refused(tmp_path: Path) -> None:
    for name in ("train-00000-of-00001", "train-00000-of-00002", "train-00001-of-00002"):
        pq.write_table(rows(), tmp_path / f"{name}.parquet")
    with pytest.raises(DataError, match="mixes train in 1 and in 2 shards"):
        parquet(tmp_path).info()


@pytest.mark.parametrize("place", ["data/train-00000-of-00001", "default/train/0000", "train/0000", "mine/train"])
def test_parquet_is_found_where_the_hub_leaves_it(tmp_path: Path, place: str) -> None:
    path = tmp_path / f"{place}.parquet"
    path.parent.mkdir(parents=True)
    pq.write_table(rows(), path)
    (tmp_path / "README.md").write_text("---\nlicense: mit\n---\n")
    assert short_forms.kind_of("dataset", str(tmp_path), PluginManager.load().registry) == "parquet"
    assert size(parquet(tmp_path), "train") + size(parquet(tmp_path), "test") == 8


def test_two_configurations_are_asked_about(tmp_path: Path) -> None:
    for name in ("small", "large"):
        (tmp_path / name).mkdir()
        pq.write_table(rows(), tmp_path / name / "train.parquet")
    with pytest.raises(DataError, match="holds several datasets, in 'large', 'small'; give one of these folders"):
        parquet(tmp_path).info()


def test_views_of_newer_writers_are_texts_and_bytes(tmp_path: Path) -> None:
    images = pa.array([picture(n) for n in range(8)], pa.binary_view())
    labels = pa.array(["cat", "dog"] * 4, pa.string_view())
    pq.write_table(pa.table({"image": images, "label": labels}), tmp_path / "train.parquet")
    assert parquet(tmp_path).info().class_names == ("cat", "dog")


def test_labels_that_are_not_utf8_are_named_by_file_row_and_column(tmp_path: Path) -> None:
    raw = pa.array([b"dog", b"caf\xe9"] * 4, pa.binary())
    labels = pa.StringArray.from_buffers(8, *raw.buffers()[1:])
    pq.write_table(rows().set_column(1, "label", labels), tmp_path / "train.parquet")
    with pytest.raises(DataError, match=r"train\.parquet row 1: column 'label' holds b'caf\\xe9', which is not UTF-8"):
        parquet(tmp_path).info()


def test_any_flipped_byte_of_a_parquet_file_is_one_error_or_none(tmp_path: Path) -> None:
    pq.write_table(rows(4, domain=["é", "b"] * 2), tmp_path / "a.parquet")
    whole = (tmp_path / "a.parquet").read_bytes()
    draw = np.random.default_rng(0)
    for place in [*draw.integers(0, len(whole), 60), *range(len(whole) - 150, len(whole), 3)]:
        data = bytearray(whole)
        data[place] ^= 1 << int(draw.integers(8))
        (tmp_path / "b.parquet").write_bytes(data)
        with suppress(DataError):
            parquet(tmp_path / "b.parquet", skip_bad_images=True).info()


def test_a_parquet_file_that_becomes_gigabytes_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fgl.plugins.datasets.tables._FREE", 1 << 20)
    pq.write_table(pa.table({"image": [b"x" * 10_000] * 2000, "label": [0, 1] * 1000}), tmp_path / "a.parquet")
    assert (tmp_path / "a.parquet").stat().st_size < 50_000
    with pytest.raises(DataError, match="becomes more than 1,048,576 in memory"):
        parquet(tmp_path / "a.parquet").info()


# Arrays


def test_an_array_that_states_petabytes_is_refused(tmp_path: Path) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "|u1", "fortran_order": False, "shape": (10**9, 1000, 1000, 3)}
    )
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("train_images.npy", header.getvalue())
    with pytest.raises(DataError, match=r"train_images\.npy states 3,000,000,000,000,000 bytes and holds 0"):
        Npz(NpzOptions(path=str(tmp_path / "a.npz"))).info()


def test_an_array_of_nothing_but_zeros_is_refused_where_it_is_large(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fgl.plugins.datasets.npz._FREE", 1 << 20)
    np.savez_compressed(tmp_path / "a.npz", train_images=np.zeros((1000, 64, 64), np.uint8), train_labels=[0, 1] * 500)
    with pytest.raises(DataError, match="images do not compress like that"):
        Npz(NpzOptions(path=str(tmp_path / "a.npz"))).info()


def test_an_array_split_that_is_not_used_is_named(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (8, 4, 4), np.uint8)
    splits = {f"{s}_{p}": v for s in ("train", "val", "test") for p, v in (("images", pixels), ("labels", [0, 1] * 4))}
    np.savez(tmp_path / "a.npz", **splits)
    assert Npz(NpzOptions(path=str(tmp_path / "a.npz"))).info().notes == ("left out beside the splits: val",)


# The datasets library


def test_labels_that_are_not_utf8_are_named_there_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    from fgl.plugins.datasets.hf import HuggingFace
    from fgl.plugins.datasets.options import HuggingFaceOptions

    raw = pa.array([b"dog", b"caf\xe9"] * 4, pa.binary())
    labels = pa.StringArray.from_buffers(8, *raw.buffers()[1:])
    (tmp_path / "data").mkdir()
    pq.write_table(rows().set_column(1, "label", labels), tmp_path / "data" / "train.parquet")
    with pytest.raises(
        DataError, match=r"train row 1: column 'label' holds b'caf\\xe9'|cannot be read by the datasets"
    ):
        HuggingFace(HuggingFaceOptions(path=str(tmp_path / "data"), image_column="image")).info()


def test_a_split_of_the_library_that_is_not_used_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    from fgl.plugins.datasets.hf import HuggingFace
    from fgl.plugins.datasets.options import HuggingFaceOptions

    struct_type = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    for split in ("train", "test", "validation"):
        cells = [{"bytes": picture(n), "path": None} for n in range(8)]
        path = tmp_path / "repo" / "data" / f"{split}-00000-of-00001.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table({"image": pa.array(cells, struct_type), "label": [0, 1] * 4}), path)
    dataset = HuggingFace(HuggingFaceOptions(path=str(tmp_path / "repo")))
    assert dataset.info().notes == ("left out beside the splits: validation",)
