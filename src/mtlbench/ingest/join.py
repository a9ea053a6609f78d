"""Foreign keys to row numbers: the dimension-table row of each labelled row."""

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
"""Pointer of a row whose key is not in its table; such a row is refused."""

AT_ONCE = 1 << 22
"""Pointers counted at once."""


def table_keys(name: str, chunks: Sequence[Chunk], rejects: RejectLog) -> pa.Array:
    """The keys of a dimension table's rows, all parts together, in row order.

    Of several rows with one key in the same part, all but the first are refused: nothing points at them.
    """
    if not chunks:
        raise ValueError(f"dimension table '{name}' has no rows")
    keys = pa.concat_arrays([batch[KEY] for chunk in chunks for batch in chunk.read()])
    for part in ("train", "valid", "test", "all"):
        own = [chunk for chunk in chunks if chunk.part == part]
        if own:
            _refuse_duplicates(_part(keys, own), own, rejects)
    return keys


def point(
    name: str,
    keys: pa.Array,
    table: Sequence[Chunk],
    rows: Sequence[Chunk],
    scratch: ScratchColumns,
    rejects: RejectLog,
) -> None:
    """Write int32 ``pointer:<name>``, for each row the number of its table row, `NOWHERE` if there is none.

    Args:
        name: of the dimension table.
        keys: of its rows, all parts.
        table: its chunks.
        rows: chunks of the labelled rows; a row looks for its key in the table rows of its own part.
        scratch: where the pointers go.
        rejects: receives every row without a table row.
    """
    finders: dict[str, Callable[[pa.Array], np.ndarray]] = {}
    for part in dict.fromkeys(chunk.part for chunk in rows):
        own = [chunk for chunk in table if chunk.part in (part, "all")]
        finders[part] = _finder(_part(keys, own), own[0].first_row if own else 0)
    for chunk in rows:
        for batch in chunk.read():
            wanted = batch[f"{KEY}:{name}"]
            # Rows of one key often stand together, so each key is looked up once: the distinct ones are far fewer.
            runs = wanted.dictionary_encode()
            pointer = finders[chunk.part](runs.dictionary)[runs.indices.to_numpy()]
            strangers = chunk.first_line + line_numbers(batch)[pointer == NOWHERE]
            rejects.add_lines(chunk.source, strangers.tolist(), f"its key is not in table '{name}'")
            scratch.write(POINTER + name, pointer)


def pointing(pointers: Iterable[np.ndarray], rows: int) -> np.ndarray:
    """Rows that point at a row of every dimension table, bool ``[rows]``."""
    found = np.ones(rows, bool)
    for pointer in pointers:
        found &= pointer != NOWHERE
    return found


def uses(pointer: np.ndarray, some: np.ndarray, rows: int) -> np.ndarray:
    """How many of some rows (bool) point at each row of a dimension table: int32 ``[rows]``."""
    counts = np.zeros(rows, np.int64)
    for start in range(0, len(pointer), AT_ONCE):
        here = slice(start, start + AT_ONCE)
        counts += np.bincount(pointer[here][some[here]], minlength=rows)
    return counts.astype(np.int32)


def _finder(known: pa.Array, first: int) -> Callable[[pa.Array], np.ndarray]:
    """A function that gives for each key ``first`` plus its (first) position in ``known``, int32; else `NOWHERE`."""

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
        rejects.add_lines(chunk.source, (chunk.first_line + lines[again]).tolist(), "its key stands in an earlier line")
