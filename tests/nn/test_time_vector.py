"""The time vector: six functions, by hand, at both ends of their window."""

import math

import pytest
import torch

from mtlbench.nn.time_vector import TimeVector


def test_hand_numbers():
    (found,) = TimeVector()(torch.tensor([7.0])).tolist()  # half of a window of fourteen days
    assert found == pytest.approx([math.exp(0.5), math.sin(0.5), math.cos(0.5), 0.5**0.5, 0.25, math.log(1.5)])
    (found,) = TimeVector(angular="2pi", operations=("cos", "sin", "exp"))(torch.tensor([3.5])).tolist()
    assert found == pytest.approx([0, 1, math.exp(0.25)], abs=1e-6)
    (found,) = TimeVector(unit="days", operations=("square", "decay"))(torch.tensor([3.0])).tolist()
    assert found == pytest.approx([9, math.exp(-3)])


def test_finite_at_both_ends_and_beyond():
    days = torch.tensor([[0.0, 14.0, 1e9]])
    for unit in ("window", "days"):
        found = TimeVector(unit=unit)(days)
        assert found.shape == (1, 3, 6)
        assert found.isfinite().all()
    assert TimeVector()(days)[0, 0].tolist() == [1, 0, 1, 0, 0, 0]
    assert torch.equal(TimeVector()(days)[0, 2], TimeVector()(days)[0, 1]), "older than the window counts as the window"
    assert TimeVector(unit="days", operations=("square",))(days)[0, 2].item() == 100


def test_it_has_nothing_to_learn():
    assert not list(TimeVector().parameters())
    assert TimeVector(operations=("exp", "log")).width == 2


def test_refusals():
    for operations in ((), ("exp", "exp"), ("exp", "ln")):
        with pytest.raises(ValueError, match=r"time_operations is .*; allowed: one or more of exp, sin"):
            TimeVector(operations)
    for window in (0.0, math.nan):
        with pytest.raises(ValueError, match=r"time_window is .*; allowed: .*above 0"):
            TimeVector(window=window)
    with pytest.raises(ValueError, match="time_angular is 'turn'; allowed: raw, 2pi"):
        TimeVector(angular="turn")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="time_unit is 'hours'; allowed: window, days"):
        TimeVector(unit="hours")  # pyright: ignore[reportArgumentType]
