"""AUC on bootstrap draws of users; all models use the same draws, so that comparisons are paired."""

from collections.abc import Iterator, Sequence

import numpy as np

MOST_DRAWS, FEWEST_DRAWS = 1000, 100
WORK = 500_000_000
"""Rows times draws for one model above which there are fewer draws: seconds of one core."""

CELLS = 4_000_000
"""Rows times draws that are computed at once, a few tens of megabytes."""


def affordable_draws(rows: int) -> int:
    """Number of bootstrap draws for a number of rows: 1,000, fewer above half a million rows, at least 100."""
    return int(np.clip(WORK // max(rows, 1), FEWEST_DRAWS, MOST_DRAWS))


def resampled_aucs(
    scores: Sequence[np.ndarray], positive: np.ndarray, unit: np.ndarray, draws: int, seed: int = 0
) -> np.ndarray:
    """AUC of M models on each of R bootstrap draws of the units (users) that the rows belong to: float64 ``[M, R]``.

    A draw takes as many units as there are, with replacement; a unit drawn k times has weight k in the AUC, in which
    ties count one half. Each model is sorted once; a draw then takes one cumulative sum. Draws with a single class are
    NaN.

    Args:
        scores: floats ``[N]`` for each model.
        positive: bool ``[N]``.
        unit: int64 ``[N]``, numbered from 0 without gaps.
        draws: number of draws R.
        seed: seed of the draws.

    Paper: Efron, Bootstrap Methods: Another Look at the Jackknife, Annals of Statistics 1979; resampling whole
    clusters: Davison and Hinkley, Bootstrap Methods and their Application, 1997, section 3.8.
    """
    ranked = [_Ranked(each, positive, unit) for each in scores]
    found = np.empty((len(ranked), draws))
    at_once = max(1, min(64, CELLS // max(len(unit), 1)))
    start = 0
    for weight_UR in _draws(int(unit.max()) + 1 if len(unit) else 0, draws, at_once, seed):
        stop = start + weight_UR.shape[1]
        for model, each in enumerate(ranked):
            found[model, start:stop] = each.aucs(weight_UR)
        start = stop
    return found


def _draws(units: int, draws: int, at_once: int, seed: int) -> Iterator[np.ndarray]:
    """Number of times that each unit is drawn, int32 ``[U, at_once]``, in blocks, whose size does not affect draws."""
    generator = np.random.default_rng(seed)
    for start in range(0, draws, at_once):
        block = np.empty((units, min(at_once, draws - start)), np.int32)
        for draw in range(block.shape[1]):
            block[:, draw] = np.bincount(generator.integers(0, units, units), minlength=units)
        yield block


class _Ranked:
    """Rows of a model sorted by score; for each positive, the numbers of negatives below it and tied with it."""

    def __init__(self, scores: np.ndarray, positive: np.ndarray, unit: np.ndarray) -> None:
        below = scores[~positive]
        order = np.argsort(below)
        self.negative_unit = unit[~positive][order]
        self.positive_unit = unit[positive]
        above, below = scores[positive], below[order]
        self.lower = np.searchsorted(below, above, side="left")
        self.upper = np.searchsorted(below, above, side="right")

    def aucs(self, weight_UR: np.ndarray) -> np.ndarray:
        """Weighted AUC of R draws, exact in integers up to the division."""
        draws = weight_UR.shape[1]
        seen = np.zeros((len(self.negative_unit) + 1, draws), np.int64)
        np.cumsum(weight_UR[self.negative_unit], axis=0, out=seen[1:])
        weight_R = weight_UR[self.positive_unit]
        doubled = (weight_R * (seen[self.lower] + seen[self.upper])).sum(axis=0)
        pairs = weight_R.sum(axis=0, dtype=np.int64) * seen[-1]
        return np.where(pairs > 0, doubled / np.maximum(2 * pairs, 1), np.nan)
