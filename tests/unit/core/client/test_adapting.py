"""A client adapts the generator to its own images: an adapter in, an adapter out, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fgl.contracts.adaptation import AdaptContext
from fgl.contracts.boundary import simulated
from fgl.contracts.progress import NullProgress
from fgl.core.adapters import adaptation_of
from fgl.core.client import adapting, tasks
from fgl.core.config.resolve import resolve
from fgl.core.plugin_manager import PluginManager
from fgl.core.wire import updates
from fgl.core.wire.updates import Header, UpdatePolicy
from fgl.errors import ClientFailedError, UploadFormatError

MANAGER = PluginManager.load()


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    adapting.release()


@pytest.fixture
def asked(images: Callable[..., Path], pipeline: Path, tmp_path: Path) -> dict[str, Any]:
    config = resolve(
        [
            {
                "dataset": {"path": str(images(per_class=6))},
                "partition": {"name": "iid", "clients": 2},
                "generator": {"name": "stable-diffusion", "model": str(pipeline), "dtype": "fp32"},
                "adaptation": {"rank": 2, "factors": "up", "local_steps": 2, "batch_size": 4},
            }
        ],
        MANAGER.registry,
    )
    return {
        "config": config.to_dict(),
        "name": "adapter",
        "algorithm": {"name": "fedavg", "options": {"weighting": "samples"}},
        "device": "cpu",
        "data": "",
        "digest": "d",
        "client_id": "client-00",
        "round": 1,
        "private": str(tmp_path / "private"),
    }


def _start(asked: dict[str, Any]) -> dict[str, Any]:
    config = resolve([asked["config"]], MANAGER.registry)
    adaptation = adaptation_of(config, MANAGER.create("generator", config.generator))
    return dict(adaptation.initial(AdaptContext(seed=0, device="cpu")).state("last"))


def _reply(asked: dict[str, Any], start: dict[str, Any]) -> bytes:
    message = updates.encode(Header("", asked["client_id"], asked["round"]), start, {})
    head = json.dumps(asked).encode()
    with simulated(NullProgress()):
        return tasks.answer_adapt(len(head).to_bytes(8, "little") + head + message)


def test_the_update_is_the_adapter_trained_on_the_clients_own_images(asked: dict[str, Any]) -> None:
    start = _start(asked)
    reply = _reply(asked, start)
    update, kept = updates.accept(reply, UpdatePolicy(Header("", "client-00", 1), start, {}))
    assert kept == ""
    assert update.samples > 0
    assert update.loss > 0
    assert any(not np.array_equal(array, start[name]) for name, array in update.model.items())
    assert _reply(asked, start) == reply
    assert _reply({**asked, "round": 2}, start) != reply
    assert b"river" not in reply


def test_what_is_no_adapter_of_this_generator_is_an_error_without_details(asked: dict[str, Any]) -> None:
    start = _start(asked)
    name = next(iter(start))
    with pytest.raises(ClientFailedError) as caught:
        _reply(asked, {**start, name: np.zeros((3, 3), np.float32)})
    assert name not in str(caught.value)


def test_a_request_that_was_cut_off_is_named() -> None:
    with pytest.raises(UploadFormatError, match="cut off"):
        tasks.answer_adapt((100).to_bytes(8, "little") + b"{}")
