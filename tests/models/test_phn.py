"""PHN: counts, branches one by one, selection at its ends."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mtlbench.models.phn import PHN
from synthetic import plain_schema, random_batch

FIXTURE = plain_schema()
"""Six fields of eleven ids; embeddings of four components: x has 24."""
BATCH = random_batch(FIXTURE, 17)
DEEP = 24 * 16 + 16 + 16 * 8 + 8


def phn(**changes: Any) -> PHN:
    torch.manual_seed(0)
    arguments = {"embedding_width": 4, "layers": (16, 8)} | changes
    return PHN(FIXTURE, **arguments)


def shake(network: PHN) -> PHN:
    """No parameter at a value at which half of the equations would hold by themselves."""
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "embedding" not in name:
                parameter.add_(0.1 * torch.randn_like(parameter))
    return network


def branches(network: PHN, z_3BI: Tensor) -> Tensor:
    """The logit of given branch inputs, branch by branch, layer by layer."""
    cross_BI, field_BI, deep_BI = z_3BI
    c_BI = cross_BI
    (layers,) = network.cross
    for layer, bias, rho in zip(layers.layers, layers.biases, layers.residuals, strict=True):
        c_BI = cross_BI * (c_BI @ layer.weight[0] + bias[0]) + rho * c_BI
    v0_BFD = field_BI.view(-1, 6, 4)
    v_BFD = v0_BFD
    for weight, u in zip(network.field.weights, network.field.residuals, strict=True):
        v_BFD = v_BFD * (weight[0] @ v0_BFD) + u[0, :, None] * v_BFD
    for layer in network.deep.stack.layers:
        deep_BI = torch.relu(deep_BI @ layer.weight[0] + layer.bias[0])
    w_cross, w_field, w_deep = network.head.head.weight[0, :, 0].split([24, 24, 8])
    return c_BI @ w_cross + v_BFD.flatten(1) @ w_field + deep_BI @ w_deep + network.head.head.bias[0]


def test_parameter_counts():
    def count(**changes: Any) -> int:
        return sum(p.numel() for name, p in phn(**changes).named_parameters() if "embedding" not in name)

    front, head = 4 * 4**2 + 3 * 24, 2 * 24 + 8 + 1
    layers = 2 * (24**2 + 24 + 1) + 2 * (6**2 + 6)
    assert count() == front + layers + DEEP + head == 2015
    assert count(residual="none") == 2015 - 2 * (1 + 6)
    assert count(residual="logit_skip") == 2015 - 2 * (1 + 6) + 24
    assert count(cross_kind="v1") == 2015 - 2 * (24**2 - 24)
    assert count(cross_kind="v1+v2") == 2015 + 2 * (2 * 24 + 1) + 24
    assert count(attention_residual="autoint") == 2015 + 4**2


def test_the_logit_is_the_sum_of_its_branches():
    network = shake(phn())
    x_BFD = network.fields(BATCH)
    x_BI, attended_BI = x_BFD.flatten(1), network.attention(x_BFD).flatten(1)
    z_3BI = torch.stack([share * attended_BI + (1 - share) * x_BI for share in network.selection.weight])
    torch.testing.assert_close(network(BATCH), branches(network, z_3BI))


def test_closed_selection_leaves_three_branches_on_the_raw_fields():
    network = shake(phn())
    nn.init.zeros_(network.selection.weight)
    logits = network(BATCH)
    torch.testing.assert_close(logits, branches(network, network.fields(BATCH).flatten(1).expand(3, -1, -1)))
    logits.sum().backward()
    for parameter in network.attention.parameters():
        assert parameter.grad is not None
        assert not parameter.grad.count_nonzero()


def test_open_selection_reads_attended_fields_alone():
    network = shake(phn())
    nn.init.ones_(network.selection.weight)
    attended_BI = network.attention(network.fields(BATCH)).flatten(1)
    torch.testing.assert_close(network(BATCH), branches(network, attended_BI.expand(3, -1, -1)))


@pytest.mark.parametrize("branch", [0, 1, 2])
def test_every_branch_has_a_selection_of_its_own(branch: int):
    """With the other branches silenced, their part of G has no gradient, and this one's has."""
    network = phn()
    parts = network.head.head.weight.data.split([24, 24, 8], dim=1)
    for place, part in enumerate(parts):
        if place != branch:
            part.zero_()
    network(BATCH).square().sum().backward()
    assert network.selection.weight.grad is not None
    assert [bool(each.count_nonzero()) for each in network.selection.weight.grad] == [
        place == branch for place in range(3)
    ]


def test_residuals_start_as_none():
    layer, none = phn(), phn(residual="none")
    none.load_state_dict({k: v for k, v in layer.state_dict().items() if "residuals" not in k})
    torch.testing.assert_close(layer(BATCH), none(BATCH))


def test_a_skip_adds_a_linear_map_of_the_raw_fields():
    skip, none = shake(phn(residual="logit_skip")), phn(residual="none")
    none.load_state_dict({k: v for k, v in skip.state_dict().items() if not k.startswith("skip")})
    assert skip.skip is not None
    linear_B = skip.fields(BATCH).flatten(1) @ skip.skip.head.weight[0, :, 0]
    torch.testing.assert_close(skip(BATCH), none(BATCH) + linear_B)


def test_both_kinds_of_cross_layers_side_by_side():
    both, one = shake(phn(cross_kind="v1+v2")), phn(cross_kind="v2")
    state = {k: v for k, v in both.state_dict().items() if not k.startswith("cross.0")}
    state = {k.replace("cross.1", "cross.0"): v for k, v in state.items()}
    head = state["head.head.weight"]
    state["head.head.weight"] = head[:, 24:]
    one.load_state_dict(state)
    x_BFD = both.fields(BATCH)
    z_1BI = both.selection(x_BFD, both.attention(x_BFD))[:1]
    torch.testing.assert_close(both(BATCH), one(BATCH) + both.cross[0](z_1BI)[0] @ head[0, :24, 0])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cross_kind": "v3"}, "cross_kind is 'v3'; allowed: v2, v1, v1[+]v2"),
        ({"residual": "all"}, "residual is 'all'; allowed: layer, logit_skip, none"),
        ({"attention_heads": 3}, "attention_heads is 3 at a width of 4; allowed: a divisor"),
        ({"attention_residual": "sum"}, "attention_residual is 'sum'"),
        ({"selection_squash": "tanh"}, "selection_squash is 'tanh'"),
        ({"selection_squash": "sigmoid", "selection_start": 1.0}, "selection_start is 1.0"),
        ({"cross_depth": -1}, "cross_depth is -1"),
        ({"field_depth": -1}, "field_depth is -1"),
    ],
)
def test_refusals(changes: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        phn(**changes)
