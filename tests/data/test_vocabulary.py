"""Vocabularies: what is known, in which order, and that every way of looking up agrees."""

from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtlbench.data import vocabulary as module
from mtlbench.data.vocabulary import Vocabulary, tally


def fit(values: list, min_count: int = 1, kind: pa.DataType | None = None) -> Vocabulary:
    return Vocabulary.fit([tally(pa.array(values, kind))], min_count)


def test_order_by_count_then_value_with_missing_last_among_equals() -> None:
    vocabulary = fit([7, 3, 3, None, None, 5, 9, 9, 9, 7])
    assert vocabulary.values.to_pylist() == [9, 3, 7, None, 5]
    assert vocabulary.counts.tolist() == [3, 2, 2, 2, 1]
    assert vocabulary.cardinality == 6
    assert vocabulary.encode(pa.array([9, None, 5, 4, 7, -1, 1 << 40])).tolist() == [1, 4, 5, 0, 3, 0, 0]


def test_min_count_makes_rare_values_unknown_missing_among_them() -> None:
    vocabulary = fit(["a", "a", "b", None], min_count=2)
    assert vocabulary.values.to_pylist() == ["a"]
    assert vocabulary.encode(pa.array(["a", "b", None, "c"])).tolist() == [1, 0, 0, 0]


def test_weighted_tallies_of_several_pieces_add_up() -> None:
    pieces = [tally(pa.array([4, 4, 6]), np.array([10, 1, 3])), tally(pa.array([6, 8]), np.array([9, 1]))]
    vocabulary = Vocabulary.fit(pieces, 2)
    assert (vocabulary.values.to_pylist(), vocabulary.counts.tolist()) == ([6, 4], [12, 11])


def test_a_field_without_any_value_knows_nothing() -> None:
    vocabulary = fit([], kind=pa.int32())
    assert vocabulary.cardinality == 1
    assert vocabulary.encode(pa.array([0, 1, None], pa.int32())).tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    "kind", [pa.int16(), pa.int64(), pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())]
)
def test_kinds_of_columns(kind: pa.DataType) -> None:
    raw = [3, 1, None, 3, 2]
    values = raw if pa.types.is_integer(kind) else [None if v is None else str(v) for v in raw]
    column = pa.array(values, kind)
    assert Vocabulary.fit([tally(column)], 1).encode(column).tolist() == [1, 2, 4, 1, 3]


@given(
    known=st.lists(st.integers(-50, 50) | st.none()),
    asked=st.lists(st.integers(-60, 60) | st.none()),
    least=st.integers(1, 3),
    dense=st.booleans(),
)
def test_equals_a_dictionary(known: list, asked: list, least: int, dense: bool) -> None:
    vocabulary = fit(known, least, pa.int64())
    if not dense:  # as if the values were spread too thinly for a table
        vocabulary.__dict__["_dense"] = None
    kept = sorted(
        ((v, c) for v, c in Counter(known).items() if c >= least),
        key=lambda pair: (-pair[1], pair[0] is None, pair[0] or 0),
    )
    index = {value: at for at, (value, _) in enumerate(kept, start=1)}
    encoded = vocabulary.encode(pa.array(asked, pa.int64()))
    assert encoded.dtype == np.int32
    assert encoded.tolist() == [index.get(value, 0) for value in asked]
    assert vocabulary.decode(encoded).to_pylist() == [value if value in index else None for value in asked]


def test_a_wide_range_is_searched_and_a_narrow_one_looked_up() -> None:
    assert fit([0, 1 << 50])._dense is None
    assert fit(list(range(10)))._dense is not None
    assert fit([0, 1 << 50, 7]).encode(pa.array([1 << 50, 7, 1, 1 << 51])).tolist() == [3, 2, 0, 0]


@pytest.mark.parametrize("lowest", [-(2**63), -3, 0, 2**63 - 3])
@pytest.mark.parametrize("distance", [-(2**63), -1, 3, 2**62, 2**63 - 1])
def test_values_outside_the_table_are_unknown(lowest: int, distance: int) -> None:
    known = [lowest, lowest + 2]
    asked = (lowest + distance + 2**63) % 2**64 - 2**63  # wherever the distance ends on the circle of 64-bit numbers
    vocabulary = fit(known, kind=pa.int64())
    assert vocabulary._dense is not None
    assert vocabulary.encode(pa.array([asked, *known], pa.int64())).tolist() == [0, 1, 2]


def test_narrow_columns_are_looked_up_among_wide_values() -> None:
    vocabulary = fit([1 << 40, (1 << 40) + 1], kind=pa.int64())
    assert vocabulary.encode(pa.array([0, 1, -(2**31), 2**31 - 1], pa.int32())).tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("kind", [pa.int32(), pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())])
@pytest.mark.parametrize("weighted", [False, True])
def test_pieces_of_a_column_are_counted_like_the_whole(kind: pa.DataType, weighted: bool) -> None:
    raw = [3, 1, None, 3, 2, 1, 3]
    values = raw if kind == pa.int32() else [None if v is None else str(v) for v in raw]
    weights = np.arange(1, 8) if weighted else None
    pieces = pa.chunked_array([pa.array(part, kind) for part in (values[:2], values[2:])], kind)
    one, other = (tally(column, weights).sort_by("value") for column in (pieces, pa.array(values, kind)))
    assert one.to_pydict() == other.to_pydict()
    assert one["value"].type == (pa.int64() if kind == pa.int32() else pa.string())


def test_save_and_load(tmp_path: Path) -> None:
    vocabulary = fit(["x", None, "y", "y"])
    vocabulary.save(tmp_path / "v.parquet")
    loaded = Vocabulary.load(tmp_path / "v.parquet")
    assert loaded.values.equals(vocabulary.values)
    assert loaded.counts.tolist() == vocabulary.counts.tolist()
    assert module.pq.read_table(tmp_path / "v.parquet")["id"].to_pylist() == [1, 2, 3]
