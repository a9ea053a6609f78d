"""CSV and TSV files, plain or gzip, as the same columns that a Parquet file would have.

Cells are read as text, and parsed according to the use of their column; the first block of a file decides whether ids
are whole numbers or text, so that a file is read once. A cell may be quoted, but must not contain a newline; an empty
cell without quotes is null. A header names the columns.
"""

import gzip
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from csv import reader
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from mtlbench.ingest.protocol import RawError, Rejected

BLOCK_BYTES = 1 << 20
"""Size of a block of text."""

SUFFIX = re.compile(r"\.(csv|tsv)(\.gz)?$", re.IGNORECASE)

WHOLE = r"0|-?[1-9][0-9]*"
"""Whole numbers that read back as they were written; others (``007``) are text."""
DECIMAL = r"-?(0|[1-9][0-9]*)\.[0-9]*"
TRUTHS = {"true": "1", "false": "0", "True": "1", "False": "0", "TRUE": "1", "FALSE": "0"}
"""Booleans as pandas, R and databases write them."""

NO_LISTS = ". (For a list in a cell of a CSV or TSV file, set what is between its entries: separator: '|' of the field)"


@dataclass(frozen=True, slots=True)
class TextRows:
    """Some consecutive lines of a file.

    Attributes:
        columns: text, a row for every line that has as many cells as the header.
        lines: numbers of these lines, from 0, counting the header: int64 ``[rows]``.
        rejected: the other lines.
    """

    columns: pa.RecordBatch
    lines: np.ndarray
    rejected: tuple[Rejected, ...]


def is_text(path: str | Path) -> bool:
    """Whether a file is CSV or TSV by its name."""
    return SUFFIX.search(str(path)) is not None


def read(path: Path, delimiter: str | None, names: Sequence[str]) -> Iterator[TextRows]:
    """The lines below the header.

    Args:
        path: of the file.
        delimiter: between cells; ``None``: a comma, or a tab where the name says TSV.
        names: columns to read, if the file has them.

    Raises:
        RawError: it cannot be read as such a file, or the header names a column twice.
    """
    broken: dict[int, csv.InvalidRow] = {}

    def skip(row: csv.InvalidRow) -> str:
        broken[row.number - 1] = row
        return "skip"

    opened = _open(path, delimiter, list(dict.fromkeys(names)), skip)
    following = 1
    try:
        for batch in opened:
            stop = following + batch.num_rows
            for line in sorted(broken):  # the parser may be ahead of the batch
                stop += line <= stop
            yield _rows(batch, following, stop, broken)
            following = stop
    except (pa.ArrowInvalid, OSError, EOFError) as error:
        raise RawError(f"{path}, after line {following}: it cannot be read further: {error}") from error
    if broken:
        yield _rows(pa.RecordBatch.from_pylist([], opened.schema), following, following + len(broken), broken)


def _rows(batch: pa.RecordBatch, first: int, stop: int, broken: dict[int, csv.InvalidRow]) -> TextRows:
    """A batch without its broken lines."""
    gone = {line: broken.pop(line) for line in sorted(broken) if line < stop}
    rejected = tuple(
        Rejected(
            line=line,
            reason=f"{row.actual_columns} cells; the header names {row.expected_columns}",
            text=row.text.encode(errors="surrogateescape"),
        )
        for line, row in gone.items()
    )
    lines = np.arange(first, stop)
    lines = lines[~np.isin(lines, list(gone))]
    empty = np.logical_and.reduce([column.is_null().to_numpy(zero_copy_only=False) for column in batch.columns])
    rejected += tuple(Rejected(line=int(n), reason="no cell that is read has a value", text=b"") for n in lines[empty])
    return TextRows(batch.filter(pa.array(~empty)), lines[~empty], rejected)


def types(path: Path, delimiter: str | None, separators: Mapping[str, str]) -> dict[str, pa.DataType]:
    """The type of every column as if it held ids, inferred from the first block.

    Args:
        path: of the file.
        delimiter: see `read`.
        separators: by column, what is between the entries of its lists.

    Raises:
        RawError: see `read`; or the header names a column twice.
    """
    opened = _open(path, delimiter, [], lambda _: "skip")
    names = opened.schema.names
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise RawError(f"{path}, line 1: the header names column '{twice}' twice")
    first = next(iter(opened), None)
    if first is None:
        return dict.fromkeys(names, pa.null())
    return {
        name: pa.list_(_type(split(cells, separators[name]).flatten())) if name in separators else _type(cells)
        for name, cells in zip(names, first.columns, strict=True)
    }


def split(cells: pa.Array, separator: str) -> pa.Array:
    """Cells as lists of text: an empty cell is an empty list, and an empty entry null."""
    parts = pc.call_function("split_pattern", [_without_empty(cells)], pc.SplitPatternOptions(separator))
    lengths = parts.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)
    ends = np.concatenate(([0], np.cumsum(lengths))).astype(np.int32)
    return pa.ListArray.from_arrays(ends, _without_empty(parts.flatten()))


