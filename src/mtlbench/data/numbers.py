"""Number fields: missing values, compression, standardisation by moments of training rows, float32 limits."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from mtlbench.schema import Field

CHUNK = 1 << 16
"""Number of values summed at once. Sums depend on the chunks, so chunks are determined only by row numbers and the
field's width."""

LARGEST = float(np.finfo(np.float32).max)
"""Maximum absolute value of a number, that of float32, so that sums of squares fit float64."""

LARGEST_STANDARDISED = 2.0**63
"""Maximum absolute value of a standardised number, so that its square fits float32."""

OUTLIER = 100
"""Absolute value of a standardised number above which it is an outlier, about which `prepare` warns."""

SAMPLE_WEIGHTS = 2.0**-63, 2.0**63
"""Bounds of the weight of a row, if not 0, so that sums of weights, and quotients by them, fit float32."""

CLOSE = 2.0**-20
"""Numbers whose range is below this fraction of their size are summed as differences from one of them."""

ROUNDING = 2.0**-48
"""A range below this fraction of the numbers (16 units in the last place of float64) is rounding of a constant."""


@dataclass(frozen=True, slots=True)
class Scale:
    """Mean and population standard deviation of each component of a number field, float64 ``[width]``.

    A deviation of 0 marks a component that is constant, or always missing, on training rows.
    """

    mean: np.ndarray
    deviation: np.ndarray

    @classmethod
    def unfitted(cls, width: int) -> "Scale":
        """A scale before fitting, with the `limits` of float32."""
        return cls(np.zeros(width), np.zeros(width))

    @property
    def limits(self) -> tuple[np.ndarray, np.ndarray]:
        """Lowest and highest allowed number of each component, float64 ``[width]``."""
        reach = np.where(self.deviation > 0, LARGEST_STANDARDISED * self.deviation, np.inf)
        return np.maximum(self.mean - reach, -LARGEST), np.minimum(self.mean + reach, LARGEST)

    def unfit(self, values: np.ndarray) -> np.ndarray:
        """Mask of the numbers ``[R, width]`` outside the `limits`."""
        lowest, highest = self.limits
        return (values < lowest) | (values > highest)

    def apply(self, values: np.ndarray, missing: np.ndarray) -> np.ndarray:
        """Standardise ``[R, width]`` to float32; missing values, and all values of a constant, become 0, the mean.

        Values outside the `limits` must be marked as missing.
        """
        left_out = missing | (self.deviation == 0)
        spread = np.where(self.deviation > 0, self.deviation, 1)
        return ((np.where(left_out, self.mean, values) - self.mean) / spread).astype(np.float32)


def compressed(values: np.ndarray) -> np.ndarray:
    """``sign(v) ln(1 + |v|)``, float64, for long-tailed counts."""
    return np.copysign(np.log1p(np.abs(values)), values)


def expanded(values: np.ndarray) -> np.ndarray:
    """Inverse of `compressed`; infinite if beyond float64."""
    with np.errstate(over="ignore"):
        return np.copysign(np.expm1(np.abs(values)), values)


def in_units(field: Field, scale: Scale, standardised: np.ndarray) -> np.ndarray:
    """Standardised numbers ``[..., width]`` in the units of the raw files, float64; a missing one is the mean."""
    values = standardised * np.where(scale.deviation > 0, scale.deviation, 1) + scale.mean
    return expanded(values) if field.compress else values


def allowed(field: Field, scale: Scale, component: int) -> str:
    """The limits of a component, for messages."""
    limits = np.array([limit[component] for limit in scale.limits])
    lowest, highest = (expanded(limits) if field.compress else limits).tolist()
    why = "the range of a 32-bit float"
    if lowest > -LARGEST or highest < LARGEST:
        why = "so that, standardised on training rows, its square fits a 32-bit float"
    return f"{lowest:.6g} to {highest:.6g}, {why}"


