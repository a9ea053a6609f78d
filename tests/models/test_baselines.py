"""Single-task networks, Shared-Bottom, MMoE and OMoE: counts, hand references, and what equals what."""

from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtlbench.models.dnn import DNN
from mtlbench.models.mmoe import MMoE
from mtlbench.models.shared_bottom import SharedBottom
from mtlbench.models.single_task import SingleTask
from mtlbench.nn.virtual_gradient import VirtualGradient
from synthetic import plain_schema, random_batch, rich_schema

FIXTURE = plain_schema()
"""Six fields of eleven ids, two tasks; embeddings of four components: x has 24."""
BATCH = random_batch(FIXTURE, 17)


def parameters(model: nn.Module) -> int:
    """Embedding tables excluded, as the papers do not say whether they count them."""
    return sum(p.numel() for name, p in model.named_parameters() if "embedding" not in name)


def perceptron(inputs: int, *layers: int) -> int:
    widths = [inputs, *layers]
    return sum(a * b + b for a, b in zip(widths, layers, strict=False))


def mmoe(experts: int = 3, tasks: int = 2, **changes: Any) -> MMoE:
    torch.manual_seed(0)
    arguments = {"embedding_width": 4, "experts": experts, "expert_layers": (16, 8), "tower_layers": (8,)} | changes
    return MMoE(plain_schema(tasks=tasks), **arguments)


def shared_bottom(tasks: int = 2) -> SharedBottom:
    torch.manual_seed(0)
    return SharedBottom(plain_schema(tasks=tasks), embedding_width=4, bottom_layers=(16, 8), tower_layers=(8,))


