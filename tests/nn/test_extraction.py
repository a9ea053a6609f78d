"""A level of CGC and PLE: a loop by hand, and who reads whom."""

import pytest
import torch
from torch import Tensor

from mtlbench.nn.extraction import Extraction
from mtlbench.nn.stacked import StackedLinear, StackedMLP


def level(tasks: int = 2, task_experts: int = 2, shared_experts: int = 3, last: bool = False) -> Extraction:
    torch.manual_seed(0)
    return Extraction(tasks, 5, (7, 3), task_experts=task_experts, shared_experts=shared_experts, last=last)


def expert(stack: StackedMLP | None, place: int, x_BI: Tensor) -> Tensor:
    assert stack is not None
    for layer in stack.layers:
        assert isinstance(layer, StackedLinear)
        assert layer.bias is not None
        x_BI = torch.relu(x_BI @ layer.weight[place] + layer.bias[place])
    return x_BI


@pytest.mark.parametrize(("task_experts", "shared_experts"), [(2, 3), (3, 2), (1, 1)])
def test_a_level_is_a_loop(task_experts: int, shared_experts: int):
    block = level(task_experts=task_experts, shared_experts=shared_experts)
    z_TBI, shared_1BI = torch.randn(2, 11, 5), torch.randn(1, 11, 5)
    own = [[expert(block.own, t * task_experts + e, z_TBI[t]) for e in range(task_experts)] for t in range(2)]
    common = [expert(block.shared, e, shared_1BI[0]) for e in range(shared_experts)]
    mixed_TBH, mixed_1BH = block(z_TBI, shared_1BI)
    for task in range(2):
        gate_BE = torch.softmax(z_TBI[task] @ block.gates.scores.weight[task], dim=-1)
        expected = sum(gate_BE[:, e, None] * f for e, f in enumerate([*own[task], *common]))
        torch.testing.assert_close(mixed_TBH[task], expected)
    assert block.shared_gate is not None
    gate_BE = torch.softmax(shared_1BI[0] @ block.shared_gate.scores.weight[0], dim=-1)
    everyone = [*own[0], *own[1], *common]
    assert gate_BE.shape == (11, len(everyone))
    assert mixed_1BH is not None
    torch.testing.assert_close(mixed_1BH[0], sum(gate_BE[:, e, None] * f for e, f in enumerate(everyone)))


def test_one_input_for_all_is_the_same_input_for_each():
    block = level()
    x_1BI = torch.randn(1, 11, 5)
    for one, each in zip(block(x_1BI, x_1BI), block(x_1BI.expand(2, -1, -1), x_1BI), strict=True):
        torch.testing.assert_close(one, each)


def test_a_last_level_mixes_no_shared_state():
    block = level(last=True)
    assert block.shared_gate is None
    assert block(torch.randn(2, 11, 5), torch.randn(1, 11, 5))[1] is None


def test_refusals():
    with pytest.raises(ValueError, match="task_experts is 0 and shared_experts is 0"):
        level(task_experts=0, shared_experts=0)
    with pytest.raises(ValueError, match="task_experts is -1"):
        level(task_experts=-1)
    with pytest.raises(ValueError, match="level_layers is empty"):
        Extraction(2, 5, (), task_experts=1, shared_experts=1, last=True)
