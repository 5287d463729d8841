"""Training that is packed and unpacked continues to the same bits."""

from __future__ import annotations

import math

import pytest
import torch

from fgl.plugins import _training_state


def trained(steps: int) -> tuple[torch.nn.Linear, torch.optim.Optimizer]:
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    advance(model, optimizer, steps)
    return model, optimizer


def advance(model: torch.nn.Linear, optimizer: torch.optim.Optimizer, steps: int) -> None:
    for _ in range(steps):
        optimizer.zero_grad()
        model(torch.ones(4, 3)).square().sum().backward()
        optimizer.step()


def test_training_continues_from_arrays_to_the_same_weights() -> None:
    whole, _ = trained(5)
    model, optimizer = trained(3)
    arrays = _training_state.pack({"model": model.state_dict(), "average": None}, optimizer)
    other, fresh = trained(0)
    parts = _training_state.unpack({"history": arrays["model/bias"], **arrays}, ("model", "average"))
    assert parts["average"] == {}
    other.load_state_dict(parts["model"])
    _training_state.load_optimizer(fresh, parts[_training_state.OPTIMIZER], list(other.parameters()))
    advance(other, fresh, 2)
    assert all(torch.equal(one, same) for one, same in zip(whole.parameters(), other.parameters(), strict=True))


def test_packed_arrays_do_not_follow_the_training() -> None:
    model, optimizer = trained(1)
    parts = _training_state.unpack(_training_state.pack({"model": model.state_dict()}, optimizer), ("model",))
    before = parts["model"]["bias"].clone()
    advance(model, optimizer, 1)
    assert torch.equal(parts["model"]["bias"], before)


@pytest.mark.parametrize("history", [[], [{"epoch": 1.0, "loss": 0.5}, {"epoch": 2.0, "loss": 0.25, "top1": 0.0}]])
def test_a_history_keeps_what_each_entry_has(history: list[dict[str, float]]) -> None:
    columns = ("epoch", "loss", "top1")
    array = _training_state.history_array(history, columns)
    assert _training_state.history_of(array, columns) == history
    assert not history or math.isnan(array[0, 2])
