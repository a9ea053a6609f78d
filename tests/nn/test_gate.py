"""Mapped gates and mixtures."""

import pytest
import torch

from mtlbench.nn.gate import MappedGates, mix


def test_gates_are_distributions():
    gate_TBE = MappedGates(2, 5, 3)(torch.randn(7, 5))
    assert gate_TBE.shape == (2, 7, 3)
    assert gate_TBE.min() > 0
    torch.testing.assert_close(gate_TBE.sum(dim=-1), torch.ones(2, 7))


def test_hand_numbers():
    gates = MappedGates(1, 1, 2)
    with torch.no_grad():
        gates.scores.weight.copy_(torch.tensor([[[0.0, 1.0]]]))
    third = gates(torch.tensor([[2.0]]).log())[0, 0]  # softmax(0, ln 2)
    torch.testing.assert_close(third, torch.tensor([1 / 3, 2 / 3]))


def test_zero_weights_mean_the_mean():
    gates = MappedGates(2, 5, 3)
    torch.nn.init.zeros_(gates.scores.weight)
    expert_EBH = torch.randn(3, 7, 4)
    torch.testing.assert_close(mix(gates(torch.randn(7, 5)), expert_EBH), expert_EBH.mean(dim=0).expand(2, -1, -1))


def test_a_mixture_is_a_loop():
    gate_TBE, expert_EBH = torch.rand(2, 7, 3), torch.randn(3, 7, 5)
    expected = torch.stack([sum(gate_TBE[t, :, e, None] * expert_EBH[e] for e in range(3)) for t in range(2)])
    torch.testing.assert_close(mix(gate_TBE, expert_EBH), expected)


def test_no_bias_and_no_hidden_layer_unless_asked_for():
    assert [p.shape for p in MappedGates(2, 5, 3).parameters()] == [(2, 5, 3)]
    assert [p.shape for p in MappedGates(2, 5, 3, bias=True, layers=(4,)).parameters()] == [
        (2, 5, 4),
        (2, 4),
        (2, 4, 3),
        (2, 3),
    ]


def test_gates_are_float32_under_autocast_and_float64_where_asked_for():
    x_BI = torch.randn(7, 5)
    with torch.autocast("cpu", torch.bfloat16):
        assert MappedGates(2, 5, 3)(x_BI).dtype == torch.float32
    assert MappedGates(2, 5, 3).double()(x_BI.double()).dtype == torch.float64


def test_scores_as_they_are():
    gates = MappedGates(2, 5, 3, norm="none")
    x_BI = torch.randn(7, 5)
    torch.testing.assert_close(gates(x_BI), torch.einsum("bi,tie->tbe", x_BI, gates.scores.weight))
    with pytest.raises(ValueError, match="gate_norm is 'sum'; allowed: softmax, none"):
        MappedGates(2, 5, 3, norm="sum")  # pyright: ignore[reportArgumentType]


def test_dropout_closes_gates_in_training_alone():
    gates = MappedGates(2, 5, 3, dropout=0.5)
    x_BI = torch.randn(1009, 5)
    assert gates.train()(x_BI).count_nonzero() / (2 * 1009 * 3) == pytest.approx(0.5, abs=0.03)
    assert gates.eval()(x_BI).count_nonzero() == 2 * 1009 * 3
