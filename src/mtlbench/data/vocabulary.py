"""Vocabularies, which map raw values to ids and back, fitted on training rows only."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

UNKNOWN = 0
"""Index of all values that are not in a vocabulary."""

DENSE_SLACK = 64
"""Maximum entries of a lookup table per known value; if it would be larger, a hash table is used."""

SPREAD = np.uint64(0x9E3779B97F4A7C15)
"""2^64 divided by the golden ratio: a product with it has well-mixed high bits (Knuth, The Art of Computer Programming,
volume 3, section 6.4, multiplicative hashing)."""


@dataclass(frozen=True)
class Vocabulary:
    """The known values of one or more fields; the value at position p has index p + 1, and 0 means unknown.

    Values are ordered by descending count and, for equal counts, by ascending value (missing last), so that indices
    depend only on training rows, and frequent values are adjacent in the embedding table. "Missing" is an ordinary
    value: it has its own index if it is frequent enough in training rows.

    Departure: AITM's preparation merges missing and rare values into one id. The absence of a field is informative (a
    user without profile), so they have separate ids here.

    Attributes:
        values: int64 or string, at most one of them null.
        counts: int64, number of occurrences of each in training rows.
    """

    values: pa.Array
    counts: np.ndarray

    def __len__(self) -> int:
        return len(self.values)

    @property
    def cardinality(self) -> int:
        """Number of known values, plus one for unknown."""
        return len(self.values) + 1

    def encode(self, column: pa.Array) -> np.ndarray:
        """Index of every value, int32, or `UNKNOWN`."""
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
        """The values of indices; null for `UNKNOWN` and for missing."""
        return self.values.take(pa.array(np.where(index == UNKNOWN, 0, index - 1), mask=index == UNKNOWN))

    def save(self, path: Path) -> None:
        """Write the columns value, id (the index) and count as Parquet."""
        index = np.arange(1, self.cardinality, dtype=np.int32)
        pq.write_table(pa.table({"value": self.values, "id": index, "count": self.counts}), path)

    @classmethod
    def load(cls, path: Path) -> "Vocabulary":
        """Read a vocabulary written by `save`."""
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
        index = self._dense_index(present) if self._dense is not None else self._hashed_index(present)
        if column.null_count:
            index[column.is_null().to_numpy(zero_copy_only=False)] = self._missing
        return index

    def _dense_index(self, values: np.ndarray) -> np.ndarray:
        assert self._dense is not None
        # As unsigned numbers, the differences of values below the lowest one are beyond the table too.
        distance = (values.astype(np.int64, copy=False) - self._range[0]).view(np.uint64)
        return self._dense[np.minimum(distance, len(self._dense) - 1).view(np.int64)]

    def _hashed_index(self, values: np.ndarray) -> np.ndarray:
        keys, index = self._hashed
        values = values.astype(np.int64, copy=False)
        slot = _first_slot(values, len(keys))
        found = index[slot]
        # An empty slot ends the search, a slot of another value does not.
        left = np.flatnonzero((found != UNKNOWN) & (keys[slot] != values))
        while len(left):
            slot[left] = (slot[left] + 1) % len(keys)
            found[left] = index[slot[left]]
            left = left[(found[left] != UNKNOWN) & (keys[slot[left]] != values[left])]
        return found

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
    def _hashed(self) -> tuple[np.ndarray, np.ndarray]:
        """A hash table, at most half full: the value in each slot, and its index, or `UNKNOWN` if the slot is empty."""
        values, known = self._sorted
        size = 2 << len(values).bit_length()
        keys, index = np.zeros(size, np.int64), np.full(size, UNKNOWN, np.int32)
        slot = _first_slot(values, size)
        while len(values):
            free = index[slot] == UNKNOWN
            keys[slot[free]], index[slot[free]] = values[free], known[free]
            homeless = index[slot] != known  # of several values that want a slot, one has got it
            values, known, slot = values[homeless], known[homeless], (slot[homeless] + 1) % size
        return keys, index

    @cached_property
    def _range(self) -> tuple[int, int]:
        ordered, _ = self._sorted
        return (int(ordered[0]), int(ordered[-1])) if len(ordered) else (0, -1)

    @cached_property
    def _dense(self) -> np.ndarray | None:
        """Lookup table by value minus the lowest one, with `UNKNOWN` at the end; ``None`` if it would be too long."""
        ordered, index = self._sorted
        lowest, highest = self._range
        if not len(ordered) or highest - lowest > DENSE_SLACK * (len(ordered) + 1024):
            return None
        table = np.zeros(highest - lowest + 2, np.int32)
        table[ordered - lowest] = index
        return table


def _first_slot(values: np.ndarray, size: int) -> np.ndarray:
    """The slot at which the search for each value starts, in a hash table whose size is a power of two."""
    return (values.view(np.uint64) * SPREAD >> np.uint64(65 - size.bit_length())).view(np.int64)


def positions(values: pa.Array, known: pa.Array) -> np.ndarray:
    """First position of each value in ``known``, int32, or -1; null matches null."""
    found = pc.call_function("index_in", [values], pc.SetLookupOptions(value_set=known))
    return found.fill_null(-1).to_numpy(zero_copy_only=False)


def tally(values: pa.Array | pa.ChunkedArray, weights: np.ndarray | None = None) -> pa.Table:
    """Count values: a table of value (int64 or string; null is a value) and count (int64).

    Args:
        values: integers or strings, plain or dictionary-encoded.
        weights: int64 weight of each entry; ``None`` for 1.
    """
    if weights is not None:
        return merge([pa.table({"value": normal(values), "count": weights})])
    counted = (normal(values) if pa.types.is_dictionary(values.type) else values).value_counts()
    return pa.table({"value": normal(counted.field("values")), "count": counted.field("counts")})


def merge(tallies: Iterable[pa.Table]) -> pa.Table:
    """The sum of several tallies."""
    total = pa.concat_tables(tallies).group_by("value", use_threads=False).aggregate([("count", "sum")])
    return total.rename_columns({"count_sum": "count"}).select(["value", "count"])


def is_integer_type(kind: pa.DataType) -> bool:
    """Whether a type, or the value type of a dictionary, is an integer or a boolean."""
    kind = _plain(kind)
    return pa.types.is_integer(kind) or pa.types.is_boolean(kind)


def is_string_type(kind: pa.DataType) -> bool:
    """Whether a type, or the value type of a dictionary, is a kind of text."""
    kind = _plain(kind)
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def normal(values: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """Convert integers of any size, and booleans, to int64, and text of any kind to string."""
    return values.cast(pa.int64() if is_integer_type(values.type) else pa.string())


def _plain(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind
