"""Dice against torch's batch normalisation, by hand, and with padding in the batch."""

import pytest
import torch
from torch import nn

from mtlbench.nn.dice import Dice
from mtlbench.nn.stacked import StackedMLP, Towers


def trained(stacks: int, width: int) -> Dice:
    block = Dice(stacks, width).double()
    nn.init.normal_(block.alpha)
    return block


def test_hand_numbers():
    block = Dice(1, 1)
    with torch.no_grad():
        block.alpha.fill_(0.5)
    found = block(torch.tensor([[[1.0], [3.0]]]))  # mean 2, variance 1: p = sigmoid(-1), sigmoid(1)
    low, high = torch.tensor([-1.0, 1.0]).sigmoid().tolist()
    expected = [low + 0.5 * (1 - low), 3 * (high + 0.5 * (1 - high))]
    torch.testing.assert_close(found.flatten(), torch.tensor(expected))
    torch.testing.assert_close(block.mean.item(), 0.1 * 2.0)
    torch.testing.assert_close(block.variance.item(), 0.9 + 0.1 * 2.0)  # of two rows, unbiased
    middle = block.eval()(torch.tensor([[[0.2]]]))  # where the running mean stands, p is one half
    torch.testing.assert_close(middle.item(), 0.2 * 0.75)


def test_each_stack_is_a_batch_normalisation_of_its_own():
    block = trained(3, 5)
    norms = [nn.BatchNorm1d(5, eps=1e-8, affine=False).double() for _ in range(3)]
    for training in (True, True, False):
        s_EBH = 2 + 3 * torch.randn(3, 7, 5, dtype=torch.float64)
        found = block.train(training)(s_EBH)
        for stack, norm in enumerate(norms):
            p_BH = torch.sigmoid(norm.train(training)(s_EBH[stack]))
            expected = p_BH * s_EBH[stack] + block.alpha[stack] * (1 - p_BH) * s_EBH[stack]
            torch.testing.assert_close(found[stack], expected)
            torch.testing.assert_close(block.mean[stack, 0], norm.running_mean)
            torch.testing.assert_close(block.variance[stack, 0], norm.running_var)


def test_an_alpha_of_one_is_the_identity():
    block = Dice(2, 3)
    nn.init.ones_(block.alpha)
    s_EBH = torch.randn(2, 5, 3)
    torch.testing.assert_close(block(s_EBH), s_EBH)


def test_what_does_not_count_changes_nothing():
    short, long = trained(2, 3), trained(2, 3)
    long.load_state_dict(short.state_dict())
    s_EBH = torch.randn(2, 5, 3, dtype=torch.float64)
    padded_EBH = torch.cat([s_EBH, 100 * torch.randn(2, 4, 3, dtype=torch.float64)], dim=1)
    counted_B = torch.arange(9) < 5
    torch.testing.assert_close(long(padded_EBH, counted_B)[:, :5], short(s_EBH))
    for name, value in short.state_dict().items():
        torch.testing.assert_close(long.state_dict()[name], value)
    assert not torch.allclose(long(padded_EBH)[:, :5], short(s_EBH)), "without the mask padding would count"


def test_nothing_that_counts_leaves_finite_numbers_and_no_memory():
    block = Dice(1, 3)
    s_EBH = torch.randn(1, 4, 3, requires_grad=True)
    for counted in (0, 1):
        found = block(s_EBH, torch.arange(4) < counted)
        assert found.isfinite().all()
        found.sum().backward()
        assert s_EBH.grad is not None
        assert s_EBH.grad.isfinite().all()
    assert not block.mean.count_nonzero()
    assert (block.variance == 1).all()


def test_gradients():
    block = trained(2, 3)
    s_EBH = torch.randn(2, 5, 3, dtype=torch.float64, requires_grad=True)
    counted_B = torch.tensor([True, False, True, True, False])
    # The running statistics move at every call, but nothing in training is computed from them.
    assert torch.autograd.gradcheck(lambda s, a: _with_alpha(block, s, a, None), (s_EBH, block.alpha))
    assert torch.autograd.gradcheck(lambda s, a: _with_alpha(block, s, a, counted_B), (s_EBH, block.alpha))


def _with_alpha(block: Dice, s_EBH: torch.Tensor, alpha: torch.Tensor, counted_B: torch.Tensor | None) -> torch.Tensor:
    return torch.func.functional_call(block, {"alpha": alpha}, (s_EBH, counted_B))


def test_a_batch_of_one_is_refused_in_training_alone():
    block = Dice(2, 3)
    with pytest.raises(ValueError, match=r"batch of one row.*allowed: two rows or more"):
        block(torch.randn(2, 1, 3))
    assert block.eval()(torch.randn(2, 1, 3)).shape == (2, 1, 3)


def test_statistics_are_float32_under_autocast():
    block = Dice(1, 3)
    s_EBH = (1000 + torch.randn(1, 101, 3)).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        found = block(s_EBH)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(block.mean[0, 0], 0.1 * s_EBH[0].float().mean(dim=0))


def test_perceptrons_take_it():
    stack = StackedMLP(2, 3, (5, 4), activation="dice")
    assert [type(a).__name__ for a in stack.activations] == ["Dice", "Dice"]
    assert [a.alpha.shape for a in stack.activations] == [(2, 1, 5), (2, 1, 4)]
    mixed = StackedMLP(2, 3, (5, 4), activation="dice", last_activation="none")
    assert [type(a).__name__ for a in mixed.activations] == ["Dice", "Identity"]
    tower = Towers(1, 3, (5,), activation="dice").double()
    x_1BI = torch.randn(1, 7, 3, dtype=torch.float64)
    counted_B = torch.arange(7) < 4
    torch.testing.assert_close(tower(x_1BI, counted_B)[:4], tower(x_1BI[:, :4]))
