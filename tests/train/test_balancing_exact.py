"""Weights of gradients, against exact solutions, where the lengths of the gradients differ up to 1:1,000."""

import math
from collections.abc import Callable, Iterator
from functools import cache
from itertools import combinations

import numpy as np
import pytest
import torch
from omegaconf import DictConfig
from scipy.optimize import minimize

from mtlbench.balancing.protocol import Balancing
from mtlbench.cli.compose import compose
from mtlbench.experiment.build import build
from mtlbench.schema import Task

RATIOS = [1.0, 10.0, 100.0, 1000.0]
Solution = Callable[[np.ndarray], np.ndarray]
"""Gradients ``[T, N]`` to weights ``[T]``."""


@cache
def configured(name: str) -> DictConfig:
    return compose([f"balancing={name}"]).balancing


def balancing(name: str, count: int) -> Balancing:
    """As its YAML has it."""
    return build(configured(name), "balancing")(tasks=tuple(Task(name=f"t{t}", label=f"l{t}") for t in range(count)))


def weights_of(name: str, gradients: np.ndarray) -> np.ndarray:
    loss_T = torch.ones(len(gradients), dtype=torch.float64, requires_grad=True)
    gramian = torch.from_numpy(gradients @ gradients.T)
    torch.manual_seed(0)  # PCGrad and GradVac draw an order of the tasks
    (weight_T,) = torch.autograd.grad(balancing(name, len(gradients))(loss_T, lambda: gramian), loss_T)
    return weight_T.numpy()


def unit(gradients: np.ndarray) -> np.ndarray:
    return gradients / np.linalg.norm(gradients, axis=1, keepdims=True)


def subsets(count: int, least: int) -> Iterator[list[int]]:
    return (list(some) for size in range(least, count + 1) for some in combinations(range(count), size))


def surgery(g: np.ndarray) -> np.ndarray:
    """PCGrad of two tasks."""
    product = min(0.0, float(g[0] @ g[1]))
    return np.array([1 - product / (g[0] @ g[0]), 1 - product / (g[1] @ g[1])])


def minimum_norm(g: np.ndarray) -> np.ndarray:
    """MGDA: the shortest of the minimum-norm points of all faces of the hull."""
    found = []
    for face in subsets(len(g), 1):
        share = np.linalg.solve(g[face] @ g[face].T, np.ones(len(face)))
        weight = np.zeros(len(g))
        weight[face] = share / share.sum()
        if (weight > -1e-12).all():
            found.append(weight)
    return min(found, key=lambda weight: np.linalg.norm(g.T @ weight))


def projections(g: np.ndarray) -> np.ndarray:
    """UPGrad: the KKT conditions of each projection, for every set of tasks that may be active."""
    u, length, total = unit(g), np.linalg.norm(g, axis=1), np.zeros(len(g))
    for i in range(len(g)):
        found = []
        for active in subsets(len(g), 0):
            v = np.eye(len(g))[i]
            if active:
                v[active] += np.linalg.solve(u[active] @ u[active].T, -u[active] @ u[i])
            if (v >= np.eye(len(g))[i] - 1e-12).all():
                found.append(v)
        best = min(found, key=lambda v: np.linalg.norm(u.T @ v))
        total += length[i] * best / length / len(g)
    return total


def conflict_averse(g: np.ndarray) -> np.ndarray:
    """CAGrad with c = 0.4: its dual by sequential quadratic programming, on gradients of length 1."""
    u, length, mean = unit(g), np.linalg.norm(g, axis=1), g.mean(axis=0)
    share, towards = length.min() / length, mean / np.linalg.norm(mean)

    def value(y: np.ndarray) -> float:
        return float((u.T @ y) @ towards + 0.4 * np.linalg.norm(u.T @ y))

    def slope(y: np.ndarray) -> np.ndarray:
        return u @ towards + 0.4 * (u @ (u.T @ y)) / np.linalg.norm(u.T @ y)

    starts = [np.ones(len(g)) / share.sum(), *(0.98 * np.eye(len(g)) / share[:, None] + 0.02 / share.sum())]
    simplex = {"type": "eq", "fun": lambda y: share @ y - 1, "jac": lambda y: share}
    found = [
        minimize(
            value, start, jac=slope, bounds=[(0, None)] * len(g), constraints=[simplex], method="SLSQP",
            options={"ftol": 1e-16, "maxiter": 2000},
        ).x
        for start in starts
    ]  # fmt: skip
    w = min(found, key=value) * share
    return 1 / len(g) + 0.4 * np.linalg.norm(mean) / np.linalg.norm(g.T @ w) * w


def impartial(g: np.ndarray) -> np.ndarray:
    """IMTL-G: equal projections onto all directions, by weights that sum to 1."""
    weight = np.linalg.solve(unit(g) @ unit(g).T, np.ones(len(g))) / np.linalg.norm(g, axis=1)
    return weight / weight.sum()


def aligned(g: np.ndarray) -> np.ndarray:
    """Aligned-MTL: G = U S V, the mean row of (least singular value) U V, as a combination of the rows of G."""
    left, singular, right = np.linalg.svd(g, full_matrices=False)
    step = singular[-1] * (left @ right).mean(axis=0)
    return np.linalg.lstsq(g.T, step, rcond=None)[0]


