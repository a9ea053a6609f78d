"""Any folder of Parquet, CSV or TSV files with a YAML file that describes it: your own data, as pandas, Spark, Ray Data
or DuckDB write them. Source, citation and terms are those of the data's authors.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, Literal
from urllib.parse import unquote

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from mtlbench.data import bags
from mtlbench.data.layout import SPLITS
from mtlbench.datasets.parquet import delimited
from mtlbench.datasets.parquet.columns import NUMBERED, ParquetColumn, Problems, family
from mtlbench.datasets.parquet.description import Description, described, reference
from mtlbench.ingest.csv import HEADER
from mtlbench.ingest.protocol import (
    KEY,
    LINE,
    ROW_KEY,
    ROWS,
    SAMPLE_WEIGHT,
    WEIGHT_SUFFIX,
    Block,
    RawError,
    RawFile,
    Rejected,
    Shard,
)
from mtlbench.schema import Field, Task

BATCH_ROWS = 1 << 14
BUFFER_BYTES = 1 << 20
"""Bytes of a column to read at a time; otherwise a whole row group of every column would be in memory."""
LONGEST_QUOTE = 2000
"""Characters of a rejected row that are kept."""
UNREADABLE = (pa.ArrowException, OSError, UnicodeDecodeError)
"""Errors that Arrow raises for a damaged file."""
LISTS_WITH_NULL = "Expected all lists to be of size"
"""Arrow's message for a column of fixed-size lists with null."""
NO_VALUE = "__HIVE_DEFAULT_PARTITION__"
"""Name that Spark, Hive and DuckDB give to the folder of rows without a value."""


