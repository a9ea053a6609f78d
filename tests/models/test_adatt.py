"""AdaTT: counts, what equals what, and which task reaches which."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mtlbench.models.adatt import AdaTT
from mtlbench.models.mmoe import MMoE
from synthetic import plain_schema, random_batch

FIXTURE = plain_schema()
"""Six fields, two tasks; embeddings of four components: x has 24."""
BATCH = random_batch(FIXTURE, 17)


def adatt(levels: int = 1, **changes: Any) -> AdaTT:
    torch.manual_seed(0)
    arguments = {
        "level_layers": ((16, 8),) if levels == 1 else ((16,), (8,)),
        "task_experts": 2,
        "shared_experts": 1,
        "tower_layers": (8,),
    }
    return AdaTT(FIXTURE, embedding_width=4, **(arguments | changes))


def parameters(model: nn.Module) -> int:
    return sum(p.numel() for name, p in model.named_parameters() if "embedding" not in name)


def reached(gradients: Tensor) -> list[bool]:
    return [bool(part.count_nonzero()) for part in gradients]


def test_parameter_counts():
    experts, towers = 5 * (24 * 16 + 16 + 16 * 8 + 8), 2 * (8 * 8 + 8 + 8 + 1)
    one_level = experts + 2 * 24 * 5 + 2 * 2 + towers
    assert parameters(adatt()) == one_level == 3086
    assert parameters(adatt(native_fusion=False)) == one_level - 2 * 2
    assert parameters(adatt(gate_bias=True)) == one_level + 2 * 5
    # Three gates and native sums at the first level, two of each at the last.
    gates = 3 * 24 * 5 + 2 * 16 * 5
    assert parameters(adatt(levels=2)) == experts + gates + 2 * 2 * 2 + towers
    more_shared = adatt(levels=2, shared_experts=3)
    assert parameters(more_shared) == experts * 7 // 5 + gates * 7 // 5 + 2 * 2 * 2 + 3 + towers
    single = adatt(levels=2, task_experts=1, shared_experts=0)
    assert parameters(single) == experts * 2 // 5 + 2 * 24 * 2 + 2 * 16 * 2 + towers


@pytest.mark.parametrize(("task_experts", "shared_experts"), [(2, 0), (1, 2)])
def test_one_level_without_native_fusion_is_mmoe_with_all_experts(task_experts: int, shared_experts: int):
    model = adatt(task_experts=task_experts, shared_experts=shared_experts, native_fusion=False)
    experts = 2 * task_experts + shared_experts
    mmoe = MMoE(FIXTURE, embedding_width=4, experts=experts, expert_layers=(16, 8), tower_layers=(8,))
    mmoe.load_state_dict({name.replace("levels.0.", ""): value for name, value in model.state_dict().items()})
    torch.testing.assert_close(model(BATCH), mmoe(BATCH))


def test_native_fusion_with_weights_of_zero_is_none():
    model, without = adatt(levels=2), adatt(levels=2, native_fusion=False)
    for level in model.levels:
        with torch.no_grad():
            level.task_weights.zero_()  # pyright: ignore
    # One shared expert has weight 1 in the first level: its module must not be read on.
    state = {name: value for name, value in model.state_dict().items() if not name.endswith("task_weights")}
    without.load_state_dict(state)
    with torch.no_grad():
        for each in (model, without):
            each.levels[0].experts.layers[0].weight[4:] = 0  # pyright: ignore
            each.levels[0].experts.layers[0].bias[4:] = 0  # pyright: ignore
    torch.testing.assert_close(model(BATCH), without(BATCH))
    assert not torch.equal(adatt(levels=2)(BATCH), without(BATCH))


@pytest.mark.parametrize("levels", [1, 2])
def test_every_expert_reaches_every_task_and_native_weights_their_own(levels: int):
    model = adatt(levels=levels)
    model(BATCH)[:, 0].sum().backward()
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    for level in range(levels):
        assert reached(gradients[f"levels.{level}.experts.layers.0.weight"]) == [True] * 5
    assert reached(gradients[f"levels.{levels - 1}.task_weights"]) == [True, False]
    assert reached(gradients[f"levels.{levels - 1}.gates.scores.weight"]) == [True, False]
    if levels == 2:
        assert reached(gradients["levels.0.task_weights"]) == [True, True]
        assert reached(gradients["levels.0.gates.scores.weight"]) == [True, True, True]


def test_gates_of_every_level_are_shown():
    found = adatt(levels=2).eval().diagnostics(BATCH)
    assert {name: tuple(value.shape) for name, value in found.items()} == {"gate/0": (2, 17, 5), "gate/1": (2, 17, 5)}
    for gate in found.values():
        torch.testing.assert_close(gate.sum(dim=-1), torch.ones(2, 17))


def test_refusals():
    with pytest.raises(ValueError, match="level_layers is empty"):
        adatt(level_layers=())
    with pytest.raises(ValueError, match="a level of level_layers is empty"):
        adatt(level_layers=((8,), ()))
    with pytest.raises(ValueError, match="task_experts is 0"):
        adatt(task_experts=0)
