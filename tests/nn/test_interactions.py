"""Attention, soft selection, cross and field layers, explicit mappings: equations, loops and theorems."""

import math

import pytest
import torch
from torch import Tensor

from mtlbench.nn.attention import FieldAttention
from mtlbench.nn.cross import CrossLayers
from mtlbench.nn.field import FieldLayers
from mtlbench.nn.mappings import MAPPINGS, explicit_mappings
from mtlbench.nn.selection import SoftSelection


def randn(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


# --- attention


def test_attention_is_a_loop_over_heads():
    attention = FieldAttention(6, heads=3).double()
    x_BFD = randn(5, 7, 6)
    query, key, value = (x_BFD @ weight for weight in attention.query_key_value.weight)
    heads = []
    for h in range(3):
        part = slice(2 * h, 2 * h + 2)
        weights = torch.softmax(query[..., part] @ key[..., part].mT / math.sqrt(2), dim=-1)
        heads.append(weights @ value[..., part])
    torch.testing.assert_close(attention(x_BFD), torch.cat(heads, dim=-1) @ attention.output.weight[0])


def test_attention_does_not_know_the_order_of_fields():
    attention = FieldAttention(6, heads=2, residual="autoint").double()
    x_BFD, order = randn(5, 7, 6), torch.randperm(7)
    torch.testing.assert_close(attention(x_BFD[:, order]), attention(x_BFD)[:, order])


def test_attention_with_a_residual():
    attention, plain = FieldAttention(6, heads=2, residual="autoint").double(), FieldAttention(6, heads=2).double()
    plain.load_state_dict(attention.state_dict(), strict=False)
    x_BFD = randn(5, 7, 6)
    assert attention.residual is not None
    torch.testing.assert_close(attention(x_BFD), torch.relu(plain(x_BFD) + x_BFD @ attention.residual.weight[0]))


def test_attention_has_four_square_matrices():
    assert sum(p.numel() for p in FieldAttention(6, heads=2).parameters()) == 4 * 36


def test_attention_refusals():
    with pytest.raises(ValueError, match="attention_heads is 4 at a width of 6; allowed: a divisor"):
        FieldAttention(6, heads=4)
    with pytest.raises(ValueError, match="attention_residual is 'sum'"):
        FieldAttention(6, heads=2, residual="sum")  # pyright: ignore[reportArgumentType]


# --- soft selection


def test_selection_hand_numbers():
    selection = SoftSelection(1, 2)
    with torch.no_grad():
        selection.weight.copy_(torch.tensor([[0.25, 2.0]]))  # unconstrained: 2 is allowed
    raw, attended = torch.tensor([[[1.0, 1.0]]]), torch.tensor([[[5.0, 5.0]]])
    assert selection(raw, attended).tolist() == [[[2.0, 9.0]]]  # 5/4 + 3/4, 10 - 1


def test_selection_starts_half_way():
    raw, attended = torch.randn(5, 3, 2), torch.randn(5, 3, 2)
    for squash in ("none", "sigmoid"):
        mean_1BI = SoftSelection(1, 6, squash)(raw, attended)
        torch.testing.assert_close(mean_1BI[0], (raw + attended).flatten(1) / 2)
    torch.testing.assert_close(SoftSelection(2, 6, "sigmoid", 0.2).share, torch.full((2, 6), 0.2))


def test_selection_at_its_ends():
    raw, attended = torch.randn(5, 3, 2), torch.randn(5, 3, 2)
    assert torch.equal(SoftSelection(1, 6, start=0.0)(raw, attended)[0], raw.flatten(1))
    assert torch.equal(SoftSelection(1, 6, start=1.0)(raw, attended)[0], attended.flatten(1))


def test_selection_refusals():
    with pytest.raises(ValueError, match="selection_squash is 'tanh'"):
        SoftSelection(1, 2, "tanh")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match=r"selection_start is 1\.0; allowed: above 0 and below 1"):
        SoftSelection(1, 2, "sigmoid", 1.0)


