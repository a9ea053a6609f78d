"""A fusion level of AdaTT: two experts by hand, a loop in float64, and numbers of the authors' code."""

from functools import partial

import pytest
import torch
from torch import Tensor

from mtlbench.nn.fusion import Fusion
from mtlbench.nn.gate import MappedGates
from mtlbench.nn.stacked import StackedLinear, StackedMLP


def level(
    tasks: int = 2, task_experts: int = 2, shared_experts: int = 3, native: bool = True, last: bool = False
) -> Fusion:
    torch.manual_seed(0)
    return Fusion(
        tasks, 5, (7, 3), task_experts=task_experts, shared_experts=shared_experts, native=native, last=last
    ).double()


def test_two_experts_by_hand():
    """Two tasks with an expert each, which say 2 and 3 times their input."""
    block = Fusion(2, 1, (1,), task_experts=1, shared_experts=0, last=True)
    with torch.no_grad():
        linear = block.experts.layers[0]
        assert isinstance(linear, StackedLinear)
        linear.weight.copy_(torch.tensor([2.0, 3.0])[:, None, None])
        # Scores: log 3 more for its own expert than for the other one
        block.gates.scores.weight.copy_(torch.tensor([[3.0, 1.0], [1.0, 3.0]]).log()[:, None])
    z_TBI = torch.tensor([[[1.0]], [[1.0]]])
    # Experts say 2 and 3: 3/4 * 2 + 1/4 * 3 + 2 and 1/4 * 2 + 3/4 * 3 + 3.
    torch.testing.assert_close(block(z_TBI)[:, 0, 0], torch.tensor([4.25, 5.75]))
    block.native = False
    torch.testing.assert_close(block(z_TBI)[:, 0, 0], torch.tensor([2.25, 2.75]))


def expert(stack: StackedMLP, place: int, x_BI: Tensor) -> Tensor:
    for layer in stack.layers:
        assert isinstance(layer, StackedLinear)
        assert layer.bias is not None
        x_BI = torch.relu(x_BI @ layer.weight[place] + layer.bias[place])
    return x_BI


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize(("task_experts", "shared_experts"), [(2, 3), (3, 1), (1, 2), (1, 0), (2, 0)])
@pytest.mark.parametrize("first", [True, False])
def test_a_level_is_a_loop(task_experts: int, shared_experts: int, native: bool, last: bool, first: bool):
    block = level(task_experts=task_experts, shared_experts=shared_experts, native=native, last=last)
    modules = 2 + (shared_experts > 0)
    z_MBI = torch.randn(1 if first else modules, 11, 5, dtype=torch.float64)
    state = [z_MBI[0 if first else module] for module in range(modules)]
    owners = [0] * task_experts + [1] * task_experts + [2] * shared_experts
    outputs = [expert(block.experts, e, state[owner]) for e, owner in enumerate(owners)]
    fused_MBH = block(z_MBI)
    assert len(fused_MBH) == (2 if last else modules)
    for module in range(len(fused_MBH)):
        gate_BE = torch.softmax(state[module] @ block.gates.scores.weight[module], dim=-1)
        expected = torch.zeros(11, 3, dtype=torch.float64)
        for e, h_BH in enumerate(outputs):
            expected += gate_BE[:, e, None] * h_BH
        own = [h_BH for owner, h_BH in zip(owners, outputs, strict=True) if owner == module]
        weights = block.task_weights if module < 2 else block.shared_weights
        for place, h_BH in enumerate(own if native else []):
            expected += h_BH if weights is None else weights[module % 2, place] * h_BH
        torch.testing.assert_close(fused_MBH[module], expected, rtol=0, atol=1e-12)


def test_one_native_expert_needs_no_weight():
    assert level(task_experts=1, shared_experts=1).task_weights is None
    assert level(task_experts=1, shared_experts=1).shared_weights is None
    block = level(task_experts=4, shared_experts=9)
    assert block.task_weights is not None
    assert block.shared_weights is not None
    assert block.task_weights.abs().max() <= 1 / 2
    assert block.shared_weights.abs().max() <= 1 / 3
    assert level(last=True).shared_weights is None, "nobody reads the last shared state"


AUTHORS: dict[tuple[int, int], list[list[float]]] = {
    (2, 0): [
        [-0.6083771447369547, -1.0493650548960118, -0.3619905476315086],
        [0.7112559838275048, 0.7185354636713599, 1.077664730357894],
    ],
    (2, 2): [
        [-0.5648385820617262, -0.962062252533936, -0.21959301119036723],
        [0.5491526083062375, 0.46461152900699276, 1.1870194684676978],
    ],
}
"""First row of what the authors' code (facebookresearch/AdaTT) puts out for two levels with the weights of `sines`."""


def sines(shape: tuple[int, ...], start: int) -> Tensor:
    count = torch.Size(shape).numel()
    return torch.sin(torch.arange(start, start + count, dtype=torch.float64)).reshape(shape)


@pytest.mark.parametrize(("task_experts", "shared_experts"), AUTHORS)
def test_levels_compute_what_the_authors_code_does(task_experts: int, shared_experts: int):
    build = partial(
        Fusion,
        2,
        task_experts=task_experts,
        shared_experts=shared_experts,
        gates=partial(MappedGates, bias=True),
    )
    levels = torch.nn.ModuleList([build(3, (4,), last=False), build(4, (3,), last=True)]).double()
    for name, parameter in levels.named_parameters():
        parameter.data = sines(tuple(parameter.shape), sum(map(ord, name)) % 97)
    z_MBI = sines((5, 3), 7)[None]
    for block in levels:
        z_MBI = block(z_MBI)
    expected = torch.tensor(AUTHORS[task_experts, shared_experts], dtype=torch.float64)
    torch.testing.assert_close(z_MBI[:, 0], expected, rtol=0, atol=1e-12)


def test_refusals():
    with pytest.raises(ValueError, match="task_experts is 0; allowed: 1 or more"):
        level(task_experts=0)
    with pytest.raises(ValueError, match="shared_experts is -1; allowed: 0 or more"):
        level(shared_experts=-1)
