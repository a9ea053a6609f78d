"""Number fields: missing values, and the mean and deviation that training rows give them."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from mtlbench.schema import Field

CHUNK = 1 << 16
"""Numbers of a field summed at once. Sums depend on where chunks end, so these ends are fixed by the rows' numbers and
the field's width, and by nothing else."""

ROUNDING = 1e-12
"""A deviation this small beside the mean is the rounding error of a constant."""


@dataclass(frozen=True, slots=True)
class Scale:
    """Mean and population standard deviation of each component of a number field, float64 ``[width]``."""

    mean: np.ndarray
    deviation: np.ndarray

    def apply(self, values: np.ndarray, missing: np.ndarray) -> np.ndarray:
        """Standardise ``[R, width]``; missing becomes 0, the mean. A constant component is only centred."""
        spread = np.where(self.deviation > 0, self.deviation, 1)
        return np.where(missing, 0, (values - self.mean) / spread).astype(np.float32)


def number_matrix(field: Field, column: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """Values float64 ``[R, width]`` and where they are missing, bool; a missing value reads 0.

    Args:
        field: a number field.
        column: floats or integers, null where missing; for a width above 1 lists of that many.

    Raises:
        ValueError: lists of another length, or values that are not finite.
    """
    valid = column.is_valid().to_numpy(zero_copy_only=False)
    entries = column if field.width == 1 else column.flatten()
    if field.width > 1 and len(entries) != int(valid.sum()) * field.width:
        raise ValueError(
            f"number field '{field.name}' of width {field.width} was read with {len(entries)} components "
            f"in {int(valid.sum())} rows; its reader must give lists of {field.width}, or null"
        )
    known = entries.cast(pa.float64()).fill_null(0).to_numpy(zero_copy_only=False)
    if not np.isfinite(known).all():
        raise ValueError(
            f"number field '{field.name}' was read with values that are not finite, the first of them "
            f"{known[~np.isfinite(known)][0]}; its reader must refuse them or make them null"
        )
    absent = entries.is_null().to_numpy(zero_copy_only=False)
    if field.width == 1:
        return known[:, None], absent[:, None]
    values, missing = np.zeros((len(column), field.width)), np.ones((len(column), field.width), bool)
    values[valid], missing[valid] = known.reshape(-1, field.width), absent.reshape(-1, field.width)
    return values, missing


def fit_scale(field: Field, parts: Iterable[tuple[pa.Array, np.ndarray]]) -> Scale:
    """Moments of a number field, each row counted as often as training rows use it.

    The same rows give the same bits however they are divided into parts.

    Args:
        field: a number field.
        parts: its column and int32 uses, piece by piece in row order.
    """
    count, mean, squares = np.zeros(field.width), np.zeros(field.width), np.zeros(field.width)
    for values, weight in _chunks(field, parts):
        here = weight.sum(axis=0)
        total = np.maximum(count + here, 1)
        chunk_mean = (values * weight).sum(axis=0) / np.maximum(here, 1)
        squares += ((values - chunk_mean) ** 2 * weight).sum(axis=0) + (chunk_mean - mean) ** 2 * count * here / total
        mean += (chunk_mean - mean) * here / total
        count += here
    deviation = np.sqrt(squares / np.maximum(count, 1))
    return Scale(mean, np.where(deviation > ROUNDING * np.abs(mean), deviation, 0))


def _chunks(field: Field, parts: Iterable[tuple[pa.Array, np.ndarray]]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Values and their weights, both ``[rows, width]``, so many rows at a time that they hold `CHUNK` numbers."""
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
