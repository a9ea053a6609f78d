"""The engine of the simulators: labels with known probabilities, from planted effects of the inputs.

A simulator draws inputs and gives components of the log-odds: main effects and interactions of inputs (`Term`), or
arrays that it computes itself (matches with a history, tastes that drift). The engine standardises each component,
weights it by its share of the variance, and sums::

    score_t = sum_c sqrt(share_c) (component_ct - mean) / deviation        one independent score per task
    log-odds_t = b_t + spread_t sum_s L_ts score_s                         of task t, or of t given its parent

Scores are whitened over a sample of rows and L is a Cholesky factor, so that the log-odds of any two tasks have the
stated correlation (relatedness); where none is stated they keep that of their scores. Intercepts and spreads are fitted
to the stated rates and ceilings (AUCs of the true probabilities), whatever the other settings are.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from mtlbench.datasets.draws import Floats, RankedValues

Piece = TypeVar("Piece")

SAMPLE_PIECES = 32
"""Pieces of a data set to which its label model is fitted."""
CEILING_ROWS = 1 << 15
"""Rows on which a spread is fitted to a ceiling."""

Components = Mapping[str, Floats]
"""Parts of the log-odds before scaling, by name: ``[R, T]`` each."""
Inputs = Mapping[str, npt.NDArray[Any]]
"""Inputs of rows, ``[R]`` each: ids count from 0, -1 is missing and has no effect."""


@dataclass(frozen=True, slots=True)
class Term:
    """A component of the log-odds: a weighted sum of main effects, or the inner product of two sums of factors.

    Attributes:
        left: weight of each input.
        right: weight of each input that interacts with those; none for main effects.
    """

    left: Mapping[str, float]
    right: Mapping[str, float] | None = None


@dataclass(frozen=True, kw_only=True)
class Effects:
    """Latent factors of inputs: K standard normal numbers per task, for each value of an id and for each number.

    The first factor is also the input's main effect: learning one helps to learn the other.

    Attributes:
        seed: of the factors.
        tasks: T.
        vocabularies: of the inputs that are ids. A vocabulary's factors have mean 0, by popularity.
        numbers: inputs that are numbers; their factors are multiplied by the value.
        rank: K.
    """

    seed: int
    tasks: int
    vocabularies: Mapping[str, RankedValues]
    numbers: tuple[str, ...] = ()
    rank: int = 1

    @cached_property
    def factors(self) -> dict[str, npt.NDArray[np.float32]]:
        """``[values + 1, T, K]`` of an id, of which the last row, for -1, is 0; ``[T, K]`` of a number."""
        random = np.random.default_rng([self.seed, 1 << 32])
        factors = {name: random.standard_normal((self.tasks, self.rank), np.float32) for name in self.numbers}
        for name, vocabulary in self.vocabularies.items():
            table = random.standard_normal((vocabulary.size + 1, self.tasks, self.rank), np.float32)
            table -= np.einsum("v,vtk->tk", vocabulary.popularity, table[:-1])
            table[-1] = 0
            factors[name] = table
        return factors

    def components(self, terms: Mapping[str, Term], inputs: Inputs) -> dict[str, Floats]:
        """The components ``[R, T]`` of rows."""
        return {name: self._component(term, inputs) for name, term in terms.items()}

    def sums(self, weights: Mapping[str, float], inputs: Inputs) -> Floats:
        """Weighted sums of the inputs' factors, float64 ``[R, T, K]``."""
        total = np.zeros((len(inputs[next(iter(weights))]), self.tasks, self.rank))
        for name, weight in weights.items():
            values, factors = inputs[name], self.factors[name]
            total += weight * (values[:, None, None] * factors if name in self.numbers else factors[values])
        return total

    def _component(self, term: Term, inputs: Inputs) -> Floats:
        left = self.sums(term.left, inputs)
        return left[..., 0] if term.right is None else (left * self.sums(term.right, inputs)).sum(axis=2)


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelModel:
    """Label probabilities as a function of components, see the top of this file.

    Attributes:
        shares: share of each component in the variance of a score.
        means, deviations: of the components, ``[T]`` each.
        mixing: ``[T, T]``, the log-odds without their intercepts as a linear map of the scores.
        intercepts: ``[T]``.
        parents: per task, the earlier task without which it is never positive.
    """

    shares: Mapping[str, float]
    means: Components
    deviations: Components
    mixing: Floats
    intercepts: Floats
    parents: tuple[int | None, ...]

    def log_odds(self, components: Components) -> Floats:
        """Float64 ``[R, T]``; of a task with a parent, given a positive parent."""
        scores = np.sum(
            [
                np.sqrt(share) * (components[name] - self.means[name]) / self.deviations[name]
                for name, share in self.shares.items()
            ],
            axis=0,
        )
        return scores @ self.mixing.T + self.intercepts

    def probabilities(self, components: Components) -> Floats:
        """True probabilities that the labels are 1, float64 ``[R, T]``."""
        return self._joint(sigmoid(self.log_odds(components)))

    def draw(self, components: Components, random: np.random.Generator) -> tuple[npt.NDArray[np.bool_], Floats]:
        """Labels ``[R, T]``, and their true probabilities."""
        chances = sigmoid(self.log_odds(components))
        return self._joint(random.random(chances.shape) < chances), self._joint(chances)

    def _joint(self, conditional: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Probabilities or labels of tasks given their parents, times those of the parents."""
        joint = conditional.copy()
        for task, parent in enumerate(self.parents):
            if parent is not None:
                joint[:, task] *= joint[:, parent]
        return joint


def fit_label_model(
    sample: Iterable[Components],
    *,
    shares: Mapping[str, float],
    rates: Sequence[float],
    ceilings: Sequence[float],
    relatedness: float | None = 0.0,
    structure: bool = True,
    parents: tuple[int | None, ...] | None = None,
) -> LabelModel:
    """The label model that gives sampled rows these rates and ceilings.

    Args:
        sample: components of rows, piece by piece.
        shares: see `LabelModel`.
        rates: of each task; of one with a parent, among the positive rows of the parent.
        ceilings: AUC of the true probabilities of each task; of one with a parent, on those rows too.
        relatedness: correlation of any two tasks' log-odds, 0 to 1; None: that of their scores.
        structure: False makes labels independent of every input, at the same rates.
        parents: see `LabelModel`; None: no task has one.
    """
    tasks = len(rates)
    pieces = list(sample)
    components = {name: np.concatenate([piece[name] for piece in pieces]) for name in shares}
    deviations = {name: part.std(axis=0) for name, part in components.items()}
    model = LabelModel(
        shares=shares,
        means={name: part.mean(axis=0) for name, part in components.items()},
        deviations={name: np.where(deviation > 1e-9, deviation, 1.0) for name, deviation in deviations.items()},
        mixing=np.eye(tasks),
        intercepts=np.zeros(tasks),
        parents=parents or (None,) * tasks,
    )
    scores = model.log_odds(components)
    # Without the last term both matrices could be singular: few rows, a relatedness of 1.
    covariance = np.atleast_2d(np.cov(scores.T)) + 1e-12 * np.eye(tasks)
    if relatedness is None:
        mixing = np.diag(1 / np.sqrt(np.diag(covariance)))
    else:
        correlation = np.full((tasks, tasks), relatedness) + (1 - relatedness + 1e-12) * np.eye(tasks)
        mixing = np.linalg.cholesky(correlation) @ np.linalg.inv(np.linalg.cholesky(covariance))
    chances = np.empty_like(scores)
    spreads, intercepts = np.zeros(tasks), np.zeros(tasks)
    for task, (score, parent) in enumerate(zip(mixing @ scores.T, model.parents, strict=True)):
        before = np.ones(len(score)) if parent is None else chances[:, parent]
        if structure:
            spreads[task] = _spread(score, rates[task], ceilings[task], before)
        intercepts[task] = intercept(spreads[task] * score, rates[task], before)
        chances[:, task] = before * sigmoid(spreads[task] * score + intercepts[task])
    return replace(model, mixing=spreads[:, None] * mixing, intercepts=intercepts)


def intercept(log_odds: Floats, rate: float, weight: Floats | None = None) -> float:
    """What to add to log-odds ``[R]`` so that the mean probability, weighted if weights are given, is the rate."""
    return _root(lambda shift: np.average(sigmoid(log_odds + shift), weights=weight) - rate, -100, 100)


def expected_auc(chances: Floats, weight: Floats | None = None) -> float:
    """Expected AUC of probabilities ``[R]`` as scores of labels drawn from them, with rows weighted if wanted."""
    order = np.argsort(chances)
    mass = np.ones(len(chances)) if weight is None else weight[order]
    positives, negatives = mass * chances[order], mass * (1 - chances[order])
    below = np.cumsum(negatives) - negatives / 2
    return float((positives * below).sum() / (positives.sum() * negatives.sum()))


def evenly(pieces: Sequence[Piece]) -> Sequence[Piece]:
    """All pieces if they are few, otherwise about `SAMPLE_PIECES` of them, evenly spread."""
    return pieces[:: max(1, len(pieces) // SAMPLE_PIECES)]


def _spread(score: Floats, rate: float, ceiling: float, before: Floats) -> float:
    """The spread at which a task's probabilities have an AUC of ``ceiling``, rows weighted by ``before``."""
    step = -(-len(score) // CEILING_ROWS)
    score, before = score[::step], before[::step]

    def excess(spread: float) -> float:
        log_odds = spread * score
        return expected_auc(sigmoid(log_odds + intercept(log_odds, rate, before)), before) - ceiling

    if not excess(0.01) < 0 < excess(20):
        raise ValueError(f"no spread of the log-odds gives a ceiling AUC of {ceiling} at a rate of {rate:.4g}")
    return _root(excess, 0.01, 20)


def _root(function: Callable[[float], float], low: float, high: float) -> float:
    """Where an increasing function is 0; the upper end if it stays below (a rate of 1)."""
    from scipy.optimize import brentq  # takes 0.3 s, and readers of real files do not need it

    return high if function(high) <= 0 else float(brentq(function, low, high, xtol=1e-9))  # pyright: ignore[reportArgumentType]


def sigmoid(log_odds: np.ndarray) -> np.ndarray:
    """The probabilities of log-odds."""
    from scipy.special import expit  # takes 0.3 s, and readers of real files do not need it

    return expit(log_odds)
