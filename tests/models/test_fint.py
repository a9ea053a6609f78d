"""FINT: counts, loops, and what follows from its equation."""

from typing import Any

import pytest
import torch

from mtlbench.models.dnn import DNN
from mtlbench.models.fint import FINT
from mtlbench.nn.field import FieldLayers
from synthetic import plain_schema, random_batch

FIXTURE = plain_schema()
"""Six fields of eleven ids; embeddings of four components."""
BATCH = random_batch(FIXTURE, 17)


def fint(**changes: Any) -> FINT:
    torch.manual_seed(0)
    arguments = {"embedding_width": 4, "layers": (16, 8)} | changes
    return FINT(FIXTURE, **arguments)


def test_parameter_counts():
    count = sum(p.numel() for name, p in fint().named_parameters() if "embedding" not in name)
    assert count == 2 * (6 * 6 + 6) + 545 == 629


def test_the_network_is_a_loop():
    network = fint(layers=(), residual_start="glorot")
    v0_BFD = network.fields(BATCH)
    v_BFD = v0_BFD
    for weight_1FF, residual_1F in zip(network.field_layers.weights, network.field_layers.residuals, strict=True):
        following = torch.zeros_like(v_BFD)
        for i in range(6):
            mixed_BD = sum(weight_1FF[0, i, j] * v0_BFD[:, j] for j in range(6))
            following[:, i] = v_BFD[:, i] * mixed_BD + residual_1F[0, i] * v_BFD[:, i]
        v_BFD = following
    head = network.tower.head
    torch.testing.assert_close(network(BATCH), v_BFD.flatten(1) @ head.weight[0, :, 0] + head.bias[0])


def test_a_row_of_ones_makes_one_matrix_of_weights_and_residuals():
    """The form of the authors' code: ``V_l+1 = V_l * ([W u] [V_0; 1])``."""
    layers = FieldLayers(1, 6, 3, residual_start="glorot")
    v0_BFD = torch.randn(5, 6, 4)
    extended = torch.cat([v0_BFD, torch.ones(5, 1, 4)], dim=1)
    v_BFD = v0_BFD
    for weight_1FF, residual_1F in zip(layers.weights, layers.residuals, strict=True):
        v_BFD = v_BFD * torch.einsum("ij,bjd->bid", torch.cat([weight_1FF[0], residual_1F[0, :, None]], 1), extended)
    torch.testing.assert_close(layers(v0_BFD[None])[0], v_BFD)


def test_without_interactions_it_is_a_network_on_the_embeddings():
    for changes in ({"field_depth": 0}, {"field_depth": 3}):
        network = fint(**changes)
        with torch.no_grad():
            for weight in network.field_layers.weights:
                weight.zero_()
        plain = DNN(FIXTURE, embedding_width=4, layers=(16, 8))
        plain.load_state_dict({k: v for k, v in network.state_dict().items() if not k.startswith("field_layers")})
        torch.testing.assert_close(network(BATCH), plain(BATCH))


def test_starts():
    assert all(torch.equal(u, torch.ones(1, 6)) for u in fint().field_layers.residuals)
    torch.manual_seed(0)
    layers = FieldLayers(1, 40, 5, residual_start="glorot")
    drawn = torch.cat([p.flatten() for p in layers.parameters()])
    bound = (6 / 81) ** 0.5
    assert drawn.abs().max() <= bound
    torch.testing.assert_close(drawn.std(), torch.tensor(bound / 3**0.5), rtol=0.03, atol=0)
    assert torch.cat([u.flatten() for u in layers.residuals]).std() > bound / 3  # all of them, not W alone


def test_refusals():
    with pytest.raises(ValueError, match="field_depth is -1; allowed: 0 or more"):
        fint(field_depth=-1)
    with pytest.raises(ValueError, match="residual_start is 'zeros'; allowed: ones, glorot"):
        fint(residual_start="zeros")
    with pytest.raises(ValueError, match="'glorot' for residuals that are not trained"):
        FieldLayers(1, 6, 2, trained_residual=False, residual_start="glorot")
