"""An order that crosses to another process: what arrives there, and what cannot be sent."""

from __future__ import annotations

import pickle
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from fgl.contracts.aggregator import ClientUpload, Conditioning
from fgl.contracts.executor import ShardJob, fill_shard
from fgl.contracts.generator import Generator, PlanItem, Shard
from fgl.contracts.product import Product
from fgl.core.plugin_manager import PluginManager
from fgl.core.stages import votes
from fgl.core.store.run_dir import RunDir
from fgl.core.synthesis.from_pictures import GeneratorFromPictures
from fgl.core.synthesis.order import Filling, Order
from fgl.core.synthesis.painting import Painting
from fgl.core.synthesis.per_client import GeneratorPerClient
from fgl.core.synthesis.shards import ShardStore, read_shards
from fgl.errors import BrokenPluginError

OPTIONS = {"num_inference_steps": 1, "guidance_scale": 1.0, "dtype": "fp32"}


@pytest.fixture
def manager() -> PluginManager:
    return PluginManager.load()


@pytest.fixture
def generator(manager: PluginManager, pipeline: Path) -> Generator:
    made: Generator = manager.registry.create("generator", "stable-diffusion", {**OPTIONS, "model": str(pipeline)})
    return made


def job(manager: PluginManager, generator: Generator, folder: Path, rows: Any = None) -> ShardJob:
    """Two shards of two images; whole rows of random numbers. rows: in their place."""
    if rows is None:
        (spec, *_) = generator.declare().arrays
        rows = np.random.default_rng(0).normal(size=(4, *spec.shape)).astype(np.float32)
    name = generator.declare().arrays[0].name
    ones, zeros = np.ones(4), np.zeros(4, np.int64)
    upload = ClientUpload("client", 1, "", {name: rows}, {}, zeros, ones, ("",) * 4, ones * np.nan)
    ids = tuple(f"{row:064x}" for row in range(4))
    conditioning = Conditioning(
        ids, zeros, ones, ("",) * 4, ones * np.nan, zeros, np.arange(4), np.ones(4, np.int64), [upload]
    )
    items = [PlanItem(f"{row:032x}", row, ids[row], 0, "", None, row) for row in range(4)]
    shards = {0: Shard(0, tuple(items[:2])), 1: Shard(1, tuple(items[2:]))}
    painting = Painting("stable-diffusion", 0, ["river"], Product("images", (16, 16, 3), "uint8"))
    store = ShardStore(RunDir(folder), folder / "shards", "recipe", ["river"])
    missing = {index: shard.items for index, shard in shards.items()}
    config = SimpleNamespace(aggregator=SimpleNamespace(name="union"), generator=SimpleNamespace(name="tiny"))
    session: Any = SimpleNamespace(manager=manager, config=config)
    filling = Filling(painting, generator, store, shards, missing, lambda: conditioning)
    task = "fgl.core.synthesis.fill:fill_order"
    return ShardJob(task, Order(filling, session), (0, 1), (2, 2), "cpu", str(folder))


def test_an_order_makes_the_same_images_wherever_it_is_sent(
    manager: PluginManager, generator: Generator, tmp_path: Path
) -> None:
    here, there = job(manager, generator, tmp_path / "here"), job(manager, generator, tmp_path / "there")
    sent = pickle.dumps(there)
    assert len(sent) < 100_000, "the generator's model is not sent with it"
    arrived = pickle.loads(pickle.dumps(pickle.loads(sent)))  # sent on, it is what it was
    for index in (0, 1):
        fill_shard(here, index)
        fill_shard(arrived, 1 - index)
    made, again = ([image for _, image in read_shards(tmp_path / name / "shards")] for name in ("here", "there"))
    assert len(made) == 4
    assert all(np.array_equal(*pair) for pair in zip(made, again, strict=True))


def test_generators_of_clients_cross_as_what_they_were_made_of(
    manager: PluginManager, generator: Generator, tmp_path: Path
) -> None:
    product = Product("images", (16, 16, 3), "uint8")
    each: Any = GeneratorPerClient(generator, product, {"client": generator}, generator)
    sent: Any = pickle.loads(pickle.dumps(job(manager, each, tmp_path)))
    arrived = sent.order.filling.generator
    assert arrived.of("client").fingerprint() == generator.fingerprint()
    assert arrived.fingerprint() == each.fingerprint()


def test_pictures_that_are_varied_cross_as_the_place_where_they_lie(
    manager: PluginManager, generator: Any, tmp_path: Path
) -> None:
    pictures = partial(votes._pictures, RunDir(tmp_path), 1, [0])
    product = Product("images", (16, 16, 3), "uint8")
    each: Any = GeneratorFromPictures(generator, product, {"candidate-00000": "digest"}, pictures, 0.5)
    sent: Any = pickle.loads(pickle.dumps(job(manager, each, tmp_path)))
    assert sent.order.filling.generator.fingerprint() == each.fingerprint()


def test_what_cannot_be_sent_is_an_error_that_says_what_to_use(
    manager: PluginManager, generator: Generator, tmp_path: Path
) -> None:
    opened = job(manager, generator, tmp_path, rows=(one for one in ()))
    with pytest.raises(BrokenPluginError, match=r"aggregator 'union'.*cannot be sent.*use executor=local"):
        pickle.dumps(replace(opened, device="cpu"))
