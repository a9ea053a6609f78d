"""Functions of a confidence, calibrated to the printed correlations; see `confidence`."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy  # its parts are imported when they are used: a third of a second that planning runs does not need

Reading = Literal["whole", "printed"]

TOLERANCE = {"related": 0.003, "unrelated": 0.01}
"""How far from its target the correlation of the confidences may be on the calibrated rows."""

SIZES = np.geomspace(0.05, 20, 80)
"""Root mean squares of the scaled logits between which the one of the reading ``whole`` is sought."""

PRINTED_START = (1.0, 1.1)
"""Deviation and mean of confidences that meet both correlations under the reading ``printed``, for normal ones."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Calibration:
    """From a network's logit l to c = clip(scale l + shift), and the deviation of the noise in y_r."""

    scale: float
    shift: float
    noise: float
    clip: float

    def confidence(self, logits: np.ndarray) -> np.ndarray:
        return np.clip(self.scale * logits.astype(np.float64) + self.shift, -self.clip, self.clip)


def related(c: np.ndarray, reading: Reading) -> np.ndarray:
    """y_r without its noise."""
    size = np.abs(c)
    growth = 0.1 * np.exp(size)
    return np.sign(c) * 2 * np.log1p(size) + (np.sign(c) * growth if reading == "whole" else growth)


def unrelated(c: np.ndarray) -> np.ndarray:
    """y_ur."""
    size = np.abs(c)
    return np.sign(c) * (2 * np.sin(size) + 0.1 * np.cos(size))


def calibrate(
    logits: np.ndarray, drawn: np.ndarray, reading: Reading, clip: float, correlations: tuple[float, float]
) -> Calibration:
    """The scale, and the noise (``whole``) or the shift (``printed``), with which both correlations hold.

    Under ``whole`` the network's own ratio of mean to deviation is kept: the smallest scale with which c and y_ur
    correlate as they should, then the noise with which c and y_r do.

    Args:
        logits: ``[n]``.
        drawn: float64 ``[n]``, standard normal noise.
        reading: of y_r.
        clip: largest absolute confidence.
        correlations: of c with y_r and with y_ur.

    Raises:
        ValueError: no scale, noise or shift does it on these logits.
    """
    spread = float(logits.std(dtype=np.float64))
    if not np.isfinite(spread) or spread == 0:
        raise ValueError(f"relabel: the network's logits have a deviation of {spread}: it has learnt nothing")
    solve = _calibrate_whole if reading == "whole" else _calibrate_printed
    found = solve(logits, drawn, spread, clip, correlations)
    c = found.confidence(logits)
    reached = {
        "related": correlation(c, related(c, reading) + found.noise * drawn),
        "unrelated": correlation(c, unrelated(c)),
    }
    for (name, value), target in zip(reached.items(), correlations, strict=True):
        if not abs(value - target) <= TOLERANCE[name]:
            raise ValueError(
                f"relabel: base and {name} confidences correlate at {value:.4f} at best, not at {target} "
                f"(within {TOLERANCE[name]}), with reading={reading}, clip={clip} and this network's logits (mean "
                f"{logits.mean():.3f}, deviation {spread:.3f}). Try the other dataset.relabel.reading, or change "
                "dataset.relabel.clip, epochs or seed"
            )
    return found


def _calibrate_whole(
    logits: np.ndarray, drawn: np.ndarray, spread: float, clip: float, correlations: tuple[float, float]
) -> Calibration:
    def at(scale: float, noise: float = 0.0) -> Calibration:
        return Calibration(scale=scale, shift=0.0, noise=noise, clip=clip)

    def too_unrelated(scale: float) -> float:
        c = at(scale).confidence(logits)
        return correlation(c, unrelated(c)) - correlations[1]

    scale = _first_fall(too_unrelated, SIZES / np.sqrt(np.square(logits, dtype=np.float64).mean()))
    c = at(scale).confidence(logits)
    without = related(c, "whole")

    def too_related(noise: float) -> float:
        return correlation(c, without + noise * drawn) - correlations[0]

    most = float(without.std())
    noise = _root(too_related, 0, most) if too_related(0) > 0 > too_related(most) else 0.0
    return at(scale, noise)


def _calibrate_printed(
    logits: np.ndarray, drawn: np.ndarray, spread: float, clip: float, correlations: tuple[float, float]
) -> Calibration:
    mean = float(logits.mean(dtype=np.float64))

    def at(deviation: float, middle: float) -> Calibration:
        scale = deviation / spread
        return Calibration(scale=scale, shift=middle - scale * mean, noise=0.0, clip=clip)

    def misses(point: np.ndarray) -> list[float]:
        c = at(*point).confidence(logits)
        return [
            correlation(c, related(c, "printed")) - correlations[0],
            correlation(c, unrelated(c)) - correlations[1],
        ]

    found = scipy.optimize.least_squares(misses, PRINTED_START, bounds=([0.05, -clip], [10.0, clip]))
    return at(*found.x)


def _first_fall(function: Callable[[float], float], points: np.ndarray) -> float:
    """Where a function first falls below zero; the point of its smallest size if it never does."""
    values: list[float] = []
    for point in points:
        values.append(function(float(point)))
        if len(values) > 1 and values[-2] >= 0 > values[-1]:
            return _root(function, float(points[len(values) - 2]), float(point))
    return float(points[np.nanargmin(np.abs(values))])


def _root(function: Callable[[float], float], low: float, high: float) -> float:
    found = scipy.optimize.brentq(function, low, high)
    assert isinstance(found, float)
    return found


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson's; not a number where one of them is constant."""
    if not len(a) or a.min() == a.max() or b.min() == b.max():
        return math.nan
    return float(np.corrcoef(a, b)[0, 1])
