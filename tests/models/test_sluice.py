"""Sluice networks: a loop by hand, the networks that they contain, and what subspaces have in common."""

from typing import Any

import pytest
import torch

from mtlbench.models.cross_stitch import CrossStitch
from mtlbench.models.sluice import Sluice
from synthetic import plain_schema, random_batch

BATCH = random_batch(plain_schema(), 17)


def sluice(tasks: int = 2, **changes: Any) -> Sluice:
    torch.manual_seed(0)
    arguments = {"embedding_width": 4, "layers": (6, 6, 6), "tower_layers": (8,)} | changes
    return Sluice(plain_schema(tasks=tasks), **arguments)


def test_the_model_is_a_loop():
    model = sluice(3)
    networks = model.networks
    for parameter in (networks.shares, *(stitch.weight for stitch in networks.stitches)):
        torch.nn.init.normal_(parameter)
    batch = random_batch(plain_schema(tasks=3), 17)
    h = [model.fields(batch).flatten(1)] * 3
    total = [torch.zeros(17, 6)] * 3
    for place, (layer, stitch) in enumerate(zip(networks.layers, networks.stitches, strict=True)):
        active = [torch.relu(h[t] @ layer.weight[t] + layer.bias[t]) for t in range(3)]
        parts = [half for each in active for half in (each[:, :3], each[:, 3:])]
        mixed = [sum(stitch.weight[s, r, 0] * parts[r] for r in range(6)) for s in range(6)]
        h = [torch.cat([mixed[2 * t], mixed[2 * t + 1]], dim=1) for t in range(3)]
        total = [total[t] + networks.shares[t, place] * h[t] for t in range(3)]
    torch.testing.assert_close(model(batch), model.towers(torch.stack(total)))


def test_one_subspace_and_the_last_layer_alone_are_cross_stitch():
    model = sluice(subspaces=1, last_start=1.0)
    stitched = CrossStitch(plain_schema(), embedding_width=4, layers=(6, 6, 6), tower_layers=(8,))
    stitched.load_state_dict({name: value for name, value in model.state_dict().items() if "shares" not in name})
    torch.testing.assert_close(stitched(BATCH), model(BATCH))


def test_without_mixing_tasks_are_apart():
    model = sluice(own_start=1.0)
    before = model(BATCH)
    with torch.no_grad():
        model.networks.layers[0].weight[1] += 1
    assert (model(BATCH) != before).any(dim=0).tolist() == [False, True]


def test_shares_at_the_start():
    networks = sluice().networks
    torch.testing.assert_close(networks.shares, torch.tensor([[0.05, 0.05, 0.9]] * 2))
    torch.testing.assert_close(networks.stitches[0].weight.sum(dim=1), torch.ones(4, 1))
    assert networks.stitches[0].weight[1, 1].item() == pytest.approx(0.9)
    equal = sluice(own_start=None, last_start=None).networks
    torch.testing.assert_close(equal.shares, torch.full((2, 3), 1 / 3))
    torch.testing.assert_close(equal.stitches[0].weight, torch.full((4, 4, 1), 0.25))


def test_parameter_count():
    layers = 2 * ((24 * 6 + 6) + 2 * (6 * 6 + 6))
    towers = 2 * (6 * 8 + 8 + 8 + 1)
    count = sum(p.numel() for name, p in sluice().named_parameters() if "embedding" not in name)
    assert count == layers + towers + 3 * 4 * 4 + 2 * 3


def test_the_penalty_by_hand():
    model = sluice(layers=(2,), orthogonality_weight=0.5)
    with torch.no_grad():
        weight = model.networks.layers[0].weight.zero_()
        weight[0, :2] = torch.tensor([[1.0, 2.0], [3.0, 1.0]])  # columns (1, 3) and (2, 1): product 5
        weight[1, :2] = torch.tensor([[1.0, 1.0], [1.0, -1.0]])  # orthogonal
    assert model.networks.penalty().item() == pytest.approx(0.5 * 5**2)
    assert sluice(subspaces=1).networks.penalty() == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layers": ()}, r"layers are \[\]; allowed: one or more of equal width"),
        ({"layers": (6, 4)}, r"layers are \[6, 4\]"),
        ({"subspaces": 4}, "subspaces is 4; allowed: a divisor of the width of layers, 6"),
        ({"own_start": 2.0}, "own_start is 2"),
        ({"last_start": -1.0}, "last_start is -1"),
        ({"orthogonality_weight": -1.0}, "orthogonality_weight is -1"),
        ({"dropout": 1.0}, "dropout is 1"),
    ],
)
def test_refusals(changes: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        sluice(**changes)