def experts_to_bottom(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """An MMoE's state without gates, under the names of Shared-Bottom."""
    return {name.replace("experts.", "bottom.stack."): value for name, value in state.items() if "gate" not in name}


def test_parameter_counts():
    dnn = DNN(FIXTURE, embedding_width=4, layers=(16, 8))
    assert parameters(dnn) == perceptron(24, 16, 8) + 9 == 545
    assert parameters(SingleTask(FIXTURE, network=partial(DNN, embedding_width=4, layers=(16, 8)))) == 2 * 545
    tower = perceptron(8, 8) + 9
    assert parameters(shared_bottom()) == perceptron(24, 16, 8) + 2 * tower == 698
    assert parameters(mmoe()) == 3 * perceptron(24, 16, 8) + 2 * 24 * 3 + 2 * tower == 1914
    assert parameters(mmoe(shared_gate=True)) == 1914 - 24 * 3 == 1842
    assert parameters(mmoe(gate_bias=True)) == 1914 + 2 * 3
    assert parameters(mmoe(gate_layers=(5,))) == 1914 + 2 * (perceptron(24, 5) + 5 * 3 - 24 * 3)
    assert sum(p.numel() for p in mmoe().fields.parameters()) == FIXTURE.embedding_rows * 4


# --- single tasks


def test_without_layers_a_network_is_a_logistic_regression():
    network = DNN(FIXTURE, embedding_width=4, layers=())
    weight = network.tower.head.weight[0, :, 0]
    torch.testing.assert_close(network(BATCH), network.fields(BATCH).flatten(1) @ weight)


def test_a_network_by_hand():
    network = DNN(FIXTURE, embedding_width=4, layers=(5,))
    hidden = network.tower.hidden.layers[0]
    expected = torch.relu(network.fields(BATCH).flatten(1) @ hidden.weight[0] + hidden.bias[0])
    torch.testing.assert_close(network(BATCH), expected @ network.tower.head.weight[0, :, 0])


def test_copies_share_nothing():
    model = SingleTask(FIXTURE, network=partial(DNN, embedding_width=4, layers=(5,)))
    assert len(model.copies) == 2
    logits = model(BATCH)
    for task, network in enumerate(model.copies):
        assert torch.equal(network(BATCH), logits[:, task])
    logits[:, 0].sum().backward()
    assert all(p.grad is not None for p in model.copies[0].parameters())
    assert all(p.grad is None or not p.grad.count_nonzero() for p in model.copies[1].parameters())
    assert not torch.equal(model.copies[0].fields.embedding, model.copies[1].fields.embedding)


# --- Shared-Bottom


def test_shared_bottom_by_hand():
    model = shared_bottom()
    x_BI = model.fields(BATCH).flatten(1)
    for layer in model.bottom.stack.layers:
        x_BI = torch.relu(x_BI @ layer.weight[0] + layer.bias[0])
    for task in range(2):
        hidden = model.towers.hidden.layers[0]
        h_BH = torch.relu(x_BI @ hidden.weight[task] + hidden.bias[task])
        logit = h_BH @ model.towers.head.weight[task, :, 0] + model.towers.head.bias[task]
        torch.testing.assert_close(model(BATCH)[:, task], logit)


def test_equal_towers_give_equal_logits():
    model = shared_bottom()
    with torch.no_grad():
        for parameter in model.towers.parameters():
            parameter.copy_(parameter[:1].expand_as(parameter))
    logits = model(BATCH)
    torch.testing.assert_close(logits[:, 0], logits[:, 1])


def test_with_one_task_shared_bottom_is_a_network():
    model = shared_bottom(tasks=1)
    network = DNN(FIXTURE, embedding_width=4, layers=(16, 8, 8))
    names = {
        "bottom.stack.layers": "tower.hidden.layers",
        "towers.hidden.layers.0": "tower.hidden.layers.2",
        "towers.head": "tower.head",
    }
    state = model.state_dict()
    for old, new in names.items():
        state = {name.replace(old, new): value for name, value in state.items()}
    network.load_state_dict(state)
    torch.testing.assert_close(network(BATCH), model(BATCH)[:, 0])


def test_every_task_teaches_the_bottom():
    for task in range(2):
        model = shared_bottom()
        model(BATCH)[:, task].sum().backward()
        for layer in model.bottom.stack.layers:
            assert layer.weight.grad is not None
            assert layer.weight.grad.count_nonzero()
        assert model.towers.head.weight.grad is not None
        assert not model.towers.head.weight.grad[1 - task].count_nonzero()


# --- MMoE


@pytest.mark.parametrize("shared_gate", [False, True])
def test_mmoe_is_a_loop(shared_gate: bool):
    model = mmoe(shared_gate=shared_gate)
    x_BI = model.fields(BATCH).flatten(1)
    outputs = []
    for expert in range(3):
        h_BH = x_BI
        for layer in model.experts.layers:
            h_BH = torch.relu(h_BH @ layer.weight[expert] + layer.bias[expert])
        outputs.append(h_BH)
    for task in range(2):
        weight_IE = model.gates.scores.weight[0 if shared_gate else task]
        gate_BE = torch.softmax(x_BI @ weight_IE, dim=-1)
        mixed_BH = sum(gate_BE[:, e, None] * outputs[e] for e in range(3))
        hidden, head = model.towers.hidden.layers[0], model.towers.head
        h_BH = torch.relu(mixed_BH @ hidden.weight[task] + hidden.bias[task])
        torch.testing.assert_close(model(BATCH)[:, task], h_BH @ head.weight[task, :, 0] + head.bias[task])


@pytest.mark.parametrize("shared_gate", [False, True], ids=["MMoE", "OMoE"])
def test_one_expert_is_a_shared_bottom(shared_gate: bool):
    model, bottom = mmoe(experts=1, shared_gate=shared_gate), shared_bottom()
    bottom.load_state_dict(experts_to_bottom(model.state_dict()))
    torch.testing.assert_close(model(BATCH), bottom(BATCH))


def test_equal_gates_are_one_gate():
    one, two = mmoe(shared_gate=True), mmoe()
    state = one.state_dict()
    state["gates.scores.weight"] = state["gates.scores.weight"].expand(2, -1, -1)
    two.load_state_dict(state)
    torch.testing.assert_close(two(BATCH), one(BATCH))


def test_zero_gates_take_the_mean_of_experts():
    model = mmoe()
    nn.init.zeros_(model.gates.scores.weight)
    x_1BI = model.fields(BATCH).flatten(1)[None]
    torch.testing.assert_close(model(BATCH), model.towers(model.experts(x_1BI).mean(dim=0, keepdim=True)))


def test_a_task_does_not_teach_the_gate_of_another():
    model = mmoe()
    model(BATCH)[:, 0].sum().backward()
    gradient = model.gates.scores.weight.grad
    assert gradient is not None
    assert gradient[0].count_nonzero()
    assert not gradient[1].count_nonzero()


def test_experts_have_no_order():
    model, shuffled = mmoe(), mmoe()
    order = torch.tensor([2, 0, 1])
    state = {
        name: value[order] if name.startswith("experts") else value[..., order] if "gates" in name else value
        for name, value in model.state_dict().items()
    }
    shuffled.load_state_dict(state)
    torch.testing.assert_close(shuffled(BATCH), model(BATCH))


def test_units_of_an_expert_differ():
    """Constant initial values would keep all units of a layer equal for ever."""
    for layer in mmoe().experts.layers:
        assert len(layer.weight.flatten().unique()) > 0.99 * layer.weight.numel()


def test_the_virtual_gradient_bends_the_gates_alone():
    plain, bent = mmoe(), mmoe(virtual_gradient=VirtualGradient(shape="abs"))
    assert torch.equal(plain(BATCH), bent(BATCH))
    for model in (plain, bent):
        F.binary_cross_entropy_with_logits(model(BATCH), BATCH.labels).backward()
    for (name, p), q in zip(plain.named_parameters(), bent.parameters(), strict=True):
        # the gates read the embeddings, so what is bent flows on into them
        assert torch.equal(p.grad, q.grad) == ("gates" not in name and "embedding" not in name), name


def test_diagnostics():
    model = mmoe(virtual_gradient=VirtualGradient())
    found = model.eval().diagnostics(BATCH)
    assert found["gate"].shape == (2, 17, 3)
    torch.testing.assert_close(found["gate"].sum(dim=-1), torch.ones(2, 17))
    assert found["coefficient"].shape == (2, 17, 3)
    assert set(mmoe().eval().diagnostics(BATCH)) == {"gate"}


def test_labels_that_are_not_observed_do_not_bend():
    model = mmoe(virtual_gradient=VirtualGradient())
    observed = torch.ones(17, 2, dtype=torch.bool)
    observed[5:, 1] = False
    assert BATCH.labels is not None
    unknown = replace(BATCH, observed=observed, labels=torch.where(observed, BATCH.labels, torch.nan))
    other = replace(unknown, labels=torch.where(observed, BATCH.labels, 1.0))
    gradients = []
    for batch in (unknown, other):
        model.zero_grad()
        model(batch).square().sum().backward()
        gradients.append(model.gates.scores.weight.grad)
    assert torch.equal(*gradients)


def test_refusals():
    with pytest.raises(ValueError, match="experts is 0; allowed: 1 or more"):
        mmoe(experts=0)
    with pytest.raises(ValueError, match="expert_layers is empty"):
        mmoe(expert_layers=())
    with pytest.raises(ValueError, match=r"shared_gate is true.*Choose virtual_gradient=none"):
        mmoe(shared_gate=True, virtual_gradient=VirtualGradient())


def test_numbers_and_bags_count_as_fields():
    schema = rich_schema()
    assert (
        parameters(DNN(schema, embedding_width=4, layers=())) == 6 * 4 + 1 + 4 * 4
    )  # head, and (1 + 3) x 4 of numbers
