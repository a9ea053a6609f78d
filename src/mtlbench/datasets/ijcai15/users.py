"""Reads user_info_format1.csv into memory: one line per user, for 130 lines of the log."""

from collections.abc import Callable
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa

from mtlbench.datasets.ijcai15.layout import USER_COLUMNS, Integers
from mtlbench.ingest.csv import HEADER, read_table
from mtlbench.ingest.protocol import KEY, LINE, RawFile, Shard


def read_users(
    path: Path, file: RawFile, refuse: Callable[[Path, int, str, bytes], None]
) -> tuple[pa.RecordBatch, int]:
    """Read the file and reject what cannot be used, including further lines of a user.

    Returns:
        `KEY`, ``user_id``, ``age_range`` and ``gender`` of all users, by `KEY`; and how many lines there are, without
        the header.

    Raises:
        RawError: the header does not name these columns.
    """
    shard = Shard(path=path, file=file, start=0, stop=path.stat().st_size)
    blocks = list(read_table(shard, USER_COLUMNS))
    table = pa.Table.from_batches([block.columns for block in blocks]).combine_chunks()
    bad = {rejected.line: (rejected.reason, rejected.text) for block in blocks for rejected in block.rejected}
    _, first = np.unique(table["user_id"].to_numpy(), return_index=True)
    again = np.delete(table[LINE].to_numpy(), first)
    bad |= {line: ("its user_id is in an earlier line", text) for line, text in texts(shard, again).items()}
    for line in sorted(bad):
        refuse(path, line, *bad[line])
    users = table.take(pa.array(first))
    columns = {KEY: users["user_id"]} | {column.name: users[column.name] for column in USER_COLUMNS}
    batch = pa.RecordBatch.from_pydict({name: column.combine_chunks() for name, column in columns.items()})
    return batch, sum(block.lines - block.dropped.get(HEADER, 0) for block in blocks)


def texts(shard: Shard, lines: Integers) -> dict[int, bytes]:
    """The content of some lines of a shard."""
    wanted = set(lines.tolist())
    with shard.path.open("rb") as file:
        file.seek(shard.start)
        counted = enumerate(islice(file, max(wanted, default=-1) + 1))
        return {number: line.rstrip(b"\n") for number, line in counted if number in wanted}
