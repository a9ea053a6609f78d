"""Tensor-Factorization: counts, the four sums by hand, the dense networks that it contains."""

from itertools import product
from typing import Any

import pytest
import torch
from torch import nn

from mtlbench.models.l2_constrained import L2Constrained
from mtlbench.models.tensor_factorization import TensorFactorization
from mtlbench.nn.tucker import TuckerLinear
from synthetic import plain_schema, random_batch

FIXTURE = plain_schema()
BATCH = random_batch(FIXTURE, 17)


def factorised(tasks: int = 2, **changes: Any) -> TensorFactorization:
    torch.manual_seed(0)
    arguments: dict[str, Any] = {"embedding_width": 4, "layers": (16, 8)} | changes
    return TensorFactorization(plain_schema(tasks=tasks), **arguments)


def test_parameter_counts():
    """a b c + in a + out b + T c of each layer, and T out biases, for 24 -> 16 -> 8 -> 1."""

    def count(**changes: Any) -> int:
        return sum(p.numel() for name, p in factorised(**changes).named_parameters() if "embedding" not in name)

    biases = 2 * (16 + 8 + 1)
    full = (24 * 16 * 2 + 24**2 + 16**2 + 4) + (16 * 8 * 2 + 16**2 + 8**2 + 4) + (8 * 2 + 8**2 + 1 + 4)
    assert count() == full + biases
    assert count(input_rank=24, output_rank=16, task_rank=2) == full + biases
    layers = (5 * 3 + 24 * 5 + 16 * 3 + 2) + (5 * 3 + 16 * 5 + 8 * 3 + 2) + (5 * 1 + 8 * 5 + 1 + 2)
    assert count(input_rank=5, output_rank=3, task_rank=1) == layers + biases


def test_a_weight_is_four_sums():
    layer = TuckerLinear(2, 5, 4, (3, 2, 1))
    expected = torch.zeros(2, 5, 4)
    for t, i, o in product(range(2), range(5), range(4)):
        for a, b, c in product(range(3), range(2), range(1)):
            expected[t, i, o] += layer.core[a, b, c] * layer.inputs[i, a] * layer.outputs[o, b] * layer.tasks[t, c]
    torch.testing.assert_close(layer.weight(), expected)


def test_full_ranks_hold_any_weights():
    """With identities for factors the core is the tensor: a dense network for each task."""
    model = factorised()
    dense = L2Constrained(FIXTURE, embedding_width=4, layers=(16, 8))
    dense.fields.load_state_dict(model.fields.state_dict())
    linear = [*dense.networks.hidden.layers, dense.networks.head]
    with torch.no_grad():
        for factors, layer in zip([*model.layers, model.head], linear, strict=True):
            for factor in (factors.inputs, factors.outputs, factors.tasks):  # pyright: ignore[reportAttributeAccessIssue]
                factor.copy_(torch.eye(len(factor)))  # pyright: ignore[reportArgumentType]
            factors.core.copy_(layer.weight.permute(1, 2, 0))  # pyright: ignore[reportAttributeAccessIssue]
            nn.init.normal_(layer.bias)  # pyright: ignore[reportArgumentType]
            factors.bias.copy_(layer.bias)  # pyright: ignore[reportAttributeAccessIssue]
    torch.testing.assert_close(model(BATCH), dense(BATCH))


def test_one_task_rank_makes_weights_proportional():
    model = factorised(3, task_rank=1)
    for layer in (*model.layers, model.head):
        weight_TN = layer.weight().flatten(1)  # pyright: ignore[reportCallIssue]
        shares_T = layer.tasks[:, 0]
        torch.testing.assert_close(weight_TN[1] / shares_T[1], weight_TN[0] / shares_T[0])
    similarity = model.diagnostics(BATCH)["similarity"]
    assert similarity.shape == (3, 3, 3)
    torch.testing.assert_close(similarity.abs(), torch.ones(3, 3, 3))


def test_ranks_bound_the_rank_of_weights():
    layer = TuckerLinear(4, 9, 7, (3, 2, 2))
    weight_TIO = layer.weight()
    assert torch.linalg.matrix_rank(weight_TIO.transpose(0, 1).flatten(1)) == 3
    assert torch.linalg.matrix_rank(weight_TIO.permute(2, 0, 1).flatten(1)) == 2
    assert torch.linalg.matrix_rank(weight_TIO.flatten(1)) == 2


@pytest.mark.parametrize("ranks", [(None, None, None), (32, 32, None), (8, 4, 1)])
def test_initial_weights_vary_as_those_of_xavier(ranks: tuple[int | None, int | None, int | None]):
    torch.manual_seed(0)
    entries = torch.cat([TuckerLinear(2, 64, 32, ranks).weight().flatten() for _ in range(100)])
    assert entries.square().mean().item() == pytest.approx(2 / (64 + 32), rel=0.2)


def test_refusals():
    with pytest.raises(ValueError, match="task_rank is 0; allowed: 1 or more, or null"):
        factorised(task_rank=0)
    with pytest.raises(ValueError, match="output is 0; allowed: 1 or more"):
        factorised(layers=(16, 0))
    with pytest.raises(ValueError, match="dropout is 1"):
        factorised(dropout=1)
