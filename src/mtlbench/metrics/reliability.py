"""Reliability (calibration): predicted against observed values, in quantile bins."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import expit, ndtri

from mtlbench.metrics.binary import CALIBRATION_BINS
from mtlbench.metrics.bins import equal_mass_bins
from mtlbench.metrics.slices import ScoredRows
from mtlbench.schema import Task

Z = float(ndtri(0.975))
"""Half-width of a 95 % interval, in standard errors."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Bin:
    """A bin: rows with similar predictions.

    Attributes:
        rows: number of rows.
        predicted: mean prediction, a probability or a number in the units of the label.
        observed: rate of positives, or mean label.
        low, high: 95 % interval of the observed value: Wilson's for a rate; for a mean, 1.96 standard errors on each
            side, ``None`` for a single row.
    """

    rows: int
    predicted: float
    observed: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskReliability:
    """The bins of a task in ascending order of predictions; empty, with a reason, if undefined."""

    task: str
    kind: Literal["binary", "regression"]
    bins: tuple[Bin, ...]
    undefined: str | None = None

    @property
    def rows(self) -> int:
        return sum(each.rows for each in self.bins)


@dataclass(frozen=True, kw_only=True, slots=True)
class Reliability:
    """Reliability of every task over the rows of a split."""

    rows: int
    tasks: tuple[TaskReliability, ...]
    kind: Literal["calibration"] = "calibration"


def reliability(scored: ScoredRows, bins: int = CALIBRATION_BINS) -> Reliability:
    """Reliability of each task: mean prediction and mean label of the bins of the calibration error (ECE).

    Paper: Niculescu-Mizil and Caruana, Predicting Good Probabilities with Supervised Learning, ICML 2005 (reliability
    diagram); Wilson, Probable Inference, the Law of Succession, and Statistical Inference, JASA 1927.

    *Departure*: bins with equal numbers of rows, where the diagram usually has bins of equal width, which would show a
    task with one positive in thousands as a single point.
    """
    found = [_task_reliability(task, *scored.of_task(t)[:2], bins) for t, task in enumerate(scored.tasks)]
    return Reliability(rows=len(scored), tasks=tuple(found))


def wilson_interval(positives: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Bounds of Wilson's 95 % interval of the rate of positives, for several samples."""
    share = positives / rows
    centre = (share + Z**2 / (2 * rows)) / (1 + Z**2 / rows)
    half = Z / (1 + Z**2 / rows) * np.sqrt(share * (1 - share) / rows + Z**2 / (4 * rows**2))
    return np.maximum(centre - half, 0), np.minimum(centre + half, 1)


def _task_reliability(task: Task, score: np.ndarray, label: np.ndarray, bins: int) -> TaskReliability:
    score, label = score.astype(np.float64), label.astype(np.float64)
    finite = np.isfinite(score)
    if not finite.all() or not len(score):
        wrong = f"{np.count_nonzero(~finite):,} of {len(score):,} logits are not finite"
        undefined = wrong if len(score) else "no observed rows"
        return TaskReliability(task=task.name, kind=task.kind, bins=(), undefined=undefined)
    _, at, rows = np.unique(equal_mass_bins(score, bins), return_inverse=True, return_counts=True)

    def mean(values: np.ndarray) -> np.ndarray:
        return np.bincount(at.reshape(-1), values) / rows

    if task.kind == "binary":
        predicted, observed = mean(expit(score)), mean(label)
        low, high = wilson_interval(observed * rows, rows)
    else:
        label = label * task.deviation + task.mean
        predicted, observed = mean(score * task.deviation + task.mean), mean(label)
        spread = mean((label - observed[at.reshape(-1)]) ** 2)
        half = Z * np.sqrt(spread / np.maximum(rows - 1, 1))
        low, high = observed - half, observed + half
    found = zip(*(values.tolist() for values in (rows, predicted, observed, low, high)), strict=True)
    return TaskReliability(
        task=task.name,
        kind=task.kind,
        bins=tuple(Bin(rows=n, predicted=p, observed=o, low=a, high=b) for n, p, o, a, b in found),
    )
