"""Row keys: unique columns that identify a row in the user's own table, stored beside the rows of a store."""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mtlbench.data.layout import ROWS
from mtlbench.data.store import SPLITS, key_path
from mtlbench.ingest.parse import Chunk, Spill, line_numbers
from mtlbench.ingest.protocol import ROW_KEY
from mtlbench.ingest.rejects import RejectLog


def key_names(spill: Spill) -> list[str]:
    """The columns of the row key, by their names in the raw files; empty if the data set has no key."""
    return [name.removeprefix(ROW_KEY) for name in spill.column_names(ROWS) if name.startswith(ROW_KEY)]


def refuse_repeated_keys(spill: Spill, rejects: RejectLog, kept: np.ndarray) -> np.ndarray:
    """Reject every row whose key occurs in an earlier row of the same part (``train``, ``valid``, ``test``).

    Takes 8 bytes per row: keys are compared only if their hashes are equal.

    Args:
        spill: the parsed rows.
        rejects: receives every rejected row.
        kept: mask of rows that have not been rejected before, bool ``[R]``.

    Returns:
        Mask of the rows that are still kept, bool ``[R]``.

    Raises:
        RawError: a row is rejected under ``on_error=fail``.
    """
    if not (names := key_names(spill)):
        return kept
    reason = (
        f"its key ({', '.join(names)}) occurs in an earlier line of these files, but keys must be unique: add "
        "columns to the key in the schema (key: [a, b]), or remove key from it"
    )
    kept = kept.copy()
    for part in dict.fromkeys(chunk.part for chunk in spill.chunks[ROWS]):
        chunks = [chunk for chunk in spill.chunks[ROWS] if chunk.part == part]
        seen: set[tuple[object, ...]] = set()
        for chunk, suspects in zip(chunks, _alike(chunks, names, kept), strict=True):
            again = np.zeros(chunk.rows, bool)
            for row, entry in zip(suspects, _keys(chunk, names).take(pa.array(suspects)).to_pylist(), strict=True):
                key = tuple(entry.values())
                again[row] = key in seen
                seen.add(key)
            if again.any():
                lines = np.concatenate([line_numbers(batch) for batch in chunk.read()])[again]
                rejects.add_lines(chunk.source, (chunk.first_line + lines).tolist(), reason)
                kept[chunk.first_row : chunk.first_row + chunk.rows] &= ~again
    return kept


def write_row_keys(spill: Spill, assigned: np.ndarray, store: Path) -> None:
    """Write the keys of each split's rows, in order; does nothing if the data set has no key.

    Args:
        spill: the parsed rows.
        assigned: the split of every row, int8 ``[R]``.
        store: folder of the store.
    """
    if not (names := key_names(spill)):
        return
    with ExitStack() as stack:
        writers: dict[str, pq.ParquetWriter] = {}
        for chunk in spill.chunks[ROWS]:
            keys, splits = _keys(chunk, names), assigned[chunk.first_row : chunk.first_row + chunk.rows]
            for number, split in enumerate(SPLITS):
                if split not in writers:
                    path = key_path(store, split)
                    path.parent.mkdir(exist_ok=True)
                    writers[split] = stack.enter_context(pq.ParquetWriter(path, keys.schema, compression="zstd"))
                if (here := splits == number).any():
                    writers[split].write_table(keys.filter(pa.array(here)))


def _keys(chunk: Chunk, names: Sequence[str]) -> pa.Table:
    """The keys of a chunk's rows."""
    table = pa.Table.from_batches(list(chunk.read())).select([ROW_KEY + name for name in names])
    return table.rename_columns(list(names))


def _alike(chunks: Sequence[Chunk], names: Sequence[str], kept: np.ndarray) -> list[np.ndarray]:
    """By chunk: the kept rows whose key hash occurs more than once, numbered within the chunk."""
    kept_rows = [np.flatnonzero(kept[chunk.first_row : chunk.first_row + chunk.rows]) for chunk in chunks]
    parts = [_hashes(_keys(chunk, names))[rows] for chunk, rows in zip(chunks, kept_rows, strict=True)]
    ordered = np.sort(np.concatenate(parts))
    twice = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
    # kind="sort": for a wide range of integers numpy would try a table, which fails on uint64 before 2.1.
    return [rows[np.isin(part, twice, kind="sort")] for part, rows in zip(parts, kept_rows, strict=True)]


def _hashes(keys: pa.Table) -> np.ndarray:
    """A hash of every row, uint64."""
    from pandas.util import hash_pandas_object  # takes 0.3 s to import, only needed with keys

    hashes = hash_pandas_object(keys.to_pandas(), index=False, categorize=False)  # pyright: ignore[reportCallIssue]  no stub
    return hashes.to_numpy()
