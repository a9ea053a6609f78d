"""Multi-valued fields as fixed-width columns: truncation and padding of lists."""

import numpy as np
import pyarrow as pa


def is_list(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)


def truncate(ids: pa.Array, weights: pa.Array | None, width: int) -> tuple[pa.Array, pa.Array | None, int]:
    """Truncate lists to the ``width`` entries of largest weight (the earlier of equal ones), in their original order.

    Args:
        ids: lists of R rows, null for an empty one.
        weights: lists of float32 of the same lengths; ``None`` for equal weights.
        width: maximum number of entries.

    Returns:
        The truncated lists, and the number of removed entries.
    """
    length, values, weight = _flat(ids, weights)
    if not (length > width).any():
        return ids, weights, 0
    keep = _heaviest(length, weight, width)
    offsets = pa.array(np.concatenate([[0], np.cumsum(np.minimum(length, width))]).astype(np.int32))
    chosen = pa.array(keep.nonzero()[0])
    short = pa.ListArray.from_arrays(offsets, values.take(chosen))
    short_weights = None if weight is None else pa.ListArray.from_arrays(offsets, pa.array(weight[keep]))
    return short, short_weights, int(len(keep) - len(chosen))


def coordinates(length: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Row and column of every entry of lists of the given lengths ``[R]`` in a padded matrix."""
    row = np.repeat(np.arange(len(length)), length)
    first = np.cumsum(length) - length
    return row, np.arange(len(row)) - np.repeat(first, length)


def lengths(lists: pa.Array) -> np.ndarray:
    """Length of every list, int64 ``[R]``; 0 for null."""
    return lists.value_lengths().fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)


def _flat(ids: pa.Array, weights: pa.Array | None) -> tuple[np.ndarray, pa.Array, np.ndarray | None]:
    length = lengths(ids)
    if weights is None:
        return length, ids.flatten(), None
    assert np.array_equal(length, lengths(weights)), "a weighted bag and its weights differ in length"
    return length, ids.flatten(), weights.flatten().to_numpy(zero_copy_only=False)


def _heaviest(length: np.ndarray, weight: np.ndarray | None, width: int) -> np.ndarray:
    """Mask of the entries to keep, over all entries.

    Entries are sorted by (row, weight, position) as 64-bit integers that pack all three, which is many times faster
    than a stable sort of indices.
    """
    keep = coordinates(length)[1] < width
    if weight is None:
        return keep
    first = np.cumsum(length) - length
    long_rows = (length > width).nonzero()[0]
    bits = int(length.max()).bit_length()  # bits of a position; the weight has 32, the row the rest
    for start in range(0, len(long_rows), 1 << (32 - bits)):
        rows = long_rows[start : start + (1 << (32 - bits))]
        row, position = coordinates(length[rows])
        entry = first[rows][row] + position
        key = row.astype(np.uint64) << np.uint64(32) | _descending(weight[entry])
        key = key << np.uint64(bits) | position.astype(np.uint64)
        key.sort()
        best = key[position < width]  # rows are sorted already, so a position is now a rank
        keep[entry] = False
        keep[first[rows][best >> np.uint64(32 + bits)] + (best & np.uint64((1 << bits) - 1)).astype(np.int64)] = True
    return keep


def _descending(weight: np.ndarray) -> np.ndarray:
    """uint64 keys below 2**32 in descending order of float32 weights."""
    bits = (np.ascontiguousarray(weight, np.float32) + np.float32(0)).view(np.uint32)  # -0.0 becomes 0.0
    ascending = np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31))
    return (~ascending).astype(np.uint64)
