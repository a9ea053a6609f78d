"""Log-odds of simulated labels: to probabilities, and shifted so that labels have a given rate."""

import numpy as np
import numpy.typing as npt

STEPS = 60
"""Halvings of ``[-30, 30]``: more than a float64 can tell apart."""

Floats = npt.NDArray[np.floating]


def sigmoid(log_odds: Floats) -> npt.NDArray[np.float64]:
    return 1 / (1 + np.exp(-log_odds.astype(np.float64, copy=False)))


def intercept(log_odds: Floats, rate: float, weight: Floats | None = None) -> float:
    """What to add to log-odds ``[R]`` so that the mean probability, weighted if need be, is the rate (bisection)."""
    low, high = -30.0, 30.0
    for _ in range(STEPS):
        middle = (low + high) / 2
        above = np.average(sigmoid(log_odds + middle), weights=weight) > rate
        low, high = (low, middle) if above else (middle, high)
    return low
