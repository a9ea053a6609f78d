"""Attention gates: coarse and fine, by hand and against each other."""

from typing import Any

import pytest
import torch
from torch import Tensor

from mtlbench.nn.attention_gate import AttentionGates
from mtlbench.nn.gate import mix

EXPERTS = torch.randn(3, 7, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
"""Three experts, seven rows, five units."""


def gates(fine: bool = False, **changes: Any) -> AttentionGates:
    torch.manual_seed(0)
    return AttentionGates(2, 3, 5, fine=fine, **changes).double()


def test_hand_numbers():
    coarse = AttentionGates(1, 2, 2)
    with torch.no_grad():
        coarse.vectors.copy_(torch.tensor([[[1.0, 2.0]]]))
    expert_EBH = torch.tensor([[[3.0, 0.0]], [[1.0, 1.0]]])  # scores 3 and 3
    torch.testing.assert_close(coarse(expert_EBH), torch.tensor([[[0.5, 0.5]]]))
    fine = AttentionGates(1, 2, 2, fine=True, norm="none")
    with torch.no_grad():
        fine.vectors.copy_(torch.tensor([[[1.0, 2.0], [3.0, 4.0]]]))
    torch.testing.assert_close(fine(expert_EBH), torch.tensor([[[[3.0, 0.0], [3.0, 4.0]]]]))
    torch.testing.assert_close(mix(fine(expert_EBH), expert_EBH), torch.tensor([[[9 + 3.0, 0 + 4.0]]]))


@pytest.mark.parametrize("norm", ["softmax", "sigmoid", "none"])
@pytest.mark.parametrize("scale", [False, True])
@pytest.mark.parametrize("kind", ["coarse", "fine", "sum"])
def test_gates_are_a_loop(norm: str, scale: bool, kind: str):
    block = gates(kind != "coarse", reduce="sum" if kind == "sum" else "none", norm=norm, scale=scale)
    found, mixed = block(EXPERTS), mix(block(EXPERTS), EXPERTS)
    assert found.shape == ((2, 7, 3, 5) if kind == "fine" else (2, 7, 3))
    for task in range(2):
        for row in range(7):
            products = block.queries()[task] * EXPERTS[:, row]  # of a coarse gate one query for all experts
            scores = (products if kind == "fine" else products.sum(dim=1)) * (5**-0.5 if scale else 1)
            weights = {"softmax": scores.softmax(dim=0), "sigmoid": scores.sigmoid(), "none": scores}[norm]
            torch.testing.assert_close(found[task, row], weights)
            weights = weights if kind == "fine" else weights[:, None]
            torch.testing.assert_close(mixed[task, row], (weights * EXPERTS[:, row]).sum(dim=0))


@pytest.mark.parametrize("fine", [False, True])
def test_queries_of_zero_take_the_mean_of_experts(fine: bool):
    block = gates(fine)
    torch.nn.init.zeros_(block.vectors)
    torch.testing.assert_close(mix(block(EXPERTS), EXPERTS), EXPERTS.mean(dim=0).expand(2, -1, -1))


@pytest.mark.parametrize("fine", [False, True])
def test_weights_of_experts_sum_to_one(fine: bool):
    found = gates(fine)(EXPERTS).sum(dim=2)
    torch.testing.assert_close(found, torch.ones_like(found))


def test_a_fine_gate_that_sums_with_one_query_for_all_is_coarse():
    coarse, fine = gates(), gates(True, reduce="sum")
    with torch.no_grad():
        fine.vectors.copy_(coarse.vectors.expand(-1, 3, -1))
    torch.testing.assert_close(fine(EXPERTS), coarse(EXPERTS))
    literal = gates(True)
    with torch.no_grad():
        literal.vectors.copy_(fine.vectors)
    assert not torch.allclose(mix(literal(EXPERTS), EXPERTS), mix(coarse(EXPERTS), EXPERTS)), "another reading"


def test_experts_have_no_order():
    """A coarse query serves all experts; those of a fine gate go with their experts."""
    order = torch.tensor([2, 0, 1])
    coarse, fine, moved = gates(), gates(True), gates(True)
    torch.testing.assert_close(mix(coarse(EXPERTS[order]), EXPERTS[order]), mix(coarse(EXPERTS), EXPERTS))
    with torch.no_grad():
        moved.vectors.copy_(fine.vectors[:, order])
    torch.testing.assert_close(mix(moved(EXPERTS[order]), EXPERTS[order]), mix(fine(EXPERTS), EXPERTS))
    assert not torch.allclose(mix(fine(EXPERTS[order]), EXPERTS[order]), mix(fine(EXPERTS), EXPERTS))


def test_a_dense_query_is_a_layer_on_a_vector():
    for query, function in (("dense", lambda q: q), ("dense_tanh", torch.tanh), ("dense_relu", torch.relu)):
        block = gates(query=query)
        assert block.dense is not None
        assert block.dense.bias is not None
        torch.nn.init.normal_(block.dense.bias)
        for task in range(2):
            q_H = block.vectors[task, 0] @ block.dense.weight[task] + block.dense.bias[task]
            torch.testing.assert_close(block.queries()[task, 0], function(q_H))
    plain = gates(query="dense")
    assert plain.dense is not None
    with torch.no_grad():
        plain.dense.weight.copy_(torch.eye(5).expand(2, -1, -1))
    torch.testing.assert_close(plain(EXPERTS), gates()(EXPERTS))


def count(block: AttentionGates) -> int:
    return sum(p.numel() for p in block.parameters())


def test_parameter_counts():
    assert count(gates()) == 2 * 5
    assert count(gates(True)) == 2 * 3 * 5
    assert count(gates(query="dense_tanh")) == 2 * 5 + 2 * (5 * 5 + 5)


@pytest.mark.parametrize("fine", [False, True])
@pytest.mark.parametrize("query", ["direct", "dense_tanh"])
def test_gradients_reach_experts_and_queries(fine: bool, query: str):
    block = gates(fine, query=query)
    experts = EXPERTS[:, :2].clone().requires_grad_()

    def run(expert_EBH: Tensor, vectors: Tensor) -> Tensor:
        gate = torch.func.functional_call(block, {"vectors": vectors}, (expert_EBH,))
        return mix(gate, expert_EBH)

    assert torch.autograd.gradcheck(run, (experts, block.vectors))
    gates(fine).double()(experts).square().sum().backward()
    assert experts.grad is not None
    assert experts.grad.count_nonzero()


def test_gates_are_float32_under_autocast():
    with torch.autocast("cpu", torch.bfloat16):
        for fine in (False, True):
            assert AttentionGates(2, 3, 5, fine=fine)(EXPERTS.bfloat16()).dtype == torch.float32


def test_refusals():
    for key, argument in (("gate_query", "query"), ("gate_norm", "norm"), ("fine_reduce", "reduce")):
        with pytest.raises(ValueError, match=f"{key} is 'other'; allowed: "):
            gates(**{argument: "other"})
