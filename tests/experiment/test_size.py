"""Memory of a model before it is made, and errors of memory that ran out."""

import pytest
import torch
from torch import nn

from mtlbench.experiment import size
from mtlbench.experiment.errors import ConfigError
from mtlbench.experiment.size import check_size, memory_errors


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Parameter(torch.empty(10, 3))
        self.layer = nn.Linear(7, 5)


def check(available: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(size, "available_memory", lambda: available)
    check_size(Net, "model=net", embedding_copies=2, dense_copies=4)


def test_weights_gradients_and_optimizer_state_are_counted(monkeypatch: pytest.MonkeyPatch):
    needed = 4 * (30 * 2 + 40 * 4)
    check(needed, monkeypatch)
    with pytest.raises(ConfigError, match=r"model=net would have 70 parameters or more.* is Linear\.weight"):
        check(needed - 1, monkeypatch)


def test_nothing_is_drawn_and_no_hook_is_left(monkeypatch: pytest.MonkeyPatch):
    before = torch.get_rng_state()
    check(10**6, monkeypatch)
    assert torch.equal(torch.get_rng_state(), before)
    monkeypatch.setattr(size, "MOST_MODULES", 0)
    Net()
    with pytest.raises(ConfigError, match="more than 0 modules"):
        check(10**6, monkeypatch)


def test_an_allocation_that_fails_is_an_error_of_memory():
    with pytest.raises(MemoryError, match=r"can't allocate memory.* Lower trainer\.batch_size"), memory_errors():
        torch.empty(2**50)
    with pytest.raises(RuntimeError, match="another"), memory_errors():
        raise RuntimeError("another")
