"""DCN and DCNv2: counts, hand numbers, loops, and what equals what."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mtlbench.models.dcn import DCN
from mtlbench.nn.cross import CrossLayers, CrossMixture
from synthetic import plain_schema, random_batch

FIXTURE = plain_schema()
"""Six fields of eleven ids; embeddings of four components: x has 24."""
BATCH = random_batch(FIXTURE, 17)
DEEP = 24 * 16 + 16 + 16 * 8 + 8


def dcn(**changes: Any) -> DCN:
    torch.manual_seed(0)
    arguments = {"embedding_width": 4, "layers": (16, 8)} | changes
    return DCN(FIXTURE, **arguments)


def randn(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def shake(module: nn.Module) -> nn.Module:
    """No parameter at zero, where half of the equations would hold by themselves."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return module


def parameters(model: nn.Module) -> int:
    return sum(p.numel() for name, p in model.named_parameters() if "embedding" not in name)


def test_parameter_counts():
    parallel = 24 + 8 + 1
    assert parameters(dcn(cross_kind="v1")) == 3 * 2 * 24 + DEEP + parallel == 713
    assert parameters(dcn()) == 3 * (24**2 + 24) + DEEP + parallel == 2369
    assert parameters(dcn(cross_rank=4)) == 3 * (2 * 24 * 4 + 24) + DEEP + parallel == 1217
    expert = 2 * 24 * 4 + 4 * 4
    assert parameters(dcn(cross_rank=4, cross_experts=5)) == 3 * (5 * (expert + 24) + 24) + DEEP + parallel
    assert parameters(dcn(order="stacked")) == 2369 - 24
    assert parameters(dcn(cross_depth=0)) == DEEP + parallel


# --- the network


@pytest.mark.parametrize("kind", ["v1", "v2"])
def test_parallel_and_stacked_by_hand(kind: str):
    for order in ("parallel", "stacked"):
        network = shake(dcn(cross_kind=kind, cross_depth=1, layers=(5,), order=order))
        assert isinstance(network, DCN)
        x_BI = network.fields(BATCH).flatten(1)
        weight, bias = network.cross.layers[0].weight[0], network.cross.biases[0][0]
        crossed_BI = x_BI * (x_BI @ weight + bias) + x_BI if kind == "v2" else x_BI * (x_BI @ weight) + bias + x_BI
        hidden = network.deep.stack.layers[0]
        deep_BH = torch.relu((x_BI if order == "parallel" else crossed_BI) @ hidden.weight[0] + hidden.bias[0])
        last_BI = torch.cat([crossed_BI, deep_BH], dim=1) if order == "parallel" else deep_BH
        expected_B = last_BI @ network.head.head.weight[0, :, 0] + network.head.head.bias[0]
        torch.testing.assert_close(network(BATCH), expected_B)


def test_without_cross_layers_the_input_itself_stands_beside_the_perceptron():
    network = dcn(cross_depth=0)
    x_BI = network.fields(BATCH).flatten(1)
    weight_I = network.head.head.weight[0, :, 0]
    torch.testing.assert_close(network(BATCH), x_BI @ weight_I[:24] + network.deep(x_BI) @ weight_I[24:])


# --- low rank


def test_a_product_of_two_matrices_is_a_matrix():
    low, full = CrossLayers(2, 7, 3, rank=3).double(), CrossLayers(2, 7, 3).double()
    shake(low)
    state = {f"biases.{layer}": bias for layer, bias in enumerate(low.biases)}
    for layer, (down, up) in enumerate(low.layers):
        state[f"layers.{layer}.weight"] = down.weight @ up.weight
        assert torch.linalg.matrix_rank(down.weight @ up.weight).tolist() == [3, 3]
    full.load_state_dict(state)
    x_EBI = randn(2, 5, 7)
    torch.testing.assert_close(low(x_EBI), full(x_EBI))


