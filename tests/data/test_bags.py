"""Bags are cut to the heaviest entries, in their old order."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtlbench.data import bags

WEIGHTS = st.sampled_from([0.0, -0.0, 0.25, 1.0, 1.0, 7.5, -2.0, 1e-30, 3e38])


def naive(ids: list[int], weights: list[float], width: int) -> list[int]:
    """Positions kept: a stable sort by descending weight."""
    return sorted(sorted(range(len(ids)), key=lambda at: -weights[at])[:width])


@given(st.lists(st.lists(st.tuples(st.integers(0, 9), WEIGHTS), max_size=9), max_size=8), st.integers(1, 5))
def test_cut_equals_a_stable_sort(rows: list[list[tuple[int, float]]], width: int) -> None:
    ids, weights = [[i for i, _ in row] for row in rows], [[w for _, w in row] for row in rows]
    short, short_weights, left_out = bags.truncate(
        pa.array(ids, pa.list_(pa.int32())), pa.array(weights, pa.list_(pa.float32())), width
    )
    kept = [naive(i, w, width) for i, w in zip(ids, weights, strict=True)]
    assert short.to_pylist() == [[row[at] for at in places] for row, places in zip(ids, kept, strict=True)]
    assert short_weights is not None
    expected = [[np.float32(row[at]) for at in places] for row, places in zip(weights, kept, strict=True)]
    assert short_weights.to_pylist() == expected
    assert left_out == sum(map(len, ids)) - sum(map(len, kept))


def test_rows_beyond_one_sort_are_cut_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    """A very long list leaves few bits for rows, so rows are sorted in several goes."""
    random = np.random.default_rng(0)
    lengths = [70_000, 5, 3, 9] + [4] * 70_000  # 17 bits for the position: 2**15 rows at once
    weights = random.integers(0, 6, sum(lengths)).astype(np.float32)
    offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32))
    ids = pa.ListArray.from_arrays(offsets, pa.array(np.arange(len(weights))))
    short, _, _ = bags.truncate(ids, pa.ListArray.from_arrays(offsets, pa.array(weights)), 3)
    start = np.cumsum(lengths) - lengths
    for row in (0, 1, 2, 3, 4, 40_000, len(lengths) - 1):
        own = weights[start[row] : start[row] + lengths[row]]
        assert short[row].as_py() == [int(start[row]) + at for at in naive([0] * len(own), own.tolist(), 3)]


def test_without_weights_the_first_entries_stay() -> None:
    short, none, left_out = bags.truncate(pa.array([["a", "b", "c"], None, ["d"], []]), None, 2)
    assert (short.to_pylist(), none, left_out) == ([["a", "b"], [], ["d"], []], None, 1)


def test_short_bags_are_returned_as_they_are() -> None:
    ids = pa.array([[1], None, [2, 3]])
    assert bags.truncate(ids, None, 2)[0] is ids


def test_places() -> None:
    row, column = bags.coordinates(np.array([2, 0, 3]))
    assert (row.tolist(), column.tolist()) == ([0, 0, 2, 2, 2], [0, 1, 0, 1, 2])
