"""Parses raw files: splits them into shards, reads these in parallel, spills columns to disk, collects rejects."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import groupby, pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa

from mtlbench.data import bags
from mtlbench.data.layout import ROWS, SIDE_COLUMNS, table_of
from mtlbench.data.numbers import SAMPLE_WEIGHTS
from mtlbench.ingest.contradictions import Contradictions, contradictory_rows, name_of, reason
from mtlbench.ingest.protocol import (
    KEY,
    LINE,
    ROW_KEY,
    SAMPLE_WEIGHT,
    WEIGHT_SUFFIX,
    Block,
    RawDataset,
    RawFile,
    Rejected,
    Shard,
)
from mtlbench.ingest.rejects import RejectLog
from mtlbench.ingest.workers import Workers
from mtlbench.schema import Field

SHARD_BYTES = 32 << 20
"""Raw bytes per shard: a few seconds of work, and small compared with memory."""

CHUNK_ROWS = 1 << 18
"""Number of rows that are counted or encoded at once."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Consecutive record batches of a spilled shard.

    Attributes:
        path: the spilled file.
        source: its raw file.
        part: the publisher's part of the raw file.
        batches: range of record batches.
        rows: number of rows in these batches.
        first_row: number of the first row within its table (over all parts, in file order).
        first_line: line of the raw file, from 0, at which the spilled shard begins.
    """

    path: Path
    source: Path
    part: str
    batches: range
    rows: int
    first_row: int
    first_line: int

    def read(self) -> Iterator[pa.RecordBatch]:
        """The batches, memory-mapped."""
        with pa.memory_map(str(self.path)) as file:
            reader = pa.ipc.open_file(file)
            for batch in self.batches:
                yield reader.get_batch(batch)


@dataclass(kw_only=True, slots=True)
class ShardResult:
    """Result of parsing a shard.

    Attributes:
        lines: number of lines.
        batch_rows: numbers of accepted lines, by spilled record batch.
        rejected: rejected lines (only the first one, if parsing stops there).
        contradictory: numbers of lines rejected because of contradictory labels, and the reason.
        dropped: numbers of lines excluded by a policy, by name.
        kept: numbers of kept lines with contradictory labels, by name.
        cut: numbers of entries beyond the width of a bag field, by field.
        positives: numbers of positives, by label.
        unlabelled: numbers of rows without a label, by label.
    """

    lines: int = 0
    batch_rows: list[int] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    contradictory: list[tuple[int, str]] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)
    kept: Counter[str] = field(default_factory=Counter)
    cut: dict[str, int] = field(default_factory=dict)
    positives: Counter[str] = field(default_factory=Counter)
    unlabelled: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class Parser:
    """Reads a shard and spills its columns, with bags truncated to the width of their fields.

    Attributes:
        dataset: the data set, which has the reader.
        stop: whether to stop at the first rejected line.
        contradictions: policy for rows whose labels contradict the order of tasks.
    """

    dataset: RawDataset
    stop: bool
    contradictions: Contradictions

    def __call__(self, job: tuple[Shard, Path]) -> ShardResult:
        shard, path = job
        result = ShardResult()
        table_fields = [f for f in self.dataset.fields if table_of(f) == shard.file.table]
        bag_fields = [f for f in table_fields if f.kind == "id" and f.width > 1]
        of_rows = shard.file.table == ROWS
        writer: pa.RecordBatchFileWriter | None = None
        try:
            for block in self.dataset.read(shard):
                check_block(block, self.dataset, shard.file, result.lines)
                result.rejected += block.rejected
                result.lines += block.lines
                result.dropped.update(block.dropped)
                columns = self._consistent(block.columns, result) if of_rows else block.columns
                if self.stop and (result.rejected or result.contradictory):
                    break
                if of_rows:
                    self._count_labels(columns, result)
                batch = _cut(columns, bag_fields, result.cut)
                writer = writer or pa.ipc.new_file(str(path), batch.schema)
                if batch.num_rows:
                    writer.write_batch(batch)
                    result.batch_rows.append(batch.num_rows)
        finally:
            if writer is not None:
                writer.close()
        return result

    def _count_labels(self, columns: pa.RecordBatch, result: ShardResult) -> None:
        for task in self.dataset.tasks:
            label = columns[task.label]
            result.unlabelled[task.label] += label.null_count
            if task.kind == "binary":
                result.positives[task.label] += int(label.fill_null(0).to_numpy().sum())

    def _consistent(self, columns: pa.RecordBatch, result: ShardResult) -> pa.RecordBatch:
        """The rows without contradictory labels, or all if such rows are kept; contradictory rows are counted."""
        good = np.ones(columns.num_rows, bool)
        for task, rows in contradictory_rows(columns, self.dataset.tasks).items():
            if not rows.any():
                continue
            if self.contradictions == "keep":
                result.kept[name_of(task)] += int(rows.sum())
                continue
            good &= ~rows
            if self.contradictions == "drop":
                result.dropped[name_of(task)] += int(rows.sum())
            else:
                why = reason(task, self.dataset.tasks)
                result.contradictory += [(line, why) for line in line_numbers(columns)[rows].tolist()]
        return columns if good.all() else columns.filter(pa.array(good))


@dataclass(slots=True)
class Spill:
    """All raw files, parsed and spilled.

    Attributes:
        chunks: chunks by table, in file order.
        lines, dropped, kept, cut, positives: as in `ShardResult`, by raw file.
        unlabelled: numbers of rows without a label in all files, by label.
        extras: for each existing column of `SIDE_COLUMNS`, the table that has it.
    """

    chunks: dict[str, list[Chunk]] = field(default_factory=dict)
    lines: Counter[Path] = field(default_factory=Counter)
    dropped: dict[Path, Counter[str]] = field(default_factory=dict)
    kept: dict[Path, Counter[str]] = field(default_factory=dict)
    cut: dict[Path, Counter[str]] = field(default_factory=dict)
    positives: dict[Path, Counter[str]] = field(default_factory=dict)
    unlabelled: Counter[str] = field(default_factory=Counter)
    extras: dict[str, str] = field(default_factory=dict)

    def rows(self, table: str) -> int:
        return sum(chunk.rows for chunk in self.chunks.get(table, []))

    def column_names(self, table: str) -> list[str]:
        """Names of the columns of a table; empty if it has no rows."""
        chunks = self.chunks.get(table, [])
        return next(chunks[0].read()).schema.names if chunks else []

    def add(self, shard: Shard, path: Path, result: ShardResult) -> None:
        """Add the next shard."""
        source, table = shard.path, shard.file.table
        chunks = self.chunks.setdefault(table, [])
        row = self.rows(table)
        for batches in _grouped(result.batch_rows):
            rows = sum(result.batch_rows[batch] for batch in batches)
            chunks.append(Chunk(path, source, shard.file.part, batches, rows, row, self.lines[source]))
            row += rows
        for extra in SIDE_COLUMNS if result.batch_rows else ():
            if extra in next(chunks[-1].read()).schema.names:
                owner = self.extras.setdefault(extra, table)
                assert owner == table, f"both '{owner}' and '{table}' have the column '{extra}'"
        self.lines[source] += result.lines
        self.dropped.setdefault(source, Counter()).update(result.dropped)
        self.kept.setdefault(source, Counter()).update(result.kept)
        self.cut.setdefault(source, Counter()).update(result.cut)
        self.positives.setdefault(source, Counter()).update(result.positives)
        self.unlabelled.update(result.unlabelled)


def spill_all(  # input, output, and three settings
    dataset: RawDataset,
    files: Sequence[tuple[RawFile, Path]],
    folder: Path,
    rejects: RejectLog,
    contradictions: Contradictions,
    workers: Workers,
) -> Spill:
    """Parse every file.

    Args:
        dataset: the data set.
        files: the files to read.
        folder: folder for spilled columns.
        rejects: receives every rejected line, in file order.
        contradictions: policy for rows whose labels contradict the order of tasks.
        workers: read the files.
    """
    shards = [shard for file, path in files for shard in cut_file(path, file)]
    jobs = [(shard, folder / f"{number}.arrow") for number, shard in enumerate(shards)]
    spill = Spill()
    parser = Parser(dataset, rejects.stop, contradictions)
    with closing(workers.map(parser, jobs, f"reading {dataset.name}")) as results:
        for (shard, path), result in zip(jobs, results, strict=True):
            _refuse(result, shard.path, spill.lines[shard.path], rejects)
            spill.add(shard, path, result)
    return spill


def _refuse(result: ShardResult, source: Path, first: int, rejects: RejectLog) -> None:
    """Reject the invalid lines of a shard, in file order; ``first`` is the number of its first line."""
    texts = {rejected.line: rejected.text for rejected in result.rejected}
    lines = sorted([*((rejected.line, rejected.reason) for rejected in result.rejected), *result.contradictory])
    for (damaged, why), group in groupby(lines, lambda line: (line[0] in texts, line[1])):
        numbers = [number for number, _ in group]
        if damaged:
            for number in numbers:
                rejects.add(source, first + number, why, texts[number])
        else:
            rejects.add_lines(source, [first + number for number in numbers], why)


def cut_file(path: Path, file: RawFile) -> list[Shard]:
    """Shards of about `SHARD_BYTES` that begin and end at line ends."""
    size = path.stat().st_size
    if not file.splittable:
        return [Shard(path=path, file=file, start=0, stop=size)]
    bounds = [0]
    with path.open("rb") as text:
        while bounds[-1] < size:
            text.seek(min(bounds[-1] + SHARD_BYTES, size) - 1)
            text.readline()
            bounds.append(text.tell())
    return [Shard(path=path, file=file, start=start, stop=stop) for start, stop in pairwise(bounds)]


def check_block(block: Block, dataset: RawDataset, file: RawFile, first: int) -> None:
    """Assert that a reader follows the protocol: lines accounted for, columns present, labels of the right type.

    Args:
        block: the block that it returned.
        dataset: the data set with the reader.
        file: the file that it read.
        first: number, within the shard, of the block's first line.
    """
    where = f"{type(dataset).__name__}.read of {file.name}"
    columns = block.columns
    accounted = columns.num_rows + len(block.rejected) + sum(block.dropped.values())
    assert accounted == block.lines, f"{where}: {block.lines} lines, but {accounted} accepted, rejected or dropped"
    table_fields = [f for f in dataset.fields if table_of(f) == file.table]
    owed = [LINE, *(f.name for f in table_fields), *(f.name + WEIGHT_SUFFIX for f in table_fields if f.weighted)]
    if file.table == ROWS:
        owed += [task.label for task in dataset.tasks]
        owed += [f"{KEY}:{name}" for name in dict.fromkeys(f.table for f in dataset.fields if f.table is not None)]
    else:
        owed.append(KEY)
    missing = sorted(set(owed) - set(columns.schema.names))
    assert not missing, f"{where}: no column {', '.join(missing)}"
    numbers = line_numbers(columns)
    inside = not len(numbers) or (numbers[0] >= first and numbers[-1] < first + block.lines)
    assert inside, f"{where}: line numbers {numbers[:1]} to {numbers[-1:]} in a block that begins at line {first}"
    assert (np.diff(numbers) > 0).all(), f"{where}: line numbers do not ascend"
    empty = [name for name in SIDE_COLUMNS if name in columns.schema.names and columns[name].null_count]
    assert not empty, f"{where}: {', '.join(empty)} is null somewhere; a row without one needs a value of its own"
    keys = [name for name in columns.schema.names if name.split(":")[0] in (KEY, ROW_KEY[:-1])]
    keyless = [name for name in keys if columns[name].null_count]
    assert not keyless, f"{where}: {', '.join(keyless)} is null somewhere; such a line must be rejected"
    if SAMPLE_WEIGHT in columns.schema.names:
        least, most = SAMPLE_WEIGHTS
        weight = columns[SAMPLE_WEIGHT].fill_null(-1).to_numpy()
        weighs = weight.dtype == np.float32 and ((weight == 0) | ((weight >= least) & (weight <= most))).all()
        assert weighs, f"{where}: '{SAMPLE_WEIGHT}' is not float32 of 0 and of numbers from {least:.4g} to {most:.4g}"
    for task in dataset.tasks if file.table == ROWS else ():
        label = columns[task.label]
        if task.kind == "regression":
            number = label.type == pa.float64() and np.isfinite(label.fill_null(0).to_numpy()).all()
            assert number, f"{where}: label '{task.label}' is not float64 of finite numbers"
            continue
        binary = label.type == pa.int8() and not set(label.unique().to_pylist()) - {0, 1, None}
        assert binary, f"{where}: label '{task.label}' is not int8 of 0 and 1"


def _cut(batch: pa.RecordBatch, fields: list[Field], left_out: dict[str, int]) -> pa.RecordBatch:
    for f in fields:
        weight_name = f.name + WEIGHT_SUFFIX
        ids, weights, count = bags.truncate(batch[f.name], batch[weight_name] if f.weighted else None, f.width)
        left_out[f.name] = left_out.get(f.name, 0) + count
        if count:
            batch = batch.set_column(batch.schema.get_field_index(f.name), f.name, ids)
        if count and weights is not None:
            batch = batch.set_column(batch.schema.get_field_index(weight_name), weight_name, weights)
    return batch


def line_numbers(batch: pa.RecordBatch) -> np.ndarray:
    """Line numbers within the shard, int64."""
    return batch[LINE].to_numpy(zero_copy_only=False)


def _grouped(batch_rows: Sequence[int]) -> Iterator[range]:
    """Ranges of consecutive batches of about `CHUNK_ROWS` rows."""
    start = rows = 0
    for batch, count in enumerate(batch_rows):
        if rows and rows + count > CHUNK_ROWS:
            yield range(start, batch)
            start, rows = batch, 0
        rows += count
    if rows:
        yield range(start, len(batch_rows))
