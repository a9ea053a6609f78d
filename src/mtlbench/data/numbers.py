"""Number fields: missing values, and the mean and deviation that training rows give them."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

CHUNK = 1 << 16
"""Rows summed at once. Sums depend on where chunks end, so these ends are fixed by row number and by nothing else."""


@dataclass(frozen=True, slots=True)
class Scale:
    """Mean and population standard deviation of each component of a number field, float64 ``[width]``."""

    mean: np.ndarray
    deviation: np.ndarray

    def apply(self, values: np.ndarray, missing: np.ndarray) -> np.ndarray:
        """Standardise ``[R, width]``; missing becomes 0, the mean. A constant component becomes 0 everywhere."""
        spread = np.where(self.deviation > 0, self.deviation, 1)
        return np.where(missing, 0, (values - self.mean) / spread).astype(np.float32)


def number_matrix(column: pa.Array, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Values float64 ``[R, width]`` and where they are missing, bool; a missing value reads 0.

    Args:
        column: floats or integers, null where missing; for a width above 1 lists of that many.
        width: components of the field.
    """
    if width == 1:
        return (_present(column)[:, None], column.is_null().to_numpy(zero_copy_only=False)[:, None])
    valid = column.is_valid().to_numpy(zero_copy_only=False)
    entries = column.flatten()
    if len(entries) != int(valid.sum()) * width:
        raise ValueError(f"a number field of width {width} was read with {len(entries)} components in "
                         f"{int(valid.sum())} rows; its reader must give lists of {width}, or null")
    values, missing = np.zeros((len(column), width)), np.ones((len(column), width), bool)
    values[valid] = _present(entries).reshape(-1, width)
    missing[valid] = entries.is_null().to_numpy(zero_copy_only=False).reshape(-1, width)
    return values, missing


def fit_scale(name: str, width: int, parts: Iterable[tuple[pa.Array, np.ndarray]]) -> Scale:
    """Moments of a number field, each row counted as often as training rows use it.

    The same rows give the same bits however they are divided into parts.

    Args:
        name: of the field, for errors.
        width: of the field.
        parts: its column and int32 uses, piece by piece in row order.
    """
    count, mean, squares = np.zeros(width), np.zeros(width), np.zeros(width)
    for values, weight in _chunks(width, parts):
        here = weight.sum(axis=0)
        total = count + here
        some = np.maximum(total, 1)
        chunk_mean = (values * weight).sum(axis=0) / np.maximum(here, 1)
        squares += ((values - chunk_mean) ** 2 * weight).sum(axis=0) + (chunk_mean - mean) ** 2 * count * here / some
        mean += (chunk_mean - mean) * here / some
        count = total
    scale = Scale(mean, np.sqrt(squares / np.maximum(count, 1)))
    if not (np.isfinite(scale.mean).all() and np.isfinite(scale.deviation).all()):
        raise ValueError(f"number field '{name}' holds values that are not finite on training rows (mean {scale.mean}, "
                         f"standard deviation {scale.deviation}); its reader must refuse them or make them null")
    return scale


def _chunks(width: int, parts: Iterable[tuple[pa.Array, np.ndarray]]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Values and their weights, both ``[rows, width]``, `CHUNK` rows at a time."""
    values, weight = np.zeros((0, width)), np.zeros((0, width))
    for column, uses in parts:
        more, missing = number_matrix(column, width)
        values = np.concatenate([values, more])
        weight = np.concatenate([weight, np.where(missing, 0, uses[:, None])])
        while len(values) >= CHUNK:
            yield values[:CHUNK], weight[:CHUNK]
            values, weight = values[CHUNK:], weight[CHUNK:]
    yield values, weight


def _present(column: pa.Array) -> np.ndarray:
    return column.cast(pa.float64()).fill_null(0).to_numpy(zero_copy_only=False)
