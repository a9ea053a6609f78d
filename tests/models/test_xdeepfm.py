"""xDeepFM: counts, loops, the factorisation machine inside, and what follows from its equation."""

from itertools import combinations
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mtlbench.models.xdeepfm import XDeepFM
from mtlbench.nn.compressed import CompressedInteraction
from synthetic import plain_schema, random_batch

FIXTURE = plain_schema()
"""Six fields of eleven ids; embeddings of four components."""
BATCH = random_batch(FIXTURE, 17)


def xdeepfm(**changes: Any) -> XDeepFM:
    torch.manual_seed(0)
    arguments = {"embedding_width": 4, "layers": (16, 8), "interaction_layers": (10, 6)} | changes
    return XDeepFM(FIXTURE, **arguments)


def cin(*layers: int, **changes: Any) -> CompressedInteraction:
    torch.manual_seed(0)
    return CompressedInteraction(6, layers, **changes).double()


def randn(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def test_parameter_counts():
    def count(**changes: Any) -> int:
        network = xdeepfm(**changes)
        ids = network.wide.fields.embedding.numel() - 1  # padding has a row, but no weight
        return ids + sum(p.numel() for name, p in network.named_parameters() if "embedding" not in name)

    assert count() == (10 * 6 * 6 + 6 * 10 * 6) + 16 + 66 + 545 == 1347
    assert count(interaction_split_half=True) == (10 * 6 * 6 + 6 * 5 * 6) + 11 + 66 + 545 == 1162


# --- compressed interactions


@pytest.mark.parametrize("split_half", [False, True])
@pytest.mark.parametrize("activation", ["none", "relu"])
def test_maps_are_a_loop(split_half: bool, activation: str):
    network = cin(4, 8, 3, split_half=split_half, activation=activation)
    x_BFD = randn(5, 6, 7)
    below, sums = x_BFD, []
    for layer, weight in enumerate(network.weights):
        maps = []
        for row in weight:
            total = torch.zeros(5, 7, dtype=torch.float64)
            for i in range(below.shape[1]):
                for j in range(6):
                    total = total + row[i * 6 + j] * below[:, i] * x_BFD[:, j]
            maps.append(total.relu() if activation == "relu" else total)
        half = len(maps) // 2 if split_half and layer < 2 else 0
        below = torch.stack(maps[:half] if half else maps, dim=1)
        sums += [each.sum(dim=1) for each in maps[half:]]
    assert network.width == len(sums) == (2 + 4 + 3 if split_half else 4 + 8 + 3)
    torch.testing.assert_close(network(x_BFD), torch.stack(sums, dim=1))


def test_one_map_by_hand():
    network = CompressedInteraction(2, (1,))
    with torch.no_grad():
        network.weights[0].copy_(torch.tensor([[1.0, 2.0, 0.0, 10.0]]))
    x_BFD = torch.tensor([[[3.0, 5.0], [7.0, 1.0]]])
    # 1 x0 x0 + 2 x0 x1 + 10 x1 x1, summed over the two components
    assert network(x_BFD).tolist() == [[9 + 25 + 2 * (21 + 5) + 10 * (49 + 1)]]


def test_one_map_is_a_factorisation_machine():
    network = cin(1)
    with torch.no_grad():
        network.weights[0].copy_((torch.ones(6, 6) - torch.eye(6)).flatten() / 2)
    x_BFD = randn(5, 6, 7)
    expected_B = sum((x_BFD[:, i] * x_BFD[:, j]).sum(dim=1) for i, j in combinations(range(6), 2))
    torch.testing.assert_close(network(x_BFD)[:, 0], expected_B)


@pytest.mark.parametrize("split_half", [False, True])
def test_degree_of_each_layer(split_half: bool):
    network, x_BFD = cin(4, 4, 4, split_half=split_half), randn(5, 6, 7)
    pooled = [2, 2, 4] if split_half else [4, 4, 4]
    degree = torch.tensor([2] * pooled[0] + [3] * pooled[1] + [4] * pooled[2])
    torch.testing.assert_close(network(3 * x_BFD), network(x_BFD) * 3.0**degree)


def test_components_have_no_order():
    """Maps are made vector by vector; a map mixed along components would notice."""
    network, x_BFD = cin(4, 4, 3), randn(5, 6, 7)
    torch.testing.assert_close(network(x_BFD[..., torch.randperm(7)]), network(x_BFD))
    torch.testing.assert_close(network(x_BFD), sum(network(x_BFD[..., d : d + 1]) for d in range(7)))


def test_gradients():
    assert torch.autograd.gradcheck(cin(4, 3, split_half=True), (randn(2, 6, 3).requires_grad_(),))


# --- the network


def test_parts_add_up():
    network = xdeepfm()
    nn.init.normal_(network.wide.fields.embedding)
    x_BFD = network.fields(BATCH)
    weight_I, bias = network.head.head.weight[0, :, 0], network.head.head.bias[0]
    deep_BH = network.deep(x_BFD.flatten(1))
    first_B = network.wide.fields.embedding[BATCH.ids.long(), 0].sum(dim=1)
    expected_B = first_B + network.interaction(x_BFD) @ weight_I[:16] + deep_BH @ weight_I[16:] + bias
    torch.testing.assert_close(network(BATCH), expected_B)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"interaction_layers": ()}, r"interaction_layers is \[\]; allowed: one or more numbers"),
        ({"interaction_layers": (3, 0)}, r"interaction_layers is \[3, 0\]"),
        (
            {"interaction_layers": (5, 4), "interaction_split_half": True},
            r"\[5, 4\] with split_half=true; allowed: even",
        ),
        ({"interaction_activation": "cubic"}, "activation is 'cubic'"),
    ],
)
def test_refusals(changes: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        xdeepfm(**changes)


def test_the_last_layer_is_never_split():
    assert cin(4, 5, split_half=True).width == 2 + 5
    assert cin(5, split_half=True).width == 5
