"""Vocabularies: raw values to ids and back, fitted on training rows only."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

UNKNOWN = 0
"""Index of everything that a vocabulary does not know."""

DENSE_SLACK = 64
"""A lookup table by value may have this many entries per known value; beyond that, values are searched for."""


@dataclass(frozen=True)
class Vocabulary:
    """The known values of one or more fields; the value at position p has index p + 1, and 0 means unknown.

    Values are ordered by descending count and, among equals, by ascending value (missing last), so that indices depend
    on the training rows alone and frequent values lie together in the embedding table. "Missing" is a value like any
    other: it has an index of its own where training rows lack the field often enough.

    Departure: AITM's preparation merges missing and rare values into one id. That a field is absent is information
    of its own (a user without profile), so they have separate ids.

    Attributes:
        values: int64 or string, at most one of them null.
        counts: int64, how often each was seen on training rows.
    """

    values: pa.Array
    counts: np.ndarray

    def __len__(self) -> int:
        return len(self.values)

    @property
    def cardinality(self) -> int:
        """Known values and the one for unknown."""
        return len(self.values) + 1

    def encode(self, column: pa.Array) -> np.ndarray:
        """Index of every value: int32, `UNKNOWN` where it is not known."""
        if pa.types.is_integer(self.values.type):
            return self._encode_integers(column)
        if pa.types.is_dictionary(column.type):
            return (
                self.encode(column.dictionary)[column.indices.to_numpy(zero_copy_only=False)]
                if not column.null_count
                else self.encode(column.dictionary_decode())
            )
        return positions(column.cast(self.values.type), self.values) + np.int32(1)

    def decode(self, index: np.ndarray) -> pa.Array:
        """The values behind indices; null for `UNKNOWN` and for missing."""
        return self.values.take(pa.array(np.where(index == UNKNOWN, 0, index - 1), mask=index == UNKNOWN))

    def save(self, path: Path) -> None:
        """Write the columns value, id (the index) and count as Parquet."""
        index = np.arange(1, self.cardinality, dtype=np.int32)
        pq.write_table(pa.table({"value": self.values, "id": index, "count": self.counts}), path)

    @classmethod
    def load(cls, path: Path) -> "Vocabulary":
        """Inverse of `save`."""
        table = pq.read_table(path).combine_chunks()
        return cls(pa.concat_arrays(table["value"].chunks), table["count"].to_numpy())

    @classmethod
    def fit(cls, tallies: Iterable[pa.Table], min_count: int) -> "Vocabulary":
        """The values that occur at least ``min_count`` times in all tallies together.

        Args:
            tallies: tables of value and count, see `tally`.
            min_count: rarer values are unknown.
        """
        total = merge(tallies)
        known = total.filter(pc.field("count") >= min_count)
        ranked = known.sort_by([("count", "descending"), ("value", "ascending")]).combine_chunks()
        return cls(pa.concat_arrays(ranked["value"].chunks), ranked["count"].to_numpy())

    def _encode_integers(self, column: pa.Array) -> np.ndarray:
        present = (column.fill_null(0) if column.null_count else column).to_numpy(zero_copy_only=False)
        index = self._dense_index(present) if self._dense is not None else self._sorted_index(present)
        if column.null_count:
            index[column.is_null().to_numpy(zero_copy_only=False)] = self._missing
        return index

    def _dense_index(self, values: np.ndarray) -> np.ndarray:
        assert self._dense is not None
        # As unsigned numbers, the distances of values below the lowest one are beyond the table too.
        distance = (values.astype(np.int64, copy=False) - self._range[0]).view(np.uint64)
        return self._dense[np.minimum(distance, len(self._dense) - 1).view(np.int64)]

    def _sorted_index(self, values: np.ndarray) -> np.ndarray:
        ordered, index = self._sorted
        if not len(ordered):
            return np.zeros(len(values), np.int32)
        at = np.minimum(np.searchsorted(ordered, values), len(ordered) - 1)
        return np.where(ordered[at] == values, index[at], np.int32(UNKNOWN))

    @cached_property
    def _missing(self) -> int:
        null_at = self.values.is_null().to_numpy(zero_copy_only=False).nonzero()[0]
        return int(null_at[0]) + 1 if len(null_at) else UNKNOWN

    @cached_property
    def _sorted(self) -> tuple[np.ndarray, np.ndarray]:
        """Known integers in ascending order, and their indices."""
        present = self.values.is_valid().to_numpy(zero_copy_only=False)
        values = self.values.fill_null(0).to_numpy(zero_copy_only=False)[present]
        index = np.arange(1, self.cardinality, dtype=np.int32)[present]
        ascending = np.argsort(values)
        return values[ascending], index[ascending]

    @cached_property
    def _range(self) -> tuple[int, int]:
        ordered, _ = self._sorted
        return (int(ordered[0]), int(ordered[-1])) if len(ordered) else (0, -1)

    @cached_property
    def _dense(self) -> np.ndarray | None:
        """Index by value minus the lowest one, and `UNKNOWN` behind the last; None where that would be too long."""
        ordered, index = self._sorted
        lowest, highest = self._range
        if not len(ordered) or highest - lowest > DENSE_SLACK * (len(ordered) + 1024):
            return None
        table = np.zeros(highest - lowest + 2, np.int32)
        table[ordered - lowest] = index
        return table


def positions(values: pa.Array, known: pa.Array) -> np.ndarray:
    """Where each value first stands in ``known``, int32; -1 where it does not. Null is found where null is known."""
    found = pc.call_function("index_in", [values], pc.SetLookupOptions(value_set=known))
    return found.fill_null(-1).to_numpy(zero_copy_only=False)


def tally(values: pa.Array | pa.ChunkedArray, weights: np.ndarray | None = None) -> pa.Table:
    """How often each value occurs: a table of value (int64 or string; null is a value) and count (int64).

    Args:
        values: integers or strings, plain or dictionary-encoded.
        weights: int64, how often each entry counts; ``None``: once.
    """
    if weights is not None:
        return merge([pa.table({"value": normal(values), "count": weights})])
    counted = (normal(values) if pa.types.is_dictionary(values.type) else values).value_counts()
    return pa.table({"value": normal(counted.field("values")), "count": counted.field("counts")})


def merge(tallies: Iterable[pa.Table]) -> pa.Table:
    """One tally of several."""
    total = pa.concat_tables(tallies).group_by("value", use_threads=False).aggregate([("count", "sum")])
    return total.rename_columns({"count_sum": "count"}).select(["value", "count"])


def normal(values: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """Integers of any size as int64, text of any kind as string."""
    kind = values.type.value_type if pa.types.is_dictionary(values.type) else values.type
    return values.cast(pa.int64() if pa.types.is_integer(kind) else pa.string())