# --- cross layers


@pytest.mark.parametrize("kind", ["v1", "v2"])
@pytest.mark.parametrize("trained", [False, True])
def test_cross_layers_are_a_loop(kind: str, trained: bool):
    cross = CrossLayers(3, 5, 2, kind, trained).double()  # pyright: ignore[reportArgumentType]
    for parameter in cross.parameters():
        torch.nn.init.normal_(parameter)
    x_EBI = randn(3, 7, 5)
    for e in range(3):
        for b in range(7):
            first = c = x_EBI[e, b]
            for layer in range(2):
                weight, bias = cross.layers[layer].weight[e], cross.biases[layer][e]
                kept = cross.residuals[layer][e] * c if trained else c
                c = first * (c @ weight + bias) + kept if kind == "v2" else first * (c @ weight) + bias + kept
            torch.testing.assert_close(cross(x_EBI)[e, b], c)


def test_v1_without_biases_is_a_multiple_of_its_input():
    x_EBI = randn(1, 7, 5)
    ratio_EBI = CrossLayers(1, 5, 3, "v1").double()(x_EBI) / x_EBI
    torch.testing.assert_close(ratio_EBI, ratio_EBI[..., :1].expand_as(ratio_EBI))


def test_one_v1_layer_by_hand():
    cross = CrossLayers(1, 3, 1, "v1")
    with torch.no_grad():
        cross.layers[0].weight.copy_(torch.tensor([[[0.0], [1.0], [0.0]]]))
    assert cross(torch.tensor([[[2.0, 3.0, 5.0]]])).tolist() == [[[8.0, 12.0, 20.0]]]  # x x_1 + x


def test_v2_contains_v1():
    v1, v2 = CrossLayers(1, 5, 2, "v1").double(), CrossLayers(1, 5, 2, "v2").double()
    with torch.no_grad():
        for one, two in zip(v1.layers, v2.layers, strict=True):
            two.weight.copy_(one.weight.expand_as(two.weight))
    x_EBI = randn(1, 7, 5)
    torch.testing.assert_close(v2(x_EBI), v1(x_EBI))


def test_cross_layers_of_nothing():
    cross = CrossLayers(2, 5, 3)
    assert not cross(torch.zeros(2, 7, 5)).count_nonzero()
    x_EBI = torch.randn(2, 7, 5)
    assert torch.equal(CrossLayers(2, 5, 0)(x_EBI), x_EBI)


def test_trained_residuals_start_at_one():
    plain, trained = CrossLayers(2, 5, 3), CrossLayers(2, 5, 3, trained_residual=True)
    trained.load_state_dict(plain.state_dict(), strict=False)
    x_EBI = torch.randn(2, 7, 5)
    assert torch.equal(plain(x_EBI), trained(x_EBI))
    assert sum(p.numel() for p in trained.parameters()) - sum(p.numel() for p in plain.parameters()) == 2 * 3


def test_cross_refusals():
    with pytest.raises(ValueError, match="kind of cross layers is 'v3'; allowed: v2, v1"):
        CrossLayers(1, 5, 1, "v3")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="cross_depth is -1"):
        CrossLayers(1, 5, -1)


# --- field layers


def test_field_layers_are_a_loop():
    layers = FieldLayers(2, 3, 2).double()
    for parameter in layers.parameters():
        torch.nn.init.normal_(parameter)
    x_EBFD = randn(2, 5, 3, 4)
    for e in range(2):
        for b in range(5):
            first = v = x_EBFD[e, b]
            for weight, residual in zip(layers.weights, layers.residuals, strict=True):
                mixed = torch.stack(
                    [sum((weight[e, i, j] * first[j] for j in range(3)), torch.zeros(4)) for i in range(3)]
                )
                v = v * mixed + residual[e, :, None] * v
            torch.testing.assert_close(layers(x_EBFD)[e, b], v)