@dataclass(frozen=True, kw_only=True)
class ParquetFolder:
    """Rows and dimension tables in Parquet files, any number per part, row groups read one batch at a time.

    Files whose names end in ``.csv`` or ``.tsv``, also with ``.gz``, are read as text with a header; empty cells are
    null. The first block of each (1 MiB) decides whether ids are whole numbers or text, unless the field has
    ``ids: text``. A list is a cell with the field's ``separator`` between its entries.

    `in_folder` lists the `files` of a folder; before that there are none. Files and folders whose names begin with
    ``_`` or ``.`` are not data, as in Spark. A column that a file lacks is read from the names of its folders
    (``day=1/part-0.parquet``); texts that are all whole numbers, or all dates, are read as such; an id that does not
    read back as it was written (``01``) stays text.

    Null is a missing value of an id or a number, and an empty list. A label that is null or NaN is missing: the row
    does not count in the loss and the metrics of that task. Rows are rejected, each with its file, number and
    content, where a label is neither 0 nor 1 (of a regression task: not finite), a number is NaN or infinite, the
    entries of a list of numbers are not as many as the field's width, ids and their weights differ in number, an entry
    of a list of ids is null, a weight (of an id, or ``sample_weight``) is negative or not finite, or a key or
    ``group``, ``source`` or ``time`` is null. A row is also rejected if an earlier row of the same part has its
    ``key``.

    Attributes:
        description: content of the YAML file; see `mtlbench.datasets.parquet.description`.
        files: of the folder, set by `in_folder`.
        texts: vocabularies whose values are text; all others are whole numbers.
    """

    description: Mapping[str, Any] | None = None
    files: tuple[RawFile, ...] = ()
    texts: tuple[str, ...] = ()

    name = "parquet"
    version = 2
    where = "dataset.raw names the folder, dataset.schema the YAML file that describes its files"

    schema_keys = staticmethod(reference)
    """All keys of a schema, as text."""

    @property
    def tasks(self) -> tuple[Task, ...]:
        return self._described.labels

    @property
    def fields(self) -> tuple[Field, ...]:
        return tuple(entry.field for entry in self._described.fields)

    def in_folder(self, folder: Path) -> "ParquetFolder":
        """The same, with the files of a folder, after checking that they have the columns, of accepted types.

        Raises:
            RawError: no file matches a pattern, one matches two, a file is damaged, a column is missing or of a type
                that cannot be used.
        """
        if not folder.is_dir():
            raise RawError(f"data set 'parquet': there is no folder {folder}. {self.where}")
        rows = self._described.rows
        files: list[RawFile] = []
        for part in SPLITS:
            if (pattern := getattr(rows, part)) is not None:
                files += _matching(folder, f"rows.{part}", pattern, ROWS, part)
        for name, table in self._described.tables.items():
            files += _matching(folder, f"tables.{name}.files", table.files, name, "all")
        if twice := [name for name, count in Counter(file.name for file in files).items() if count > 1]:
            raise RawError(f"dataset.schema: {twice[0]} matches the patterns of two parts or tables in {folder}")
        found = replace(self, files=tuple(files))
        return replace(found, texts=found._texts(folder))

    def read(self, shard: Shard) -> Iterator[Block]:
        """The rows of a file in blocks; see `mtlbench.ingest.protocol.Block`. A line is a row, counted from 0.

        Raises:
            RawError: the file is damaged.
        """
        columns = self._columns(shard.file.table)
        named = self._folder_values(shard.file)
        sources = {column.source for column in columns}
        if delimited.is_text(shard.path):
            for number, rows in enumerate(delimited.read(shard.path, self._described.delimiter, sorted(sources))):
                batch = _with_columns(rows.columns, named)
                if number == 0:
                    empty = self._block(batch.slice(0, 0), rows.lines[:0], columns)
                    yield replace(empty, lines=1, dropped={HEADER: 1})
                read = self._block(batch, rows.lines, columns)
                rejected = tuple(sorted((*read.rejected, *rows.rejected), key=lambda one: one.line))
                yield replace(read, lines=read.lines + len(rows.rejected), rejected=rejected)
            return
        first = 0
        for batch in _batches(shard.path, sources):
            yield self._block(_with_columns(batch, named), np.arange(first, first + batch.num_rows), columns)
            first += batch.num_rows

    def quote(self, path: Path, lines: Sequence[int]) -> Iterator[bytes]:
        """The content of some rows of a file; their numbers ascend."""
        if delimited.is_text(path):
            yield from delimited.quote(path, lines)
            return
        first, left = 0, list(lines)
        for batch in _batches(path, None):
            while left and left[0] < first + batch.num_rows:
                yield _quoted(batch, left.pop(0) - first)
            if not left:
                return
            first += batch.num_rows

    @cached_property
    def _described(self) -> Description:
        return described(self.description)

    def _columns(self, table: str) -> list[ParquetColumn]:
        """Columns of the blocks of the rows, or of a dimension table."""
        columns: list[ParquetColumn] = []
        for entry in self._described.inputs(table):
            vocabulary = entry.field.vocabulary_name if entry.kind == "id" else None
            columns.append(
                ParquetColumn(
                    name=entry.name,
                    source=entry.source,
                    use=entry.kind,
                    width=entry.width,
                    vocabulary=vocabulary,
                    text=entry.ids is not None,
                    separator=entry.separator,
                )
            )
            if entry.weights is not None:
                weights = ParquetColumn(
                    name=entry.name + WEIGHT_SUFFIX,
                    source=entry.weights,
                    use="weight",
                    width=entry.width,
                    separator=entry.separator,
                )
                columns.append(weights)
        tables = self._described.tables
        if table != ROWS:
            return [
                *columns,
                ParquetColumn(name=KEY, source=tables[table].key, use="key", vocabulary=f"key of {table}"),
            ]
        columns += [
            ParquetColumn(name=task.label, source=task.label, use="label" if task.kind == "binary" else "target")
            for task in self.tasks
        ]
        columns += [ParquetColumn(name=name, source=source, use=name) for name, source in self._described.extras]
        columns += [
            ParquetColumn(name=f"{KEY}:{name}", source=other.pointer, use="key", vocabulary=f"key of {name}")
            for name, other in tables.items()
        ]
        if (weight := self._described.sample_weight) is not None:
            columns.append(ParquetColumn(name=SAMPLE_WEIGHT, source=weight, use="sample weight"))
        columns += [
            ParquetColumn(name=ROW_KEY + source, source=source, use="key", vocabulary=ROW_KEY + source)
            for source in self._described.key_columns
        ]
        return columns

    def _texts(self, folder: Path) -> tuple[str, ...]:
        """The vocabularies that are text; checks that every file has the required columns, of the right types."""
        seen: dict[str, tuple[str, str]] = {}
        for file in self.files:
            kinds = self._types(folder / file.name, file)
            for column in self._columns(file.table):
                where = f"{folder / file.name}: column '{column.source}'"
                if column.source not in kinds:
                    elsewhere = self._elsewhere(folder, file.table, column)
                    raise RawError(f"{where} is missing; there are: {', '.join(kinds)}{elsewhere}")
                kind = kinds[column.source]
                cells = delimited.is_text(file.name)
                if not (column.takes(kind) or (cells and column.parsed)):
                    hint = delimited.NO_LISTS if cells and column.width > 1 else _hint(kind, column)
                    raise RawError(f"{where} is of type {kind}; '{column.name}' must be {column.expected}{hint}")
                found = "text" if column.text else family(kind.value_type if bags.is_list(kind) else kind)
                if column.vocabulary is None or found == "null":
                    continue
                before, there = seen.setdefault(column.vocabulary, (found, where))
                if found != before:
                    hint = ". (Say ids: text of the field where ids are text)" if cells else ""
                    raise RawError(f"{where} holds {found}, and {there} {before}; they must be of one kind{hint}")
        return tuple(sorted(vocabulary for vocabulary, (found, _) in seen.items() if found == "text"))

    def _elsewhere(self, folder: Path, table: str, column: ParquetColumn) -> str:
        """A hint at other tables whose files have the missing column."""
        others = {
            _called(file.table): None
            for file in self.files
            if file.table != table and column.source in self._types(folder / file.name, file)
        }
        if not others:
            return ""
        what = "a field of a table needs table:" if column.use in ("id", "number") else "join it there"
        return f". There is one in {', '.join(others)}, but '{column.name}' is read from {_called(table)}: {what}"

    def _types(self, path: Path, file: RawFile) -> dict[str, pa.DataType]:
        """Types of all columns of a file, including those in the names of its folders."""
        named = {name: value.type for name, value in self._folder_values(file).items()}
        if delimited.is_text(path):
            separators = {
                each.source: each.separator for each in self._columns(file.table) if each.separator is not None
            }
            return named | delimited.types(path, self._described.delimiter, separators)
        try:
            schema = parquet.read_schema(path)
            names = schema.names
        except UNREADABLE as error:
            how = ". A text file's name ends in .csv, .csv.gz, .tsv or .tsv.gz" if ".csv" in path.suffixes else ""
            raise RawError(f"{path} is no Parquet file, or is damaged: {error}{how}") from error
        if twice := [name for name in names if names.count(name) > 1]:
            raise RawError(f"{path}: column '{twice[0]}' occurs twice")
        return named | dict(zip(names, schema.types, strict=True))

    def _folder_values(self, file: RawFile) -> dict[str, pa.Scalar]:
        """Columns in the names of a file's folders, each of the type that fits all files of its table."""
        own = _folders(file.name)
        return {
            name: pa.scalar(text, pa.string()).cast(self._folder_types[file.table, name]) for name, text in own.items()
        }

    @cached_property
    def _folder_types(self) -> dict[tuple[str, str], pa.DataType]:
        tables = dict.fromkeys(file.table for file in self.files)
        numeric = {(table, c.source) for table in tables for c in self._columns(table) if c.use not in ("id", "key")}
        values: dict[tuple[str, str], set[str]] = {}
        for file in self.files:
            for name, text in _folders(file.name).items():
                values.setdefault((file.table, name), set()).update(() if text is None else (text,))
        return {place: _type_of(texts, place in numeric) for place, texts in values.items()}

    def _block(self, batch: pa.RecordBatch, lines: np.ndarray, columns: list[ParquetColumn]) -> Block:
        """Rows of a file, with these line numbers."""
        converted: dict[str, pa.Array] = {}
        problems: Problems = []
        for column in columns:
            values, wrong = column.convert(batch[column.source], column.vocabulary in self.texts)
            converted[column.name] = values
            problems += wrong
        for column in columns:
            if column.use == "weight":
                ids, weights = (converted[name] for name in (column.name.removesuffix(WEIGHT_SUFFIX), column.name))
                unequal = bags.lengths(ids) != bags.lengths(weights)
                problems.append((unequal, f"column '{column.source}' does not have as many entries as there are ids"))
        reasons: dict[int, str] = {}
        for wrong, reason in problems:
            for row in np.flatnonzero(wrong).tolist():
                reasons.setdefault(row, reason)
        good = np.ones(batch.num_rows, bool)
        good[list(reasons)] = False
        whole = pa.RecordBatch.from_pydict({LINE: pa.array(lines, pa.int64()), **converted})
        rejected = tuple(
            Rejected(line=int(lines[row]), reason=reasons[row], text=_quoted(batch, row)) for row in sorted(reasons)
        )
        return Block(
            columns=whole.filter(pa.array(good)) if rejected else whole, lines=batch.num_rows, rejected=rejected
        )


