"""The built-in datasets keep the contract that third parties are tested against."""

from __future__ import annotations

import io

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

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
from fgl.testing.contracts import DatasetContract


def picture(number: int) -> bytes:
    """A PNG that no other number gives."""
    buffer = io.BytesIO()
    pixels = np.random.default_rng(number).integers(0, 256, (9, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


class TestBundled(DatasetContract):
    make = staticmethod(lambda: Bundled(BundledOptions(subset="emoji")))


class TestImageFolder(DatasetContract):
    @pytest.fixture(autouse=True)
    def _folder(self, images, tmp_path):
        root = images(per_class=6, domains=("photo", "sketch"))
        self.make = lambda: ImageFolder(ImageFolderOptions(path=str(root)))


class TestParquet(DatasetContract):
    @pytest.fixture(autouse=True)
    def _file(self, tmp_path):
        images = [{"bytes": picture(number), "path": None} for number in range(30)]
        table = pa.table({"image": images, "label": [number % 3 for number in range(30)]})
        pq.write_table(table, tmp_path / "all.parquet")
        self.make = lambda: Parquet(ParquetOptions(path=str(tmp_path / "all.parquet")))


class TestNpz(DatasetContract):
    @pytest.fixture(autouse=True)
    def _file(self, tmp_path):
        draw, arrays = np.random.default_rng(0), {}
        for split, count in (("train", 24), ("test", 12)):
            arrays[f"{split}_images"] = draw.integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)
            arrays[f"{split}_labels"] = (np.arange(count) % 4)[:, None]
        np.savez(tmp_path / "some.npz", **arrays)
        self.make = lambda: Npz(NpzOptions(path=str(tmp_path / "some.npz")))


class TestHuggingFace(DatasetContract):
    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path):
        features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])})
        for split, count in (("train", 20), ("test", 10)):
            rows = {
                "image": [{"bytes": picture(k), "path": None} for k in range(count)],
                "label": [0, 1] * (count // 2),
            }
            (tmp_path / "data").mkdir(exist_ok=True)
            datasets.Dataset.from_dict(rows, features=features).to_parquet(tmp_path / "data" / f"{split}.parquet")
        self.make = lambda: HuggingFace(HuggingFaceOptions(path=str(tmp_path / "data")))


@pytest.fixture(autouse=True)
def _nothing(request, tmp_path):
    """An empty folder, for those that can be given one."""
    (tmp_path / "nothing").mkdir()
    if request.cls is TestImageFolder:
        request.cls.empty = staticmethod(lambda: ImageFolder(ImageFolderOptions(path=str(tmp_path / "nothing"))))
    if request.cls is TestParquet:
        request.cls.empty = staticmethod(lambda: Parquet(ParquetOptions(path=str(tmp_path / "nothing"))))