def test_one_field_layer_by_hand():
    layers = FieldLayers(1, 2, 1)
    with torch.no_grad():
        layers.weights[0].copy_(torch.tensor([[[0.0, 1.0], [0.0, 0.0]]]))
    v = layers(torch.tensor([[[[2.0, 3.0], [5.0, 7.0]]]]))
    assert v.tolist() == [[[[12.0, 24.0], [5.0, 7.0]]]]  # v_0 v_1 + v_0; v_1


def test_degree_of_field_layers_without_residual():
    layers = FieldLayers(1, 3, 2).double()
    with torch.no_grad():
        for residual in layers.residuals:
            residual.zero_()
    x_EBFD = randn(1, 5, 3, 4)
    torch.testing.assert_close(layers(2 * x_EBFD), 8 * layers(x_EBFD))


def test_a_field_of_zeros_stays_zero():
    x_EBFD = torch.randn(2, 5, 3, 4)
    x_EBFD[:, :, 1] = 0
    v_EBFD = FieldLayers(2, 3, 3)(x_EBFD)
    assert not v_EBFD[:, :, 1].count_nonzero()
    assert v_EBFD[:, :, 0].count_nonzero()


def test_field_layers_without_weights_are_the_identity():
    layers = FieldLayers(2, 3, 2)
    with torch.no_grad():
        for weight in layers.weights:
            weight.zero_()
    x_EBFD = torch.randn(2, 5, 3, 4)
    assert torch.equal(layers(x_EBFD), x_EBFD)


def test_permuted_fields_are_permuted_layers():
    layers, permuted = FieldLayers(1, 3, 2).double(), FieldLayers(1, 3, 2).double()
    for parameter in layers.parameters():
        torch.nn.init.normal_(parameter)
    order = torch.tensor([2, 0, 1])
    state = {
        name: value[:, order][..., order] if value.dim() == 3 else value[:, order]
        for name, value in layers.state_dict().items()
    }
    permuted.load_state_dict(state)
    x_EBFD = randn(1, 5, 3, 4)
    torch.testing.assert_close(permuted(x_EBFD[:, :, order]), layers(x_EBFD)[:, :, order])


def test_fixed_field_residuals_are_one():
    trained, fixed = FieldLayers(2, 3, 2), FieldLayers(2, 3, 2, trained_residual=False)
    fixed.load_state_dict(trained.state_dict(), strict=False)
    x_EBFD = torch.randn(2, 5, 3, 4)
    assert torch.equal(trained(x_EBFD), fixed(x_EBFD))
    assert not list(fixed.residuals)
    with pytest.raises(ValueError, match="field_depth is -1"):
        FieldLayers(1, 3, -1)


@pytest.mark.parametrize(
    "block",
    [CrossLayers(2, 3, 2, "v1", True), CrossLayers(2, 3, 2), FieldLayers(2, 3, 2), FieldAttention(4, 2, "autoint")],
    ids=lambda block: type(block).__name__,
)
def test_gradients(block: torch.nn.Module):
    shape = {CrossLayers: (2, 3, 3), FieldLayers: (2, 3, 3, 2), FieldAttention: (2, 3, 4)}[type(block)]
    assert torch.autograd.gradcheck(block.double(), randn(*shape).requires_grad_())


# --- explicit mappings


def test_mappings_by_hand():
    a = torch.tensor([0.0, math.pi / 2, 2.0], dtype=torch.float64)
    half, two = math.pi / 2, 2.0
    expected = {
        "identity": [0, half, two],
        "square": [0, half**2, 4],
        "cube": [0, half**3, 8],
        "sin": [0, 1, math.sin(two)],
        "cos": [1, 0, math.cos(two)],
        "sin2": [0, 0, math.sin(4)],
        "cos2": [1, -1, math.cos(4)],
    }
    assert set(expected) == set(MAPPINGS)
    found = explicit_mappings(tuple(expected), a, dim=0)
    torch.testing.assert_close(found, torch.tensor(list(expected.values()), dtype=torch.float64))
