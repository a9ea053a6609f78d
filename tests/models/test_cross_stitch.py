"""Cross-Stitch: initial mixtures, a loop by hand, and the networks that it contains."""

from typing import Any

import pytest
import torch

from mtlbench.models.cross_stitch import CrossStitch
from mtlbench.models.dnn import DNN
from mtlbench.nn.stitch import Stitch
from synthetic import plain_schema, random_batch

FIXTURE = plain_schema()
BATCH = random_batch(FIXTURE, 17)


def cross_stitch(tasks: int = 2, **changes: Any) -> CrossStitch:
    torch.manual_seed(0)
    arguments = {"embedding_width": 4, "layers": (16, 8), "tower_layers": (8,)} | changes
    return CrossStitch(plain_schema(tasks=tasks), **arguments)


def stitched(model: CrossStitch, a_TT: torch.Tensor) -> CrossStitch:
    with torch.no_grad():
        for stitch in model.networks.stitches:
            stitch.weight.copy_(a_TT[..., None])
    return model


def test_parameter_counts():
    def count(model: CrossStitch) -> int:
        return sum(p.numel() for name, p in model.named_parameters() if "embedding" not in name)

    assert count(cross_stitch()) == 1242
    assert count(cross_stitch(stitch_unit="channel")) == 1242 - 2 * 4 + 4 * (16 + 8)


def test_every_task_starts_with_a_mixture():
    torch.testing.assert_close(Stitch(2, 5).weight[..., 0], torch.tensor([[0.9, 0.1], [0.1, 0.9]]))
    torch.testing.assert_close(Stitch(3, 5).weight[0, :, 0], torch.tensor([0.9, 0.05, 0.05]))
    torch.testing.assert_close(Stitch(3, 5, "channel").weight.sum(dim=1), torch.ones(3, 5))
    assert Stitch(1, 5).weight.item() == 1


def test_a_stitch_by_hand():
    stitch = Stitch(2, 1)
    with torch.no_grad():
        stitch.weight.copy_(torch.tensor([[1.0, 2.0], [3.0, 4.0]])[..., None])
    x_TBH = torch.tensor([10.0, 1.0]).view(2, 1, 1)
    torch.testing.assert_close(stitch(x_TBH).flatten(), torch.tensor([12.0, 34.0]))


@pytest.mark.parametrize("unit", ["scalar", "channel"])
def test_the_model_is_a_loop(unit: str):
    model = cross_stitch(3, stitch_unit=unit)
    for stitch in model.networks.stitches:
        torch.nn.init.normal_(stitch.weight)
    batch = random_batch(plain_schema(tasks=3), 17)
    h = [model.fields(batch).flatten(1)] * 3
    for layer, stitch in zip(model.networks.layers, model.networks.stitches, strict=True):
        active = [torch.relu(h[t] @ layer.weight[t] + layer.bias[t]) for t in range(3)]
        h = [sum(stitch.weight[s, t] * active[t] for t in range(3)) for s in range(3)]
    torch.testing.assert_close(model(batch), model.towers(torch.stack(h)))


def test_unstitched_it_is_a_network_per_task():
    model = stitched(cross_stitch(), torch.eye(2))
    for task in range(2):
        network = DNN(FIXTURE, embedding_width=4, layers=(16, 8, 8))
        state = {"fields.embedding": model.fields.embedding}
        for old, new in {
            "networks.layers.0": "tower.hidden.layers.0",
            "networks.layers.1": "tower.hidden.layers.1",
            "towers.hidden.layers.0": "tower.hidden.layers.2",
            "towers.head": "tower.head",
        }.items():
            for part in ("weight", "bias"):
                state[f"{new}.{part}"] = model.state_dict()[f"{old}.{part}"][task : task + 1]
        network.load_state_dict(state)
        torch.testing.assert_close(network(BATCH), model(BATCH)[:, task])


def test_stitched_equally_all_tasks_are_one():
    model = stitched(cross_stitch(3), torch.full((3, 3), 1 / 3))
    h_TBH = model.networks(model.fields(BATCH).flatten(1)[None])
    torch.testing.assert_close(h_TBH, h_TBH[:1].expand(3, -1, -1))


def test_refusals():
    with pytest.raises(ValueError, match="stitch_unit is 'matrix'; allowed: scalar, channel"):
        cross_stitch(stitch_unit="matrix")
    with pytest.raises(ValueError, match=r"stitch_start is 1\.5; allowed: 0 to 1"):
        cross_stitch(stitch_start=1.5)
    with pytest.raises(ValueError, match="layers is empty"):
        cross_stitch(layers=())
    with pytest.raises(ValueError, match="dropout is 1"):
        cross_stitch(dropout=1)
