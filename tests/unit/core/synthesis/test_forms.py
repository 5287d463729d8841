"""How items lie in a shard: what is written is what is read, and other libraries can read it too."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fgl.contracts.generator import PlanItem, Shard
from fgl.contracts.product import Product
from fgl.core.store.run_dir import RunDir
from fgl.core.synthesis import forms
from fgl.core.synthesis.shards import EncodedImage, ShardStore, read_shards
from fgl.errors import StoreError

PRODUCTS = [
    Product("images", (4, 6, 3), "uint8"),
    Product("features", (5,), "float32"),
    Product("volumes", (2, 3, 2), "float64"),
    Product("codes", (7,), "int64"),
]
SHARD = Shard(0, tuple(PlanItem(f"item-{k}", 0, "row", k % 2, "", None, k) for k in range(3)))


def values(product: Product) -> list[np.ndarray]:
    draw = np.random.default_rng(0)
    return [(draw.standard_normal(product.shape) * 100).astype(product.dtype) for _ in SHARD.items]


def encoded(store: ShardStore, made: list[np.ndarray]) -> dict[str, EncodedImage]:
    pairs = zip(SHARD.items, made, strict=True)
    return {item.image_id: EncodedImage(item, store.form.encode(value)) for item, value in pairs}


def stored(product: Product, folder: Path) -> ShardStore:
    return ShardStore(RunDir(folder), folder / "shards", "recipe", ["a", "b"], product=product)


@pytest.mark.parametrize("product", PRODUCTS, ids=lambda product: product.kind)
def test_items_are_read_as_they_were_written_to_the_last_bit(product: Product, tmp_path: Path) -> None:
    store, made = stored(product, tmp_path), values(product)
    store.write(SHARD, encoded(store, made))
    assert store.done(SHARD)
    found = list(read_shards(store.folder, [SHARD]))
    assert [row["label"] for row, _ in found] == [0, 1, 0]
    for (_, value), original in zip(found, made, strict=True):
        assert value.dtype == original.dtype
        np.testing.assert_array_equal(value, original)


@pytest.mark.parametrize("product", PRODUCTS[1:], ids=lambda product: product.kind)
def test_datasets_opens_shards_of_arrays_with_named_labels(product: Product, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    store, made = stored(product, tmp_path), values(product)
    store.write(SHARD, encoded(store, made))
    opened = datasets.Dataset.from_parquet(str(store.folder / "shard-00000.parquet"), cache_dir=str(tmp_path / "cache"))
    assert opened.features["label"].names == ["a", "b"]
    np.testing.assert_array_equal(opened[1]["values"], made[1].ravel())


def test_the_weights_of_rows_stand_for_items_that_are_not_synthesized() -> None:
    form = forms.of_product(Product("moments", (9,), "float32", synthesized=False))
    weight = np.asarray(np.pi)
    column = pa.chunked_array([form.packed([form.encode(weight), form.encode(weight * 2)])])
    assert [float(value) for value in form.decoded(column)] == [np.pi, 2 * np.pi]


def test_a_shard_that_does_not_say_what_it_holds_is_a_store_error(tmp_path: Path) -> None:
    pq.write_table(pa.table({"values": [[1.0]]}), tmp_path / "shard.parquet")
    with pytest.raises(StoreError, match="neither of images nor of arrays"):
        forms.of_table(pq.read_table(tmp_path / "shard.parquet"))
