"""L2-Constrained: counts, the penalty by pairs, its two limits."""

from itertools import combinations
from typing import Any

import pytest
import torch

from mtlbench.models.dnn import DNN
from mtlbench.models.l2_constrained import L2Constrained
from synthetic import plain_schema, random_batch

FIXTURE = plain_schema()
BATCH = random_batch(FIXTURE, 17)


def l2_constrained(tasks: int = 2, **changes: Any) -> L2Constrained:
    torch.manual_seed(0)
    arguments: dict[str, Any] = {"embedding_width": 4, "layers": (16, 8)} | changes
    return L2Constrained(plain_schema(tasks=tasks), **arguments)


def theta(model: L2Constrained, task: int) -> torch.Tensor:
    return torch.cat([p[task].flatten() for p in model.networks.parameters()])


def test_parameter_count():
    """T perceptrons of 545 parameters."""
    assert sum(p.numel() for name, p in l2_constrained().named_parameters() if "embedding" not in name) == 2 * 545


@pytest.mark.parametrize("tasks", [1, 2, 4])
def test_the_penalty_is_a_sum_over_pairs(tasks: int):
    model = l2_constrained(tasks, constraint_weight=0.5)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter)
    pairs = [(theta(model, t) - theta(model, u)).square().sum() for t, u in combinations(range(tasks), 2)]
    torch.testing.assert_close(model.penalty(), 0.5 * sum(pairs, start=torch.zeros(())), atol=1e-4, rtol=1e-5)
    assert theta(model, 0).numel() == 545


def test_a_task_is_a_network_of_its_own():
    model = l2_constrained()
    for task in range(2):
        network = DNN(FIXTURE, embedding_width=4, layers=(16, 8))
        state = {"fields.embedding": model.fields.embedding}
        for name, value in model.networks.state_dict().items():
            state[f"tower.{name}"] = value[task : task + 1]
        network.load_state_dict(state)
        torch.testing.assert_close(network(BATCH), model(BATCH)[:, task])


def test_without_a_weight_nothing_is_charged():
    model = l2_constrained(constraint_weight=0.0)
    model.penalty().backward()
    assert model.penalty() == 0
    assert not any(p.grad.count_nonzero() for p in model.networks.parameters() if p.grad is not None)


def test_a_large_weight_makes_one_network():
    """Along the penalty's gradient, a step of 1 / (2 alpha T) leads to the tasks' mean, whatever alpha is."""
    alpha = 1e6
    model = l2_constrained(3, constraint_weight=alpha)
    mean = torch.stack([theta(model, task) for task in range(3)]).mean(dim=0).detach()
    batch = random_batch(plain_schema(tasks=3), 17)
    optimizer = torch.optim.SGD(model.networks.parameters(), lr=1 / (2 * alpha * 3))
    loss = torch.nn.functional.binary_cross_entropy_with_logits(model(batch), batch.labels)  # pyright: ignore[reportArgumentType]
    (loss + model.penalty()).backward()
    optimizer.step()
    for task in range(3):
        torch.testing.assert_close(theta(model, task), mean, rtol=1e-5, atol=1e-5)
    logits = model(batch)
    torch.testing.assert_close(logits, logits[:, :1].expand(-1, 3), rtol=1e-5, atol=1e-5)


def test_diagnostics():
    model = l2_constrained(3)
    distance_TT = model.diagnostics(BATCH)["distance"]
    torch.testing.assert_close(distance_TT[0, 2], (theta(model, 0) - theta(model, 2)).norm())
    torch.testing.assert_close(distance_TT.square().sum() / 2 * 0.001, model.penalty())


def test_refusals():
    with pytest.raises(ValueError, match="constraint_weight is -1; allowed: 0 or more"):
        l2_constrained(constraint_weight=-1)
