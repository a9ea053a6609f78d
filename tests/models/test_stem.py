"""STEM: counts, which embeddings a task teaches, what equals what, and a loop by hand in float64."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mtlbench.models.mmoe import MMoE
from mtlbench.models.stem import STEM
from mtlbench.nn.stacked import StackedLinear
from synthetic import plain_schema, random_batch, rich_schema

FIXTURE = plain_schema(tasks=3)
"""Six fields of eleven ids, three tasks; embeddings of four components: x has 24."""
BATCH = random_batch(FIXTURE, 17)


def stem(**changes: Any) -> STEM:
    torch.manual_seed(0)
    arguments = {"task_experts": 2, "shared_experts": 1, "expert_layers": (16, 8), "tower_layers": (8,)} | changes
    return STEM(FIXTURE, embedding_width=4, **arguments)


def parameters(model: nn.Module) -> int:
    return sum(p.numel() for name, p in model.named_parameters() if "embedding" not in name)


def taught(model: nn.Module, task: int) -> dict[str, Tensor]:
    model.zero_grad(set_to_none=True)
    model(BATCH)[:, task].square().sum().backward()
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def test_parameter_counts():
    expert, tower = 24 * 16 + 16 + 16 * 8 + 8, 8 * 8 + 8 + 8 + 1
    assert parameters(stem()) == 7 * expert + 3 * 24 * 7 + 3 * tower == 4499
    assert parameters(stem(gate_bias=True)) == 4499 + 3 * 7
    tables = [p.numel() for name, p in stem().named_parameters() if "embedding" in name]
    assert tables == [FIXTURE.embedding_rows * 4] * 4, "one for each task, and the shared one"


def test_number_fields_have_weights_in_every_embedding():
    model = STEM(
        rich_schema(), embedding_width=4, task_experts=1, shared_experts=1, expert_layers=(5,), tower_layers=()
    )
    numbers = [p.numel() for name, p in model.named_parameters() if name.endswith("numbers")]
    assert numbers == [4 * 4] * 3


@pytest.mark.parametrize("task", range(3))
def test_a_task_teaches_its_own_and_the_shared_embeddings(task: int):
    gradients = taught(stem(), task)
    for other in range(3):
        table = gradients[f"task_fields.{other}.embedding"]
        assert bool(table.count_nonzero()) == (other == task), other
    assert gradients["fields.embedding"].count_nonzero()
    experts = gradients["experts.layers.0.weight"]
    own = [expert // 2 == task for expert in range(6)]
    assert [bool(expert.count_nonzero()) for expert in experts] == [*own, True]
    every = taught(stem(stop_gradient=False), task)
    assert all(every[f"task_fields.{other}.embedding"].count_nonzero() for other in range(3))
    assert all(expert.count_nonzero() for expert in every["experts.layers.0.weight"])


@pytest.mark.parametrize("changed", range(3))
def test_every_embedding_reaches_every_task(changed: int):
    model = stem()
    before = model(BATCH)
    with torch.no_grad():
        model.task_fields[changed].embedding[1:] += 1  # pyright: ignore
    assert (model(BATCH) != before).any(dim=0).all()


def test_stopped_gradients_change_no_logit():
    torch.testing.assert_close(stem()(BATCH), stem(stop_gradient=False)(BATCH))


def as_mmoe(model: STEM) -> MMoE:
    """MMoE with all of the experts, and gates that read x where those of STEM read x + x; all tables become one."""
    mmoe = MMoE(FIXTURE, embedding_width=4, experts=7, expert_layers=(16, 8), tower_layers=(8,))
    state = {name: value for name, value in model.state_dict().items() if not name.startswith("task_fields")}
    mmoe.load_state_dict(state)
    with torch.no_grad():
        mmoe.gates.scores.weight.mul_(2)
        for fields in model.task_fields:
            fields.embedding.copy_(model.fields.embedding)  # pyright: ignore
    return mmoe


def test_with_one_table_and_without_stopped_gradients_it_is_mmoe():
    model = stem(stop_gradient=False)
    mmoe = as_mmoe(model)
    torch.testing.assert_close(model(BATCH), mmoe(BATCH))
    for task in range(3):
        gradients, expected = taught(model, task), taught(mmoe, task)
        tables = [gradients["fields.embedding"], *(gradients[f"task_fields.{t}.embedding"] for t in range(3))]
        torch.testing.assert_close(torch.stack(tables).sum(dim=0), expected["fields.embedding"])
        for name in ("experts.layers.0.weight", "towers.head.weight"):
            torch.testing.assert_close(gradients[name], expected[name])


def test_for_one_task_stopped_gradients_are_none():
    schema = plain_schema(tasks=1)
    gradients: list[Tensor] = []
    for stop_gradient in (True, False):
        torch.manual_seed(0)
        model = STEM(
            schema,
            embedding_width=4,
            task_experts=2,
            shared_experts=1,
            expert_layers=(8,),
            tower_layers=(),
            stop_gradient=stop_gradient,
        )
        model(random_batch(schema, 17)).sum().backward()
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))
    torch.testing.assert_close(*gradients)


def naive(model: STEM, task: int) -> Tensor:
    """A task's logits from the formulas, expert by expert, with stopped gradients."""

    def perceptron(layers: nn.ModuleList, place: int, x_BI: Tensor) -> Tensor:
        for layer in layers:
            assert isinstance(layer, StackedLinear)
            assert layer.bias is not None
            x_BI = torch.relu(x_BI @ layer.weight[place] + layer.bias[place])
        return x_BI

    shared_BI = model.fields(BATCH).flatten(1)
    own = [fields(BATCH).flatten(1) for fields in model.task_fields]
    gate_BE = torch.softmax((own[task] + shared_BI) @ model.gates.scores.weight[task], dim=-1)
    mixed_BH = torch.zeros(17, 8, dtype=torch.float64)
    for expert in range(7):
        h_BH = perceptron(model.experts.layers, expert, own[expert // 2] if expert < 6 else shared_BI)
        learns = expert == 6 or expert // 2 == task
        mixed_BH = mixed_BH + gate_BE[:, expert, None] * (h_BH if learns else h_BH.detach())
    hidden_BH = perceptron(model.towers.hidden.layers, task, mixed_BH)
    assert model.towers.head.bias is not None
    return hidden_BH @ model.towers.head.weight[task, :, 0] + model.towers.head.bias[task]


@pytest.mark.parametrize("task", range(3))
def test_logits_and_gradients_are_those_of_a_loop(task: int):
    model = stem().double()
    logits_B, expected_B = model(BATCH)[:, task], naive(model, task)
    torch.testing.assert_close(logits_B, expected_B, rtol=0, atol=1e-12)
    found, expected = (
        torch.autograd.grad(each.sum(), list(model.parameters()), materialize_grads=True)
        for each in (logits_B, expected_B)
    )
    for gradient, other in zip(found, expected, strict=True):
        torch.testing.assert_close(gradient, other, rtol=0, atol=1e-12)


AUTHORS: dict[tuple[int, int], list[float]] = {
    (1, 1): [0.6928995045232698, 0.5238003953619156],
    (2, 3): [0.80872790500452, 0.9175610388460621],
}
"""Logits of the first row behind the authors' layer (LiangcaiSu/STEM), for the weights of `sines`."""


def sines(shape: tuple[int, ...], start: int) -> Tensor:
    count = torch.Size(shape).numel()
    return torch.sin(torch.arange(start, start + count, dtype=torch.float64)).reshape(shape)


@pytest.mark.parametrize(("task_experts", "shared_experts"), AUTHORS)
def test_logits_are_those_of_the_authors_layer(task_experts: int, shared_experts: int):
    schema = plain_schema(fields=2, cardinality=3)
    model = STEM(
        schema,
        embedding_width=2,
        task_experts=task_experts,
        shared_experts=shared_experts,
        expert_layers=(4, 3),
        tower_layers=(),
        gate_bias=True,
    ).double()
    for name, parameter in model.named_parameters():
        parameter.data = sines(tuple(parameter.shape), sum(map(ord, name)) % 97)
    expected = torch.tensor(AUTHORS[task_experts, shared_experts], dtype=torch.float64)
    torch.testing.assert_close(model(random_batch(schema, 5))[0], expected, rtol=0, atol=1e-12)


def test_gates_are_shown():
    gate_TBE = stem().eval().diagnostics(BATCH)["gate"]
    assert gate_TBE.shape == (3, 17, 7)
    torch.testing.assert_close(gate_TBE.sum(dim=-1), torch.ones(3, 17))


def test_refusals():
    with pytest.raises(ValueError, match="task_experts is 0; allowed: 1 or more"):
        stem(task_experts=0)
    with pytest.raises(ValueError, match="shared_experts is 0; allowed: 1 or more"):
        stem(shared_experts=0)
    with pytest.raises(ValueError, match="expert_layers is empty"):
        stem(expert_layers=())
