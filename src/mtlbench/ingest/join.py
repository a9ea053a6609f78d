"""Resolves foreign keys to row numbers: the dimension-table row of each labelled row."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import pyarrow as pa

from mtlbench.data.layout import POINTER
from mtlbench.data.vocabulary import positions
from mtlbench.ingest.encode import ScratchColumns
from mtlbench.ingest.parse import Chunk, line_numbers
from mtlbench.ingest.protocol import KEY
from mtlbench.ingest.rejects import RejectLog

NOWHERE = -1
"""Pointer of a row whose key is not in its table; such a row is rejected."""

AT_ONCE = 1 << 22
"""Number of pointers that are counted at once."""


def table_keys(name: str, chunks: Sequence[Chunk], rejects: RejectLog) -> pa.Array:
    """The keys of a dimension table's rows, of all parts, in row order.

    If several rows of a part have the same key, all but the first are rejected.
    """
    if not chunks:
        raise ValueError(f"dimension table '{name}' has no rows")
    keys = pa.concat_arrays([batch[KEY] for chunk in chunks for batch in chunk.read()])
    for part in ("train", "valid", "test", "all"):
        part_chunks = [chunk for chunk in chunks if chunk.part == part]
        if part_chunks:
            _refuse_duplicates(_part(keys, part_chunks), part_chunks, rejects)
    return keys


def point(
    name: str,
    keys: pa.Array,
    table: Sequence[Chunk],
    rows: Sequence[Chunk],
    scratch: ScratchColumns,
    rejects: RejectLog,
) -> None:
    """Write int32 ``pointer:<name>``: the table row of each labelled row, or `NOWHERE`.

    Args:
        name: name of the dimension table.
        keys: keys of its rows, of all parts.
        table: chunks of the table.
        rows: chunks of the labelled rows; the key of a row is looked up in the table rows of its own part.
        scratch: receives the pointers.
        rejects: receives every row without a table row.
    """
    finders: dict[str, Callable[[pa.Array], np.ndarray]] = {}
    for part in dict.fromkeys(chunk.part for chunk in rows):
        part_chunks = [chunk for chunk in table if chunk.part in (part, "all")]
        finders[part] = _finder(_part(keys, part_chunks), part_chunks[0].first_row if part_chunks else 0)
    for chunk in rows:
        for batch in chunk.read():
            row_keys = batch[f"{KEY}:{name}"]
            # Rows with the same key are often adjacent, so only distinct keys, which are far fewer, are looked up.
            runs = row_keys.dictionary_encode()
            pointer = finders[chunk.part](runs.dictionary)[runs.indices.to_numpy()]
            strangers = chunk.first_line + line_numbers(batch)[pointer == NOWHERE]
            rejects.add_lines(chunk.source, strangers.tolist(), f"its key is not in table '{name}'")
            scratch.write(POINTER + name, pointer)


def pointing(pointers: Iterable[np.ndarray], rows: int) -> np.ndarray:
    """Mask of rows with a row in every dimension table, bool ``[rows]``."""
    found = np.ones(rows, bool)
    for pointer in pointers:
        found &= pointer != NOWHERE
    return found


def uses(pointer: np.ndarray, some: np.ndarray, rows: int) -> np.ndarray:
    """For each row of a dimension table, the number of selected rows (a mask) that point at it, int32 ``[rows]``."""
    counts = np.zeros(rows, np.int64)
    for start in range(0, len(pointer), AT_ONCE):
        here = slice(start, start + AT_ONCE)
        counts += np.bincount(pointer[here][some[here]], minlength=rows)
    return counts.astype(np.int32)


def _finder(known: pa.Array, first: int) -> Callable[[pa.Array], np.ndarray]:
    """A function that maps keys to ``first`` plus their first position in ``known``, int32, or to `NOWHERE`."""

    def position(found: np.ndarray, there: np.ndarray) -> np.ndarray:
        return np.where(there, found + first, NOWHERE).astype(np.int32)

    if len(known) and pa.types.is_integer(known.type):
        ordered, first_at = np.unique(known.to_numpy(), return_index=True)

        def find_integers(wanted: pa.Array) -> np.ndarray:
            values = wanted.cast(known.type).to_numpy()
            at = np.minimum(np.searchsorted(ordered, values), len(ordered) - 1)
            return position(first_at[at], ordered[at] == values)

        return find_integers

    def find(wanted: pa.Array) -> np.ndarray:
        found = positions(wanted.cast(known.type), known)
        return position(found, found >= 0)

    return find


def _part(keys: pa.Array, chunks: Sequence[Chunk]) -> pa.Array:
    return keys.slice(chunks[0].first_row, sum(chunk.rows for chunk in chunks)) if chunks else keys.slice(0, 0)


def _refuse_duplicates(keys: pa.Array, chunks: Sequence[Chunk], rejects: RejectLog) -> None:
    repeated = positions(keys, keys) != np.arange(len(keys))
    start = chunks[0].first_row
    for chunk in chunks:
        lines = np.concatenate([line_numbers(batch) for batch in chunk.read()])
        again = repeated[chunk.first_row - start : chunk.first_row - start + chunk.rows]
        rejects.add_lines(chunk.source, (chunk.first_line + lines[again]).tolist(), "an earlier line has the same key")