def _matching(
    folder: Path, key: str, pattern: str, table: str, part: Literal["train", "valid", "test", "all"]
) -> list[RawFile]:
    """Files below a folder that match a pattern, in the order of their paths, without hidden ones."""
    if PurePosixPath(pattern).is_absolute():
        raise RawError(f"dataset.schema: {key} is {pattern!r}, an absolute path; write it relative to {folder}")
    try:
        paths = [path.relative_to(folder) for path in folder.glob(pattern) if path.is_file()]
    except ValueError as error:  # pathlib: an empty pattern
        raise RawError(f"dataset.schema: {key} is {pattern!r}: {error}") from error
    names = sorted(path.as_posix() for path in paths if not any(part.startswith(("_", ".")) for part in path.parts))
    if not names:
        raise RawError(f"dataset.schema: {key} is {pattern!r}, which no file in {folder} matches")
    return [RawFile(name=name, table=table, part=part, splittable=False) for name in names]


def _with_columns(batch: pa.RecordBatch, named: Mapping[str, pa.Scalar]) -> pa.RecordBatch:
    """A batch with the columns in the names of its file's folders, unless it has such columns itself."""
    for name, value in named.items():
        if name not in batch.schema.names:
            batch = batch.append_column(name, pa.repeat(value, batch.num_rows))
    return batch


