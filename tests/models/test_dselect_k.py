"""DSelect-k: counts, and what equals what."""

from typing import Any

import torch
from torch import nn

from mtlbench.models.dselect_k import DSelectK
from mtlbench.models.mmoe import MMoE
from synthetic import plain_schema, random_batch

FIXTURE = plain_schema()
"""Six fields, two tasks; embeddings of four components: x has 24."""
BATCH = random_batch(FIXTURE, 17)


def dselect_k(experts: int = 4, **changes: Any) -> DSelectK:
    torch.manual_seed(0)
    arguments = {"embedding_width": 4, "experts": experts, "expert_layers": (16, 8), "tower_layers": (8,)} | changes
    return DSelectK(FIXTURE, **arguments)


def parameters(model: nn.Module) -> int:
    return sum(p.numel() for name, p in model.named_parameters() if "embedding" not in name)


def spell(model: DSelectK, experts: list[list[int]]) -> None:
    """Let each selector of each task's gate spell one expert, whatever the row is."""
    numbers = torch.tensor(experts)[..., None]
    digits = (numbers >> torch.arange(model.gates.digits)) & 1
    with torch.no_grad():
        model.gates.codes.weight.zero_()
        assert model.gates.codes.bias is not None
        model.gates.codes.bias.copy_(2.0 * digits.flatten(1) - 1)


def test_parameter_counts():
    expert, tower = 24 * 16 + 16 + 16 * 8 + 8, 8 * 8 + 8 + 8 + 1
    rest = 4 * expert + 2 * tower
    assert parameters(dselect_k()) == rest + 2 * 24 * (2 * 2 + 2) == 2594
    assert parameters(dselect_k(gate_bias=True)) == 2594 + 2 * (2 * 2 + 2)
    assert parameters(dselect_k(per_example=False)) == rest + 2 * (2 * 2 + 2)
    assert parameters(dselect_k(selected_experts=1)) == rest + 2 * 24 * 2, "one selector has no scores"
    assert parameters(dselect_k(experts=5, selected_experts=3)) == 5 * expert + 2 * tower + 2 * 24 * (3 * 3 + 3)


def test_with_a_selector_for_each_expert_it_is_mmoe():
    """With k = n and selectors that have settled on an expert each, a gate is the softmax of its scores."""
    model = dselect_k(selected_experts=4, gate_bias=True)
    spell(model, [[0, 1, 2, 3], [0, 1, 2, 3]])
    mmoe = MMoE(FIXTURE, embedding_width=4, experts=4, expert_layers=(16, 8), tower_layers=(8,), gate_bias=True)
    state = {name: value for name, value in model.state_dict().items() if ".codes." not in name}
    mmoe.load_state_dict(state)
    torch.testing.assert_close(model(BATCH), mmoe(BATCH))
    torch.testing.assert_close(model.eval().diagnostics(BATCH)["gate"], mmoe.diagnostics(BATCH)["gate"])


def test_an_expert_that_no_gate_selects_learns_nothing():
    model = dselect_k(gate_bias=True)
    spell(model, [[0, 1], [1, 3]])
    model(BATCH).sum().backward()
    gradient = model.experts.layers[0].weight.grad
    assert isinstance(gradient, torch.Tensor)
    assert [bool(part.count_nonzero()) for part in gradient] == [True, True, False, True]
    found = model.eval().diagnostics(BATCH)
    assert (found["gate"] > 0).sum(dim=-1).eq(2).all()
    assert found["gate_closed"].tolist() == [0.5, 0.5]


def test_static_gates_are_those_of_every_row():
    gate_TBE = dselect_k(per_example=False).eval().diagnostics(BATCH)["gate"]
    assert gate_TBE.shape == (2, 17, 4)
    assert torch.equal(gate_TBE, gate_TBE[:, :1].expand(-1, 17, -1))
    assert not torch.equal(gate_TBE[0], gate_TBE[1])


def test_the_penalty_reaches_the_gates_alone_where_they_are_static():
    model = dselect_k(per_example=False)
    model(BATCH)
    model.gates.penalty().backward()
    taught = {name for name, p in model.named_parameters() if p.grad is not None and p.grad.count_nonzero()}
    assert taught == {"gates.codes.weight"}