def _without_empty(texts: pa.Array) -> pa.Array:
    empty = pc.call_function("equal", [texts, pa.scalar("")])
    return pc.call_function("if_else", [empty, pa.scalar(None, pa.string()), texts])


def parse(values: pa.Array, kind: pa.DataType) -> tuple[pa.Array, np.ndarray]:
    """Text as numbers of a type; also which cells are not numbers. These are null in the result."""
    values = _plain(values)
    try:
        return values.cast(kind), np.zeros(len(values), bool)
    except pa.ArrowInvalid:
        texts = _strings(values)
        wrong = np.array([text is not None and not _fits(text, kind) for text in texts], bool)
        kept = [None if bad else text for text, bad in zip(texts, wrong, strict=True)]
        return pa.array(kept, pa.string()).cast(kind), wrong


def parse_integers(values: pa.Array) -> tuple[pa.Array, np.ndarray]:
    """As `parse`, of integers that are written as they would be printed: ``007`` is none."""
    whole, no_number = parse(values, pa.int64())
    same = pc.call_function("equal", [whole.cast(pa.string()), _plain(values)]).fill_null(True)
    return whole, no_number | ~same.to_numpy(zero_copy_only=False)


def parse_whole(values: pa.Array) -> tuple[pa.Array, np.ndarray]:
    """As `parse_integers`, or of dates."""
    with suppress(pa.ArrowInvalid):
        return values.cast(pa.date32()), np.zeros(len(values), bool)
    whole, wrong = parse_integers(values)
    return parse(values, pa.date32()) if wrong.all() else (whole, wrong)


def quote(path: Path, lines: Sequence[int]) -> Iterator[bytes]:
    """Some lines of a file, whose numbers ascend."""
    at = 0
    with gzip.open(path, "rb") if path.suffix.lower() == ".gz" else path.open("rb") as file:
        for line in lines:
            yield next(islice(file, line - at, None), b"").rstrip(b"\r\n")
            at = line + 1


def _open(
    path: Path, delimiter: str | None, names: list[str], skip: Callable[[csv.InvalidRow], str]
) -> csv.CSVStreamingReader:
    kind = SUFFIX.search(path.name)
    assert kind is not None, path
    between = delimiter or {"csv": ",", "tsv": "\t"}[kind[1].lower()]
    try:
        header = next(reader([_first_line(path)], delimiter=between))
        return csv.open_csv(
            pa.input_stream(str(path), compression="gzip" if kind[2] else None),
            csv.ReadOptions(use_threads=False, block_size=BLOCK_BYTES),
            csv.ParseOptions(delimiter=between, ignore_empty_lines=False, invalid_row_handler=skip),
            csv.ConvertOptions(
                column_types=dict.fromkeys(header, pa.string()),
                include_columns=[name for name in names if name in header],
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
                check_utf8=False,
            ),
        )
    except (pa.ArrowInvalid, OSError, EOFError, UnicodeDecodeError, StopIteration) as error:
        raise RawError(f"{path} cannot be read as a file of cells below a header: {error}") from error


def _first_line(path: Path) -> str:
    kind = gzip.open if path.suffix.lower() == ".gz" else open
    with kind(path, "rt", encoding="utf-8-sig") as file:
        return file.readline(BLOCK_BYTES)


def _type(values: pa.Array) -> pa.DataType:
    """Whole numbers (booleans included) if all texts are such, text otherwise; null if there are none.

    Decimal numbers are a separate type, so that they are rejected: most often they are whole numbers of which some were
    missing.
    """
    texts = values.drop_null().unique()
    if not len(texts):
        return pa.null()
    if _all(_plain(texts), WHOLE) and not parse_whole(texts)[1].any():
        return pa.int64()
    return pa.float64() if _all(texts, DECIMAL) else pa.string()


def _all(texts: pa.Array, pattern: str) -> bool:
    options = pc.MatchSubstringOptions(f"^({pattern})$")
    matching = pc.call_function("match_substring_regex", [texts.cast(pa.binary())], options)
    return matching.true_count == len(texts)


def _plain(values: pa.Array) -> pa.Array:
    """Booleans as 0 and 1, other cells as they are."""
    found = pc.call_function("index_in", [values], pc.SetLookupOptions(value_set=pa.array(list(TRUTHS))))
    return pc.call_function("coalesce", [pa.array(list(TRUTHS.values())).take(found), values])


def _strings(values: pa.Array) -> list[str | None]:
    """Cells, of which some may not be UTF-8."""
    return [None if value is None else value.decode(errors="replace") for value in values.cast(pa.binary()).to_pylist()]


def _fits(text: str, kind: pa.DataType) -> bool:
    try:
        pa.scalar(text).cast(kind)
    except pa.ArrowInvalid:
        return False
    return True
