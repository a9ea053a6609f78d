"""CGC and PLE: counts, what equals what, and which task teaches what."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from mtlbench.models.mmoe import MMoE
from mtlbench.models.ple import PLE
from synthetic import plain_schema, random_batch

FIXTURE = plain_schema()
BATCH = random_batch(FIXTURE, 17)


def ple(tasks: int = 2, **changes: Any) -> PLE:
    torch.manual_seed(0)
    arguments = {"level_layers": ((16, 8),), "shared_experts": 2, "task_experts": 1, "tower_layers": (8,)} | changes
    return PLE(plain_schema(tasks=tasks), embedding_width=4, **arguments)


def two_levels(**changes: Any) -> PLE:
    return ple(level_layers=((16,), (8,)), **changes)


def parameters(model: nn.Module) -> int:
    return sum(p.numel() for name, p in model.named_parameters() if "embedding" not in name)


def taught(model: nn.Module, task: int) -> dict[str, torch.Tensor]:
    model(BATCH)[:, task].sum().backward()
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def test_parameter_counts():
    assert parameters(ple()) == 2450
    assert parameters(two_levels()) == 2642
    gates = 2 * 24 * 3 + 1 * 24 * (2 * 2 + 1) + 2 * 16 * 3  # the last level has no shared gate
    experts = 5 * (24 * 16 + 16) + 5 * (16 * 8 + 8)
    towers = 2 * (8 * 8 + 8 + 8 + 1)
    assert parameters(two_levels(shared_experts=1, task_experts=2)) == experts + gates + towers


def test_without_task_experts_cgc_is_mmoe():
    model = ple(task_experts=0)
    mmoe = MMoE(FIXTURE, embedding_width=4, experts=2, expert_layers=(16, 8), tower_layers=(8,))
    names = {"levels.0.shared.": "experts.", "levels.0.gates.": "gates."}
    state = model.state_dict()
    for old, new in names.items():
        state = {name.replace(old, new): value for name, value in state.items()}
    mmoe.load_state_dict(state)
    torch.testing.assert_close(mmoe(BATCH), model(BATCH))


def test_cgc_keeps_tasks_apart():
    gradients = taught(ple(task_experts=2), task=0)
    for layer in (0, 1):
        gradient = gradients[f"levels.0.own.layers.{layer}.weight"]
        assert gradient[:2].count_nonzero()
        assert not gradient[2:].count_nonzero()
        assert gradients[f"levels.0.shared.layers.{layer}.weight"].count_nonzero()
    assert not gradients["levels.0.gates.scores.weight"][1].count_nonzero()


@pytest.mark.parametrize("build", [ple, two_levels], ids=["CGC", "PLE"])
def test_without_shared_experts_tasks_share_embeddings_alone(build: Callable[..., PLE]):
    model = build(shared_experts=0, task_experts=2)
    for name, gradient in taught(model, task=0).items():
        if "embedding" not in name:
            assert gradient.chunk(2)[0].count_nonzero(), name
            assert not gradient.chunk(2)[1].count_nonzero(), name
    model.zero_grad(set_to_none=True)
    model(BATCH).sum().backward()
    assert all(p.grad is not None for p in model.parameters()), "an unused parameter"


@pytest.mark.parametrize("levels", [1, 2])
def test_experts_of_another_task_reach_a_task_through_the_shared_state(levels: int):
    model = ple(level_layers=((8,),) * levels)
    before = model(BATCH)
    with torch.no_grad():
        model.levels[0].own.layers[0].weight[1] += 1
    changed = (model(BATCH) != before).any(dim=0)
    assert changed.tolist() == [levels == 2, True]


def test_refusals():
    with pytest.raises(ValueError, match="level_layers is empty"):
        ple(level_layers=())
    with pytest.raises(ValueError, match="a level of level_layers is empty"):
        ple(level_layers=((8,), ()))
