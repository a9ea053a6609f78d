"""Self-attention between experts, by hand and against a loop."""

from typing import Any

import pytest
import torch

from mtlbench.nn.expert_interaction import ExpertInteraction

EXPERTS = torch.randn(3, 7, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def interaction(heads: int = 2, **changes: Any) -> ExpertInteraction:
    torch.manual_seed(0)
    return ExpertInteraction(4, heads, **changes).double()


def test_hand_numbers():
    block = ExpertInteraction(1, 1)
    with torch.no_grad():
        block.query_key_value.weight.copy_(torch.tensor([1.0, 1.0, 10.0]).view(3, 1, 1))
    y_EBH = torch.tensor([0.0, 2.0]).view(2, 1, 1)  # of expert 0: scores 0, 0; of expert 1: 0 and 4
    share = torch.tensor(4.0).sigmoid()
    high_EBH, weights = block.attend(y_EBH)
    torch.testing.assert_close(
        weights, torch.stack([torch.tensor([0.5, 0.5]), torch.stack([1 - share, share])])[None, None]
    )
    torch.testing.assert_close(high_EBH.flatten(), torch.stack([torch.tensor(10.0), 20 * share]))
    torch.testing.assert_close(block(y_EBH).flatten(), torch.stack([torch.tensor(0.0), 40 * share]))


@pytest.mark.parametrize("heads", [1, 2, 4])
@pytest.mark.parametrize("scale", [False, True])
def test_attention_is_a_loop(heads: int, scale: bool):
    block = interaction(heads, scale=scale)
    high_EBH, weights = block.attend(EXPERTS)
    query, key, value = block.query_key_value.weight
    size = 4 // heads
    for row in range(7):
        for head in range(heads):
            part = slice(head * size, (head + 1) * size)
            for m in range(3):
                scores = torch.stack(
                    [(EXPERTS[m, row] @ query[:, part]) @ (EXPERTS[k, row] @ key[:, part]) for k in range(3)]
                )
                a_K = (scores * (size**-0.5 if scale else 1)).softmax(dim=0)
                torch.testing.assert_close(weights[row, head, m], a_K)
                expected = sum(a_K[k] * (EXPERTS[k, row] @ value[:, part]) for k in range(3))
                torch.testing.assert_close(high_EBH[m, row, part], expected)


def test_ways_to_merge():
    high_EBH, _ = interaction().attend(EXPERTS)
    torch.testing.assert_close(interaction()(EXPERTS), EXPERTS * high_EBH)
    torch.testing.assert_close(interaction(merge="replace")(EXPERTS), high_EBH)
    torch.testing.assert_close(interaction(merge="residual")(EXPERTS), (EXPERTS + high_EBH).relu())
    share_EB = (EXPERTS * high_EBH).sum(dim=-1).softmax(dim=0)
    torch.testing.assert_close(interaction(merge="dot")(EXPERTS), share_EB[..., None] * EXPERTS)


def test_without_queries_all_experts_attend_alike():
    block = interaction()
    with torch.no_grad():
        block.query_key_value.weight[0].zero_()
    high_EBH, weights = block.attend(EXPERTS)
    torch.testing.assert_close(weights, torch.full_like(weights, 1 / 3))
    torch.testing.assert_close(high_EBH, high_EBH[:1].expand_as(high_EBH))
    _, weights = interaction().attend(EXPERTS)
    torch.testing.assert_close(weights.sum(dim=-1), torch.ones(7, 2, 3, dtype=torch.float64))


@pytest.mark.parametrize("merge", ["hadamard", "residual", "replace", "dot"])
def test_experts_have_no_order(merge: str):
    order = torch.tensor([2, 0, 1])
    block = interaction(merge=merge)
    torch.testing.assert_close(block(EXPERTS[order]), block(EXPERTS)[order])


def test_one_expert_attends_to_itself():
    block = interaction()
    torch.testing.assert_close(block(EXPERTS[:1]), EXPERTS[:1] * (EXPERTS[:1] @ block.query_key_value.weight[2]))


@pytest.mark.parametrize("merge", ["hadamard", "dot"])
def test_gradients(merge: str):
    assert torch.autograd.gradcheck(interaction(merge=merge), EXPERTS[:, :2].clone().requires_grad_())
    assert sum(p.numel() for p in interaction().parameters()) == 3 * 4 * 4


def test_refusals():
    for heads in (0, 3):
        with pytest.raises(
            ValueError, match=f"interaction_heads is {heads} for experts of width 4; allowed: a divisor"
        ):
            interaction(heads)
    with pytest.raises(ValueError, match="interaction is 'sum'; allowed: hadamard"):
        interaction(merge="sum")