def _called(table: str) -> str:
    return "the rows" if table == ROWS else f"table '{table}'"


def _folders(name: str) -> dict[str, str | None]:
    """``{"day": "1"}`` of ``train/day=1/part-0.parquet``."""
    pairs = [part.partition("=") for part in PurePosixPath(name).parts[:-1] if "=" in part]
    return {unquote(key): None if value == NO_VALUE else unquote(value) for key, _, value in pairs}


def _type_of(texts: set[str], numeric: bool) -> pa.DataType:
    """The type of values that were written as text.

    Args:
        texts: distinct values.
        numeric: whether they are used as numbers or times. These may have leading zeros (``month=01``) as long as no
            two texts are the same number. Others are numbers only if they read back as they were written.
    """
    whole = r"-?[0-9]+" if numeric and len({text.lstrip("0") for text in texts}) == len(texts) else r"0|-?[1-9][0-9]*"
    for pattern, kind in ((whole, pa.int64()), (r"[0-9]{4}-[0-9]{2}-[0-9]{2}", pa.date32())):
        if texts and all(re.fullmatch(pattern, text, re.ASCII) for text in texts):
            with suppress(pa.ArrowInvalid):  # the number is too large, or there is no such day
                pa.array(texts).cast(kind)
                return kind
    return pa.string()


def _batches(path: Path, names: set[str] | None) -> Iterator[pa.RecordBatch]:
    """All rows of a file, some columns (those that it has) or all, `BATCH_ROWS` at a time."""
    try:
        with parquet.ParquetFile(path, buffer_size=BUFFER_BYTES, pre_buffer=False) as file:
            own = None if names is None else [name for name in file.schema_arrow.names if name in names]
            yield from file.iter_batches(BATCH_ROWS, columns=own, use_threads=False)
    except UNREADABLE as error:
        if lists := _fixed_size_lists(path, names) if LISTS_WITH_NULL in str(error) else []:
            raise RawError(
                f"{path}: column '{lists[0]}' holds lists of a fixed size and null among them, which Arrow writes but "
                "cannot read (github.com/apache/arrow/issues/35692). Write the column as lists of any size "
                "(pyarrow: cast it to pa.list_(...); polars: Expr.arr.to_list()), or without null"
            ) from error
        raise RawError(f"{path} cannot be read, most likely because it is damaged: {error}") from error


def _fixed_size_lists(path: Path, names: set[str] | None) -> list[str]:
    """Columns of lists of a fixed size among those that are read."""
    schema = parquet.read_schema(path)
    return [f.name for f in schema if pa.types.is_fixed_size_list(f.type) and (names is None or f.name in names)]


def _quoted(batch: pa.RecordBatch, row: int) -> bytes:
    """A row as JSON."""
    values = {name: _shown(column[row]) for name, column in zip(batch.schema.names, batch.columns, strict=True)}
    return json.dumps(values, default=str)[:LONGEST_QUOTE].encode()


def _shown(value: pa.Scalar) -> object:
    try:
        return value.as_py()
    except UnicodeDecodeError:
        return "(not UTF-8 text)"


def _hint(kind: pa.DataType, column: ParquetColumn) -> str:
    """What to do about types that often cause surprise."""
    if family(kind) == "text" and column.use in ("group", "source"):
        return f". ({NUMBERED.format(column.source)})"
    if bags.is_list(kind):
        return ". (A field of several values has a width above 1)"
    if pa.types.is_floating(kind):
        return ". (pandas makes decimal numbers of whole ones where some are missing: use its type Int64)"
    if pa.types.is_timestamp(kind):
        return ". (Round it to days, hours or another window, as a whole number or a date)"
    return ""
