"""Strict CSV reader: columns by name, from a header or given, parsed by their cell types.

A file contains printable ASCII, newlines and no quotes, so that splitting a line into cells is unambiguous. If quotes
are allowed, they enclose whole cells, which may then contain commas. `_one_by_one` defines what is accepted; `_at_once`
reads the same with Arrow if every line is valid.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import csv

from mtlbench.ingest.cells import CellType
from mtlbench.ingest.lines import (
    CUT_OFF,
    LONGEST_LINE,
    BadLineError,
    conversion_problem,
    read_blocks,
    read_one_by_one,
    shown,
)
from mtlbench.ingest.protocol import LINE, Block, RawError, Shard

HEADER = "header"
"""Name of the count of header lines, which are dropped."""

ALLOWED_BYTES = bytes(range(0x20, 0x7F)) + b"\n"
"""Allowed bytes; a line with any other byte is rejected."""

QUOTED = re.compile(rb'(?<![^,\n])"[^"\n]*"(?![^,\n])')
"""A quoted cell."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CsvColumn:
    """A column to read.

    Attributes:
        name: name in the record batch.
        source: name in the file.
        cell: type of its cells.
    """

    name: str
    source: str
    cell: CellType


def read_table(
    shard: Shard, columns: Sequence[CsvColumn], names: Sequence[str] | None = None, *, quotes: bool = False
) -> Iterator[Block]:
    """The lines of a shard in blocks, see `mtlbench.ingest.protocol.Block`; the header counts as dropped (`HEADER`).

    Args:
        shard: shard of a comma-separated file.
        columns: the columns to read.
        names: names of all columns, in order, for a file without a header; ``None`` if it has one.
        quotes: whether cells may be quoted, as cells with commas must be.

    Raises:
        RawError: the file has no header, or the header lacks a column or has it twice.
    """
    names, length = _header(shard.path, columns) if names is None else (list(names), 0)
    headed = shard.start == 0 and length > 0
    if headed:
        yield Block(columns=_batch([], [], columns), lines=1, dropped={HEADER: 1})
        shard = replace(shard, start=length)
    yield from read_blocks(
        shard,
        partial(_at_once, names=names, columns=columns, offset=int(headed), quotes=quotes),
        partial(_one_by_one, names=names, columns=columns, offset=int(headed), quotes=quotes),
    )


def _header(path: Path, columns: Sequence[CsvColumn]) -> tuple[list[str], int]:
    """Names of the file's columns, and the size of the header in bytes."""
    with path.open("rb") as file:
        line = file.readline(LONGEST_LINE)
    if (problem := _foreign(line[:-1], quotes=False)) or not line.endswith(b"\n"):
        raise RawError(f"{path}, line 1: the header cannot be read: {problem or 'it does not end with a newline'}")
    names = line[:-1].decode("ascii").split(",")
    required = list(dict.fromkeys(column.source for column in columns))
    if wrong := [name for name in required if names.count(name) != 1]:
        raise RawError(
            f"{path}, line 1: the header must name every column to read exactly once; violated by: {', '.join(wrong)}. "
            f"It names {', '.join(names)[:500]}"
        )
    return names, len(line)


def _at_once(
    text: bytes, first: int, *, names: list[str], columns: Sequence[CsvColumn], offset: int, quotes: bool
) -> Block | None:
    if not text.endswith(b"\n") or text.translate(None, ALLOWED_BYTES) or not _well_quoted(text, quotes):
        return None
    sources = list(dict.fromkeys(column.source for column in columns))
    try:
        table = csv.read_csv(
            pa.BufferReader(text),
            csv.ReadOptions(
                use_threads=False, block_size=len(text) + 1, column_names=[str(n) for n in range(len(names))]
            ),
            csv.ParseOptions(quote_char='"' if quotes else False, double_quote=False),
            csv.ConvertOptions(
                column_types={str(names.index(source)): pa.string() for source in sources},
                include_columns=[str(names.index(source)) for source in sources],
                check_utf8=False,
            ),
        )
    except pa.ArrowInvalid:  # a line has more or fewer columns
        return None
    if table.num_rows != text.count(b"\n"):  # Arrow ignores empty lines
        return None
    texts = {source: table.column(position).combine_chunks() for position, source in enumerate(sources)}
    read: dict[tuple[str, CellType], pa.Array] = {}
    for column in columns:
        if (column.source, column.cell) not in read:
            values = column.cell.read_all(texts[column.source])
            if values is None:
                return None
            read[column.source, column.cell] = values
    numbers = pa.array(np.arange(first + offset, first + offset + table.num_rows))
    batch = {LINE: numbers} | {column.name: read[column.source, column.cell] for column in columns}
    return Block(columns=pa.RecordBatch.from_pydict(batch, schema=_schema(columns)), lines=table.num_rows)


def _one_by_one(
    text: bytes, first: int, *, names: list[str], columns: Sequence[CsvColumn], offset: int, quotes: bool
) -> Block:
    def read(line: bytes, ended: bool) -> list[object]:
        if not ended:
            raise BadLineError(CUT_OFF)
        if problem := _foreign(line, quotes=quotes):
            raise BadLineError(problem)
        cells = _cells(line, quotes)
        if len(cells) != len(names):
            raise BadLineError(f"{len(cells)} comma-separated columns; there must be {len(names)}")
        return [_value(cells[names.index(column.source)], column) for column in columns]

    rows, numbers, rejected = read_one_by_one(text, first + offset, read)
    return Block(columns=_batch(rows, numbers, columns), lines=len(rows) + len(rejected), rejected=rejected)


def _cells(line: bytes, quotes: bool) -> list[str]:
    """The cells of a valid line, without enclosing quotes."""
    if not quotes:
        return line.decode("ascii").split(",")
    held = "\0"  # replaces commas inside cells; occurs in no line
    unquoted = QUOTED.sub(lambda cell: cell[0][1:-1].replace(b",", held.encode()), line)
    return [cell.replace(held, ",") for cell in unquoted.decode("ascii").split(",")]


def _value(text: str, column: CsvColumn) -> object:
    try:
        return column.cell.read(text)
    except ValueError:
        raise BadLineError(f"{column.source} is {shown(text)}; expected {column.cell.expected}") from None


def _foreign(line: bytes, *, quotes: bool) -> str | None:
    """The problem with the bytes of a line, or ``None``."""
    if not (foreign := line.translate(None, ALLOWED_BYTES)):
        if _well_quoted(line, quotes):
            return None
        return "a quote that is not the first or the last character of a cell" if quotes else _byte(line, b'"')
    return conversion_problem(line) or _byte(line, foreign[:1])


def _byte(line: bytes, strange: bytes) -> str:
    return f"byte {line.index(strange) + 1} is {strange!r}; lines are printable ASCII without quotes"


def _well_quoted(text: bytes, quotes: bool) -> bool:
    """Whether quotes are valid: enclosing whole cells, or, if not allowed, absent."""
    return b'"' not in (QUOTED.sub(b"", text) if quotes else text)


def _batch(rows: list[list[object]], numbers: list[int], columns: Sequence[CsvColumn]) -> pa.RecordBatch:
    arrays = [pa.array([row[at] for row in rows], column.cell.type) for at, column in enumerate(columns)]
    return pa.RecordBatch.from_arrays([pa.array(numbers, pa.int64()), *arrays], schema=_schema(columns))


def _schema(columns: Sequence[CsvColumn]) -> pa.Schema:
    return pa.schema([(LINE, pa.int64()), *((column.name, column.cell.type) for column in columns)])
