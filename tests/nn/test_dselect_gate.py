"""DSelect-k gates: the smooth step and selectors by hand, exact sparsity, penalties, and a naive reference."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from mtlbench.nn.dselect_gate import DSelectGates, smooth_step


def gates(experts: int = 4, **changes: Any) -> DSelectGates:
    torch.manual_seed(0)
    return DSelectGates(2, 5, experts, **changes)


def static(experts: int, codes: list[list[float]], scores: list[float], **changes: Any) -> DSelectGates:
    """One static gate with these digits for each selector, and these scores of the selectors."""
    block = DSelectGates(1, 5, experts, selected=len(codes), per_example=False, **changes)
    with torch.no_grad():
        block.codes.weight.copy_(torch.tensor(codes).flatten()[None, None])
        if block.scores is not None:
            block.scores.weight.copy_(torch.tensor(scores)[None, None])
    return block


def test_smooth_step_by_hand():
    t = torch.tensor([-9.0, -0.5, -0.25, 0.0, 0.25, 0.5, 9.0])
    expected = torch.tensor([0.0, 0.0, 0.15625, 0.5, 0.84375, 1.0, 1.0])
    assert torch.equal(smooth_step(t), expected)
    assert torch.equal(smooth_step(2 * t, 2.0), expected)


def test_smooth_step_has_a_continuous_derivative():
    t = torch.tensor([-0.7, -0.5, -0.499, 0.0, 0.2, 0.499, 0.5, 0.7], dtype=torch.float64, requires_grad=True)
    smooth_step(t).sum().backward()
    expected = (1.5 - 6 * t.detach() ** 2).clamp_min(0)
    torch.testing.assert_close(t.grad, expected, rtol=0, atol=1e-12)


def test_a_selector_by_hand():
    """Digits at S = 27/32 and 5/32, the lowest first: experts 0 to 3 are spelt 00, 10, 01, 11."""
    gate_TBE = static(4, [[0.25, -0.25]], [])(torch.zeros(1, 5))
    on, off = 27 / 32, 5 / 32
    torch.testing.assert_close(gate_TBE[0, 0], torch.tensor([off * on, on * on, off * off, on * off]))


def test_gates_are_exactly_sparse_once_digits_are_certain():
    block = static(4, [[-0.5, 0.5], [3.0, -3.0]], [math.log(3), 0.0])
    torch.testing.assert_close(block(torch.randn(3, 5)), torch.tensor([[[0, 0.25, 0.75, 0]]]).expand(1, 3, 4))
    assert torch.equal(block(torch.randn(1, 5))[0, 0] == 0, torch.tensor([True, False, False, True]))


def test_two_selectors_of_one_expert_leave_one():
    block = static(4, [[1.0, 1.0], [1.0, 1.0]], [0.3, -0.7])
    torch.testing.assert_close(block(torch.randn(1, 5))[0, 0], torch.tensor([0.0, 0, 0, 1]))


@pytest.mark.parametrize("per_example", [True, False])
def test_gates_start_nearly_equal(per_example: bool):
    gate_TBE = gates(8, per_example=per_example)(torch.rand(7, 5))
    torch.testing.assert_close(gate_TBE, torch.full((2, 7, 8), 1 / 8), rtol=0.3, atol=0)
    torch.testing.assert_close(gate_TBE.sum(dim=-1), torch.ones(2, 7))


def naive(block: DSelectGates, x_BI: Tensor) -> tuple[Tensor, float]:
    """Gates and penalty from the formulas, number by number."""
    tasks, digits = len(block.codes.weight), math.ceil(math.log2(block.experts))
    gate_TBE = torch.zeros(tasks, len(x_BI), block.experts, dtype=torch.float64)
    penalty = 0.0
    assert block.scores is not None
    for task in range(tasks):
        for row, x in enumerate(x_BI):
            z = x @ block.codes.weight[task]
            a = x @ block.scores.weight[task]
            if block.codes.bias is not None and block.scores.bias is not None:
                z, a = z + block.codes.bias[task], a + block.scores.bias[task]
            share = [math.exp(v) / sum(math.exp(w) for w in a.tolist()) for v in a.tolist()]
            for selector in range(block.selected):
                weights = []
                for expert in range(block.experts):
                    weight = 1.0
                    for digit in range(digits):
                        t, width = z[selector * digits + digit].item(), block.step_width
                        cubic = -2 * t**3 / width**3 + 3 * t / (2 * width) + 0.5
                        step = 0.0 if t <= -width / 2 else 1.0 if t >= width / 2 else cubic
                        weight *= step if expert // 2**digit % 2 else 1 - step
                    weights.append(weight)
                    gate_TBE[task, row, expert] += share[selector] * weight
                entropy = -sum(weight * math.log(weight + 1e-6) for weight in weights)
                reach = 0.0 if block.experts == 2**digits else 1 / max(sum(weights), 1e-6) - 1
                penalty += (block.entropy_weight * entropy + reach) / len(x_BI)
    return gate_TBE, penalty


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("experts", [2, 4, 5, 7])
def test_gates_and_penalty_are_those_of_a_naive_reference(experts: int, bias: bool):
    block = gates(experts, selected=2, bias=bias, step_width=1.7, entropy_weight=0.3).double()
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.uniform_(-0.8, 0.8)
    x_BI = torch.randn(11, 5, dtype=torch.float64)
    gate_TBE, penalty = naive(block, x_BI)
    torch.testing.assert_close(block(x_BI), gate_TBE, rtol=0, atol=1e-12)
    assert 0 < (gate_TBE == 0).float().mean() < 1, "some digits are certain, and some are not"
    assert block.penalty().item() == pytest.approx(penalty, rel=1e-12, abs=1e-12)


def test_penalties_by_hand():
    block = static(4, [[0.0, 0.0], [0.0, 0.0], [1.0, -1.0]], [0.0, 0.0, 0.0], entropy_weight=0.5)
    block(torch.zeros(7, 5))
    assert block.penalty().item() == pytest.approx(0.5 * 2 * math.log(4), rel=1e-5), "a certain selector costs nothing"
    block = static(3, [[0.0, 0.0]], [], entropy_weight=0)
    block(torch.zeros(7, 5))
    assert block.penalty().item() == pytest.approx(4 / 3 - 1), "of four numbers, one spells no expert"


def test_a_penalty_belongs_to_a_forward_pass_in_training():
    block = gates()
    block.eval()(torch.randn(3, 5))
    with pytest.raises(AssertionError, match="taken once"):
        block.penalty()
    block.train()(torch.randn(3, 5))
    block.penalty()
    with pytest.raises(AssertionError, match="taken once"):
        block.penalty()


def minimised(block: DSelectGates, x_BI: Tensor, steps: int) -> Tensor:
    """The gates in evaluation mode, after training on their penalty alone."""
    optimizer = torch.optim.Adam(block.parameters(), lr=0.03)
    for _ in range(steps):
        block(x_BI)
        optimizer.zero_grad()
        block.penalty().backward()
        optimizer.step()
    return block.eval()(x_BI)


@pytest.mark.parametrize("experts", [8, 7, 5])
def test_the_penalty_draws_static_gates_to_k_experts(experts: int):
    gate_TBE = minimised(gates(experts, selected=3, per_example=False, entropy_weight=1), torch.zeros(1, 5), 200)
    assert ((gate_TBE > 0).sum(dim=-1) <= 3).all()
    torch.testing.assert_close(gate_TBE.sum(dim=-1), torch.ones(2, 1))


def test_the_penalty_draws_most_gates_of_rows_to_k_experts():
    gate_TBE = minimised(gates(8, entropy_weight=1), torch.randn(64, 5), 200)
    assert ((gate_TBE > 0).sum(dim=-1) <= 2).float().mean() > 0.6


@pytest.mark.parametrize("experts", [3, 4])
def test_selectors_are_kept_from_numbers_without_expert(experts: int):
    """A selector that leans towards the fourth number, of three experts or of four."""
    block = static(experts, [[0.3, 0.3]], [], entropy_weight=0.1)
    gate_E = minimised(block, torch.zeros(1, 5), 200)[0, 0]
    assert gate_E.sum().item() == pytest.approx(1, abs=0.01)
    assert (gate_E[:3].sum() > 0.9) == (experts == 3)


def test_no_gradient_is_infinite_where_no_expert_is_reached():
    block = static(3, [[0.5, 0.5]], [], entropy_weight=1)
    (block(torch.zeros(1, 5)).sum() + block.penalty()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in block.parameters())


def test_refusals():
    with pytest.raises(ValueError, match="experts is 1; allowed: 2 or more"):
        gates(1)
    with pytest.raises(ValueError, match="selected_experts is 5; allowed: 1 to 4"):
        gates(4, selected=5)
    with pytest.raises(ValueError, match="step_width is 0"):
        gates(step_width=0)
    with pytest.raises(ValueError, match="entropy_weight is -1"):
        gates(entropy_weight=-1)
    with pytest.raises(ValueError, match="gate_bias is true with per_example=false"):
        gates(bias=True, per_example=False)