def number_matrix(field: Field, column: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """Values float64 ``[R, width]``, 0 if missing, and a mask of missing ones.

    Args:
        field: a number field; values are compressed if it has ``compress``.
        column: floats or integers, null if missing; for a width above 1, lists of that length.

    Raises:
        ValueError: a list has another length, or a value is not finite.
    """
    valid = column.is_valid().to_numpy(zero_copy_only=False)
    entries = column if field.width == 1 else column.flatten()
    if field.width > 1 and len(entries) != int(valid.sum()) * field.width:
        raise ValueError(
            f"number field '{field.name}' of width {field.width} was read with {len(entries)} components "
            f"in {int(valid.sum())} rows; its reader must return lists of {field.width}, or null"
        )
    known = entries.cast(pa.float64(), safe=False).fill_null(0).to_numpy(zero_copy_only=False)
    if not np.isfinite(known).all():
        raise ValueError(
            f"number field '{field.name}' was read with values that are not finite, the first of them "
            f"{known[~np.isfinite(known)][0]}; its reader must reject them or return null"
        )
    known = compressed(known) if field.compress else known
    absent = entries.is_null().to_numpy(zero_copy_only=False)
    if field.width == 1:
        return known[:, None], absent[:, None]
    values, missing = np.zeros((len(column), field.width)), np.ones((len(column), field.width), bool)
    values[valid], missing[valid] = known.reshape(-1, field.width), absent.reshape(-1, field.width)
    return values, missing


def fit_scale(field: Field, parts: Iterable[tuple[pa.Array, np.ndarray]]) -> Scale:
    """Moments of a number field, with rows weighted by the number of training rows that use them.

    The result is bit-identical, however the rows are divided into parts. Rows that no training row uses have no effect,
    whatever their values. Numbers close to each other and far from 0 (times in nanoseconds) are shifted by one of them,
    which is exact, before summing.

    Args:
        field: a number field.
        parts: the column and int32 uses, in parts in row order; used values must be within `LARGEST`.
    """
    count, mean, squares, pivot = (np.zeros(field.width) for _ in range(4))
    lowest, highest = np.full(field.width, np.inf), np.full(field.width, -np.inf)
    for values, weight in _chunks(field, parts):
        used = weight > 0
        low = np.where(used, values, np.inf).min(axis=0, initial=np.inf)
        high = np.where(used, values, -np.inf).max(axis=0, initial=-np.inf)
        pivot = np.where((count == 0) & used.any(axis=0) & _close(low, high, CLOSE), low, pivot)
        lowest, highest = np.minimum(lowest, low), np.maximum(highest, high)
        shifted = np.where(used, values, pivot) - pivot
        here = weight.sum(axis=0)
        total = np.maximum(count + here, 1)
        chunk_mean = (shifted * weight).sum(axis=0) / np.maximum(here, 1)
        squares += ((shifted - chunk_mean) ** 2 * weight).sum(axis=0) + (chunk_mean - mean) ** 2 * count * here / total
        mean += (chunk_mean - mean) * here / total
        count += here
    deviation = np.sqrt(squares / np.maximum(count, 1))
    return Scale(pivot + mean, np.where(_close(lowest, highest, ROUNDING), 0, deviation))


def _close(lowest: np.ndarray, highest: np.ndarray, share: float) -> np.ndarray:
    """Whether the range of numbers is at most a fraction of their size; true for no numbers."""
    return highest - lowest <= share * np.maximum(np.abs(lowest), np.abs(highest))


def _chunks(field: Field, parts: Iterable[tuple[pa.Array, np.ndarray]]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Values and their weights, both ``[rows, width]``, in chunks of `CHUNK` numbers."""
    rows = max(1, CHUNK // field.width)
    waiting = [(np.zeros((0, field.width)), np.zeros((0, field.width)))]
    for column, uses in parts:
        more, missing = number_matrix(field, column)
        waiting.append((more, np.where(missing, 0.0, uses[:, None])))
        if sum(len(values) for values, _ in waiting) < rows:
            continue
        values, weight = (np.concatenate(part) for part in zip(*waiting, strict=True))
        whole = len(values) - len(values) % rows
        for start in range(0, whole, rows):
            yield values[start : start + rows], weight[start : start + rows]
        waiting = [(values[whole:], weight[whole:])]
    values, weight = (np.concatenate(part) for part in zip(*waiting, strict=True))
    yield values, weight