def bargain(g: np.ndarray) -> np.ndarray:
    """Nash-MTL: argmin of a convex function, by a quasi-Newton method in logarithms."""
    cosine = unit(g) @ unit(g).T
    logs = minimize(
        lambda x: (np.exp(x) @ cosine @ np.exp(x) / 2 - x.sum(), np.exp(x) * (cosine @ np.exp(x)) - 1),
        np.zeros(len(g)), jac=True, method="BFGS", options={"gtol": 1e-10},
    ).x  # fmt: skip
    weight = np.exp(logs) / np.linalg.norm(g, axis=1)
    return weight / max(1.0, float(np.linalg.norm(g.T @ weight)))


def assert_same(found: np.ndarray, exact: np.ndarray, g: np.ndarray, tolerance: float) -> None:
    """Weights alike task by task, and a step that helps or harms the shortest gradient as much."""
    np.testing.assert_allclose(found, exact, rtol=tolerance, atol=1e-9)
    steps = [g.T @ weight / np.linalg.norm(g.T @ weight) for weight in (found, exact)]
    np.testing.assert_allclose(unit(g) @ steps[0], unit(g) @ steps[1], atol=tolerance)


@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize(
    ("name", "exact"),
    [
        ("pcgrad", surgery), ("gradvac", surgery), ("mgda", minimum_norm), ("upgrad", projections),
        ("cagrad", conflict_averse), ("imtl", impartial), ("aligned", aligned), ("nash", bargain),
    ],
)  # fmt: skip
def test_two_gradients_of_any_lengths(name: str, exact: Solution, ratio: float):
    for cosine in (0.5, -0.1, -0.7, -0.95):
        g = np.array([[1.0, 0.0], [ratio * cosine, ratio * math.sqrt(1 - cosine**2)]])
        for gradients in (g, g[::-1].copy()):
            assert_same(weights_of(name, gradients), exact(gradients), gradients, 1e-4)


@pytest.mark.parametrize("lengths", [(1, 1, 1), (1, 10, 100), (1, 30, 1000), (1, 1, 1000), (1, 1000, 1000)])
@pytest.mark.parametrize(
    ("name", "exact"),
    [
        ("mgda", minimum_norm), ("upgrad", projections), ("cagrad", conflict_averse), ("imtl", impartial),
        ("aligned", aligned), ("nash", bargain),
    ],
)  # fmt: skip
def test_three_gradients_of_any_lengths(name: str, exact: Solution, lengths: tuple[float, ...]):
    for seed in range(6):
        draw = np.random.default_rng(seed)
        u = draw.standard_normal((3, 4))
        if seed % 2:  # two that all but exclude each other
            u[1] = -u[0] + (0.3 if seed == 1 else 0.1) * draw.standard_normal(4)
        g = unit(u) * np.array(lengths)[:, None]
        assert_same(weights_of(name, g), exact(g), g, 2e-3 if name == "cagrad" else 1e-4)


def test_a_hundred_times_longer_gradient_does_not_hide_a_conflict():
    """By hand, at lengths of 1:100 and cosine -0.14634: (1 + 100 * 0.14634) / 2 = 7.817; the step harms neither."""
    g = np.array([[1.0, 0.0], [-14.634, 100 * math.sqrt(1 - 0.14634**2)]])
    weight = weights_of("upgrad", g)
    assert weight[0] == pytest.approx(7.817, abs=1e-6)
    assert (g @ (g.T @ weight) > -1e-9).all()


@pytest.mark.parametrize("name", ["pcgrad", "gradvac", "mgda", "upgrad", "cagrad", "imtl", "aligned"])
def test_weights_do_not_depend_on_the_length_of_all_gradients_together(name: str):
    g = np.random.default_rng(3).standard_normal((3, 5)) * np.array([[1.0], [50.0], [1000.0]])
    found = [weights_of(name, scale * g) for scale in (1e-8, 1.0, 1e8)]
    np.testing.assert_allclose(found[0], found[1], rtol=1e-3)
    np.testing.assert_allclose(found[2], found[1], rtol=1e-3)


@pytest.mark.parametrize("name", ["imtl", "nash"])
def test_the_length_of_one_gradient_does_not_turn_the_step_of_methods_that_promise_so(name: str):
    g = np.random.default_rng(4).standard_normal((3, 5))
    for factor in (1e-3, 1e3):
        scaled = g * np.array([[factor], [1.0], [1.0]])
        steps = [unit((each.T @ weights_of(name, each))[None]) for each in (g, scaled)]
        np.testing.assert_allclose(steps[0], steps[1], atol=1e-5)


@pytest.mark.parametrize("name", ["mgda", "upgrad", "nash"])
@pytest.mark.parametrize("second", [[1.0, 0.0], [-1.0, 0.0], [-1000.0, 0.0]])
def test_gradients_on_one_line_get_finite_weights(name: str, second: list[float]):
    g = np.array([[1.0, 0.0], second])
    weight = weights_of(name, g)
    assert np.isfinite(weight).all()
    assert (weight >= 0).all()
    assert np.linalg.norm(g.T @ weight) < 1001