def test_the_full_rank_holds_every_matrix():
    low, full = CrossLayers(1, 7, 2, rank=7).double(), CrossLayers(1, 7, 2).double()
    with torch.no_grad():
        for (down, up), matrix in zip(low.layers, full.layers, strict=True):
            down.weight.copy_(torch.eye(7)[None])
            up.weight.copy_(matrix.weight)
    x_EBI = randn(1, 5, 7)
    torch.testing.assert_close(low(x_EBI), full(x_EBI))


# --- mixture


def test_a_mixture_is_a_loop():
    mixture = CrossMixture(7, depth=2, rank=3, experts=5).double()
    shake(mixture)
    x_BI = randn(11, 7)
    for row, found in zip(x_BI, mixture(x_BI), strict=True):
        c = row
        for layer in range(2):
            share = torch.softmax(c @ mixture.shares[layer].weight[0], dim=0)
            total = torch.zeros_like(c)
            for expert in range(5):
                inner = torch.tanh(c @ mixture.down[layer].weight[expert])
                inner = torch.tanh(inner @ mixture.core[layer].weight[expert])
                product = inner @ mixture.up[layer].weight[expert] + mixture.biases[layer]
                total = total + share[expert] * row * product
            c = total + c
        torch.testing.assert_close(found, c)


def test_equal_experts_are_one_expert():
    many, one = CrossMixture(7, depth=2, rank=3, experts=5).double(), CrossMixture(7, 2, 3, experts=1).double()
    shake(many)
    state = {
        name: value if "biases" in name else value[..., :1] if "shares" in name else value[:1]
        for name, value in many.state_dict().items()
    }
    one.load_state_dict(state)
    for name, value in state.items():
        if "shares" not in name and "biases" not in name:
            many.get_parameter(name).data.copy_(value.expand(5, -1, -1))
    x_BI = randn(11, 7)
    torch.testing.assert_close(many(x_BI), one(x_BI))


def test_zero_stays_zero():
    for block in (CrossMixture(7, depth=3, rank=2, experts=3), CrossLayers(1, 7, depth=3, rank=2)):
        shake(block)
        zero = torch.zeros(5, 7) if isinstance(block, CrossMixture) else torch.zeros(1, 5, 7)
        assert not block(zero).count_nonzero()


@pytest.mark.parametrize("experts", [None, 5])
def test_gradients_of_low_ranks(experts: int | None):
    block = CrossLayers(1, 7, 2, rank=2) if experts is None else CrossMixture(7, 2, 2, experts)
    shake(block.double())
    x = randn(1, 3, 7) if experts is None else randn(3, 7)
    assert torch.autograd.gradcheck(block, (x.requires_grad_(),))


# --- refusals


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"order": "serial"}, "order is 'serial'; allowed: parallel, stacked"),
        ({"cross_kind": "v3"}, "kind of cross layers is 'v3'"),
        ({"cross_depth": -1}, "cross_depth is -1; allowed: 0 or more"),
        ({"cross_rank": 25}, "cross_rank is 25 at an input width of 24; allowed: 1 to 24"),
        ({"cross_rank": 0}, "cross_rank is 0"),
        ({"cross_rank": 4, "cross_kind": "v1"}, "cross_rank is 4 with cross_kind=v1; allowed with v2 only"),
        ({"cross_experts": 4}, "cross_experts is 4 with cross_kind=v2 and cross_rank=None"),
        ({"cross_experts": 4, "cross_rank": 4, "cross_kind": "v1"}, "cross_experts is 4 with cross_kind=v1"),
        ({"cross_experts": 0, "cross_rank": 4}, "cross_experts is 0; allowed: 1 or more"),
        ({"cross_experts": 2, "cross_rank": 25}, "cross_rank is 25"),
        ({"cross_experts": 2, "cross_rank": 2, "cross_depth": -1}, "cross_depth is -1"),
    ],
)
def test_refusals(changes: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        dcn(**changes)
