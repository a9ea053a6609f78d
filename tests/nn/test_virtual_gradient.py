"""The eight functions (properties that DEPHN's Fig. 4 and IV-C describe), and how they reach a gradient."""

import math
from itertools import product

import numpy as np
import pytest
import torch
from torch import Tensor

from mtlbench.nn.virtual_gradient import Interaction, Shape, VirtualGradient, label_relevance
from synthetic import plain_schema

SHAPES: tuple[Shape, ...] = ("cos", "abs", "square", "sqrt")
INTERACTIONS: tuple[Interaction, ...] = ("add", "mul")
every_function = pytest.mark.parametrize(("interaction", "shape"), list(product(INTERACTIONS, SHAPES)))
GRID = torch.linspace(0, 1, 1001, dtype=torch.float64)


def labels(rows: int = 101, tasks: int = 3, seed: int = 0) -> Tensor:
    """Correlated 0/1 labels, all of them with both values."""
    generator = torch.Generator().manual_seed(seed)
    common = torch.randn(rows, 1, generator=generator)
    return (common + torch.randn(rows, tasks, generator=generator) > 0.3).float()


def bent(virtual_gradient: VirtualGradient, gates: Tensor, y: Tensor, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Gradients of the same function of the gates, with and without the virtual gradient."""
    direction = torch.randn(gates.shape, dtype=gates.dtype, generator=torch.Generator().manual_seed(seed))
    gates = gates.clone().requires_grad_()
    (plain,) = torch.autograd.grad((gates.sin() * direction).sum(), gates)
    out = virtual_gradient(gates, y, None)
    (bent,) = torch.autograd.grad((out.sin() * direction).sum(), gates)
    return plain, bent


# --- the functions


@every_function
def test_ends_zero_range_and_symmetry(interaction: Interaction, shape: Shape):
    virtual_gradient = VirtualGradient(interaction=interaction, shape=shape)
    if interaction == "add":
        x, y = GRID, GRID  # u = 2x runs over [0, 2]
    else:
        x, y = GRID, torch.ones_like(GRID)
    g = virtual_gradient.gamma(x, y)
    torch.testing.assert_close(g[[0, 500, 1000]], torch.tensor([2.0, 0.0, 2.0], dtype=torch.float64), atol=1e-7, rtol=0)
    assert g.min() >= 0
    assert g.max() <= 2
    torch.testing.assert_close(g, g.flip(0), atol=1e-6, rtol=0)


@pytest.mark.parametrize(("shape", "u"), [("cos", 0.5), ("abs", 0.5), ("square", 1 - 0.5**0.5), ("sqrt", 0.75)])
def test_dividing_line_between_narrowing_and_amplifying(shape: Shape, u: float):
    for line in (u, 2 - u):
        x = torch.tensor([line / 2], dtype=torch.float64)
        assert VirtualGradient(shape=shape).gamma(x, x).item() == pytest.approx(1)


@pytest.mark.parametrize(
    ("interaction", "shape", "share"),
    [
        ("add", "cos", 0.75),
        ("add", "abs", 0.75),
        ("add", "square", 0.91),
        ("add", "sqrt", 0.44),
        ("mul", "cos", 0.37),
        ("mul", "abs", 0.37),
        ("mul", "square", 0.56),
        ("mul", "sqrt", 0.18),
    ],
)
def test_share_of_the_unit_square_that_is_narrowed(interaction: Interaction, shape: Shape, share: float):
    g = VirtualGradient(interaction=interaction, shape=shape).gamma(GRID[:, None], GRID[None])
    assert (g < 1).double().mean().item() == pytest.approx(share, abs=0.006)


def test_shapes_are_ordered():
    g = {shape: VirtualGradient(shape=shape).gamma(GRID, GRID) for shape in SHAPES}
    assert (g["sqrt"] >= g["abs"] - 1e-12).all()
    assert (g["abs"] >= g["square"] - 1e-12).all()
    outer = (2 * GRID - 1).abs() >= 0.5  # the cosine is more extreme than the absolute value on both sides
    assert (g["cos"] >= g["abs"] - 1e-12)[outer].all()
    assert (g["cos"] <= g["abs"] + 1e-12)[~outer].all()


def test_equation_nine_by_hand():
    g = VirtualGradient(interaction="add", shape="cos").gamma(torch.tensor(0.25), torch.tensor(0.5))
    assert g.item() == pytest.approx(math.cos(0.75 * math.pi) + 1)


@pytest.mark.parametrize(("multiplicative", "u"), [("2xy", 0.25), ("xy", 0.125), ("2sqrt", 2 * 0.125**0.5)])
def test_multiplicative_interactions_by_hand(multiplicative: str, u: float):
    virtual_gradient = VirtualGradient(interaction="mul", shape="abs", multiplicative=multiplicative)  # pyright: ignore[reportArgumentType]
    assert virtual_gradient.gamma(torch.tensor(0.25), torch.tensor(0.5)).item() == pytest.approx(2 * (1 - u))


# --- the relevance


def test_pearson_is_that_of_numpy_and_cosine_that_of_the_definition():
    y = labels().numpy()
    found = label_relevance(labels(), None, "pearson").numpy()
    np.testing.assert_allclose(found, np.abs(np.corrcoef(y.T)), rtol=1e-12)
    norm = np.linalg.norm(y, axis=0)
    np.testing.assert_allclose(
        label_relevance(labels(), None, "cosine").numpy(), y.T @ y / np.outer(norm, norm), rtol=1e-6
    )


def test_relevance_over_rows_that_observe_both():
    y = labels()
    observed = torch.rand(y.shape, generator=torch.Generator().manual_seed(1)) < 0.7
    unknown = torch.where(observed, y, torch.nan)
    for t, j in product(range(3), range(3)):
        rows = (observed[:, t] & observed[:, j]).numpy()
        expected = abs(np.corrcoef(y[rows, t].numpy(), y[rows, j].numpy())[0, 1])
        assert label_relevance(unknown, observed, "pearson")[t, j].item() == pytest.approx(expected, rel=1e-12)


def test_opposite_labels_are_as_relevant_as_equal_ones():
    y = labels(tasks=1)
    torch.testing.assert_close(
        label_relevance(torch.cat([y, y, 1 - y], dim=1), None, "pearson"), torch.ones(3, 3, dtype=torch.float64)
    )


def test_undefined_relevance():
    constant = torch.cat([labels(tasks=1), torch.zeros(101, 1)], dim=1)
    assert label_relevance(constant, None, "pearson").isnan().tolist() == [[False, True], [True, True]]
    alone = torch.zeros(101, 2, dtype=torch.bool)
    alone[0] = True
    # one row that both observe as positive would have a cosine of 1
    assert label_relevance(torch.ones(101, 2), alone, "cosine").isnan().all()
    assert label_relevance(torch.ones(101, 2), None, "cosine").tolist() == [[1, 1], [1, 1]]


def test_relevance_is_exact_under_autocast():
    y = labels(rows=4099)
    expected = label_relevance(y, None, "pearson")
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(label_relevance(y, None, "pearson"), expected)


# --- the gradient


@every_function
def test_forward_is_untouched_and_the_gradient_is_multiplied(interaction: Interaction, shape: Shape):
    virtual_gradient = VirtualGradient(interaction=interaction, shape=shape).between(plain_schema(tasks=3).tasks)
    gates, y = torch.randn(3, 5, 2), labels()
    assert torch.equal(virtual_gradient(gates, y, None), gates)
    plain, scaled = bent(virtual_gradient, gates, y)
    factor = virtual_gradient.coefficients(gates, y, None)
    assert factor.shape == gates.shape
    assert torch.equal(scaled, factor * plain)
    relevance = label_relevance(y, None, "pearson").float()
    for t in range(3):  # Eq. 8: two factors each
        expected = torch.ones(5, 2)
        for j in set(range(3)) - {t}:
            expected *= virtual_gradient.gamma(relevance[t, j], (gates[t] - gates[j]).abs().clamp(max=1))
        torch.testing.assert_close(factor[t], expected)


def test_gates_of_each_row_have_coefficients_of_their_own():
    virtual_gradient = VirtualGradient().between(plain_schema(tasks=2).tasks)
    gates, y = torch.rand(2, 101, 3), labels(tasks=2)
    factor = virtual_gradient.coefficients(gates, y, None)
    relevance = label_relevance(y, None, "pearson")[0, 1].float()
    torch.testing.assert_close(factor[0], virtual_gradient.gamma(relevance, (gates[0] - gates[1]).abs()))
    assert torch.equal(factor[0], factor[1])


def test_one_task_has_no_one_to_be_bent_by():
    plain, scaled = bent(VirtualGradient().between(plain_schema(tasks=1).tasks), torch.rand(1, 4), labels(tasks=1))
    assert torch.equal(plain, scaled)


@pytest.mark.parametrize("shape", SHAPES)
def test_equal_tasks_with_equal_gates_never_part(shape: Shape):
    y = labels(tasks=1).expand(-1, 2)
    factor = (
        VirtualGradient(shape=shape).between(plain_schema(tasks=2).tasks).coefficients(torch.full((2, 3), 0.7), y, None)
    )
    torch.testing.assert_close(factor, torch.zeros(2, 3), atol=1e-3, rtol=0)


def test_differences_above_one_count_as_one():
    virtual_gradient = VirtualGradient().between(plain_schema(tasks=2).tasks)
    near, far = torch.tensor([[0.0], [1.0]]), torch.tensor([[0.0], [17.0]])
    y = labels(tasks=2)
    assert torch.equal(virtual_gradient.coefficients(near, y, None), virtual_gradient.coefficients(far, y, None))


def test_only_the_literal_ratio_sends_gradient_through_the_coefficient():
    gates = torch.tensor([[0.2], [0.5]], dtype=torch.float64, requires_grad=True)
    y = labels(tasks=2)
    surrogate, literal = (
        VirtualGradient(shape="square", implementation=implementation).double().between(plain_schema(tasks=2).tasks)
        for implementation in ("surrogate", "literal_ratio")
    )
    (to_other,) = torch.autograd.grad(surrogate(gates, y, None)[0].sum(), gates)
    assert to_other[1].item() == 0
    (found,) = torch.autograd.grad(literal(gates, y, None)[0].sum(), gates)
    x = label_relevance(y, None, "pearson")[0, 1].item()
    u = x + 0.3  # G_1 is above G_0: d u / d G_0 = -1, gamma = 2 (u - 1)^2
    epsilon = 1e-6
    ratio = 4 * (u - 1) / (2 * (u - 1) ** 2 + epsilon)
    # relevance is kept in float32
    assert found[0].item() == pytest.approx(1 - 0.2 * ratio, rel=1e-5)
    assert found[1].item() == pytest.approx(0.2 * ratio, rel=1e-5)


@every_function
def test_the_literal_ratio_leaves_values_to_rounding_and_gradients_finite(interaction: Interaction, shape: Shape):
    virtual_gradient = VirtualGradient(interaction=interaction, shape=shape, implementation="literal_ratio").between(
        plain_schema(tasks=2).tasks
    )
    gates = torch.tensor([[0.3, 0.0, 0.7], [0.3, 1.0, 0.2]])
    y = labels(tasks=1).expand(-1, 2)  # relevance 1: u is 1 at the first gate
    torch.testing.assert_close(virtual_gradient(gates, y, None), gates, rtol=1e-6, atol=0)
    assert bent(virtual_gradient, gates, y)[1].isfinite().all()


def test_without_labels_or_in_evaluation_nothing_happens():
    virtual_gradient = VirtualGradient().between(plain_schema(tasks=3).tasks)
    gates = torch.rand(3, 4, requires_grad=True)
    assert virtual_gradient(gates, None, None) is gates
    assert virtual_gradient.eval()(gates, labels(), None) is gates
    assert virtual_gradient.batches.item() == 0


# --- batches without a relevance, and the running mean


def test_an_undefined_relevance_leaves_the_plain_gradient_and_is_counted():
    y = torch.cat([labels(tasks=2), torch.zeros(101, 1)], dim=1)
    virtual_gradient = VirtualGradient().between(plain_schema(tasks=3).tasks)
    factor = virtual_gradient.coefficients(torch.rand(3, 4), y, None)
    assert torch.equal(factor[2], torch.ones(4))
    assert torch.equal(factor[0], factor[1])
    assert not torch.equal(factor[0], torch.ones(4))
    for _ in range(2):
        virtual_gradient(torch.rand(3, 4), y, None)
    assert virtual_gradient.batches.item() == 2
    assert virtual_gradient.undefined.tolist() == [[0, 0, 2], [0, 0, 2], [2, 2, 2]]


def test_an_undefined_relevance_may_count_as_none():
    y = torch.cat([labels(tasks=1), torch.zeros(101, 1)], dim=1)
    virtual_gradient = VirtualGradient(shape="abs", undefined="irrelevant").between(plain_schema(tasks=2).tasks)
    factor = virtual_gradient.coefficients(torch.tensor([[0.0], [0.25]]), y, None)
    assert factor.flatten().tolist() == [1.5, 1.5]
    virtual_gradient(torch.rand(2, 4), y, None)
    assert virtual_gradient.undefined[0, 1].item() == 1


def test_running_relevance_by_hand():
    virtual_gradient = VirtualGradient(relevance_ema=0.75).between(plain_schema(tasks=2).tasks)
    first, second = labels(tasks=2, seed=1), labels(tasks=2, seed=2)
    a, b = (label_relevance(y, None, "pearson")[0, 1].item() for y in (first, second))
    empty = torch.zeros(101, 2)
    gates = torch.rand(2, 4)
    seen = []
    for y in (empty, first, second, empty):
        virtual_gradient(gates, y, None)
        seen.append(virtual_gradient.relevance[0, 1].item())
    mean = 0.75 * a + 0.25 * b
    assert seen == pytest.approx([0, a, mean, mean])
    # an empty batch takes the running value, once there is one
    expected = virtual_gradient.gamma(torch.tensor(mean), (gates[0] - gates[1]).abs())
    torch.testing.assert_close(virtual_gradient.coefficients(gates, empty, None)[0], expected)
    fresh = VirtualGradient(relevance_ema=0.75).between(plain_schema(tasks=2).tasks)
    assert torch.equal(fresh.coefficients(gates, empty, None), torch.ones(2, 4))


def test_resumed_is_uninterrupted():
    whole, first = (VirtualGradient(relevance_ema=0.9).between(plain_schema(tasks=3).tasks) for _ in range(2))
    gates = torch.rand(3, 4)
    for seed in range(3):
        whole(gates, labels(seed=seed), None)
        first(gates, labels(seed=seed), None)
    resumed = VirtualGradient(relevance_ema=0.9).between(plain_schema(tasks=3).tasks)
    resumed.load_state_dict(first.state_dict())
    for seed in range(3, 6):
        _, expected = bent(whole, gates, labels(seed=seed))
        assert torch.equal(bent(resumed, gates, labels(seed=seed))[1], expected)
    assert all(torch.equal(a, b) for a, b in zip(whole.buffers(), resumed.buffers(), strict=True))


def test_diagnostics():
    virtual_gradient = VirtualGradient().between(plain_schema(tasks=3).tasks)
    gates = torch.rand(3, 4)
    y = torch.cat([labels(tasks=2), torch.zeros(101, 1)], dim=1)
    virtual_gradient(gates, labels(), None)
    virtual_gradient(gates, y, None)
    found = virtual_gradient.diagnostics(gates, y, None)
    assert found["undefined"][0].tolist() == [0, 0, 0.5]
    assert torch.equal(found["coefficient"], virtual_gradient.coefficients(gates, y, None))
    assert set(virtual_gradient.diagnostics(gates, None, None)) == {"relevance", "undefined"}
    assert virtual_gradient.batches.item() == 2


@pytest.mark.parametrize(
    "wrong",
    [
        {"interaction": "sum"},
        {"shape": "tan"},
        {"relevance": "kendall"},
        {"multiplicative": "3xy"},
        {"implementation": "none"},
        {"undefined": "zero"},
    ],
)
def test_refusals(wrong: dict[str, str]):
    name, value = next(iter(wrong.items()))
    with pytest.raises(ValueError, match=f"{name} is '{value}'; allowed:"):
        VirtualGradient(**wrong)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="relevance_ema is 1"):
        VirtualGradient(relevance_ema=1)
