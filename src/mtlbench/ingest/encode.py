"""Counts values on training rows, and encodes rows into the matrices of a store."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import pyarrow as pa

from mtlbench.data import bags
from mtlbench.data.layout import POINTER, ROWS, SIDE_COLUMNS, fields_of, input_columns, table_of
from mtlbench.data.matrices import MatrixFile
from mtlbench.data.numbers import OUTLIER, Scale, allowed, expanded, number_matrix
from mtlbench.data.vocabulary import UNKNOWN, Vocabulary, merge, tally
from mtlbench.ingest.parse import Chunk, line_numbers
from mtlbench.ingest.protocol import SAMPLE_WEIGHT, WEIGHT_SUFFIX
from mtlbench.schema import Field, Schema, Task

EXTRA = "extra:"
"""Prefix of the scratch array with each row's ``group``, ``source`` or ``time`` from its dimension-table row."""

POINTED = "pointed:"
"""Prefix of the array that says, for each row of a dimension table, whether a row of a split points at it."""

MERGE_ABOVE = 4 << 20
"""Maximum number of distinct values in unmerged counts of chunks."""

Counts = Counter[tuple[str, str, str]]
"""Counts by (split or table, quantity, field or task); quantities: ``rows``, ``values``, ``unknown``, ``missing``,
``labelled``, ``outliers``, ``label outliers``, ``positives``, ``together`` (rows positive for two tasks)."""


@dataclass(frozen=True, slots=True)
class ScratchColumns:
    """Arrays with one entry per row of a table, passed between stages in files and read chunk by chunk."""

    folder: Path

    def write(self, name: str, values: np.ndarray) -> None:
        """Append to the array ``name``."""
        with (self.folder / name).open("ab") as file:
            values.tofile(file)

    def replace(self, name: str, values: np.ndarray) -> None:
        """Replace the whole array ``name``."""
        (self.folder / name).unlink()
        self.write(name, values)

    def read(self, name: str, dtype: type[np.generic], chunk: Chunk) -> np.ndarray:
        """The entries of a chunk's rows."""
        return np.fromfile(self.folder / name, dtype, chunk.rows, offset=chunk.first_row * np.dtype(dtype).itemsize)

    def map(self, name: str, dtype: type[np.generic]) -> np.ndarray:
        """The whole array, memory-mapped."""
        path = self.folder / name
        return np.memmap(path, dtype, mode="r") if path.stat().st_size else np.zeros(0, dtype)


@dataclass(frozen=True, slots=True)
class Tallier:
    """Counts the values of the id fields of a chunk, weighted by the number of training rows that use each row.

    Attributes:
        fields: id fields of the chunks' table.
        scratch: has int32 ``uses:<table>``: 0 or 1 for labelled rows, any count for rows of a dimension table.
    """

    fields: tuple[Field, ...]
    scratch: ScratchColumns

    def __call__(self, chunk: Chunk) -> dict[str, pa.Table]:
        """Tallies by vocabulary."""
        uses = self.scratch.read(f"uses:{table_of(self.fields[0])}", np.int32, chunk)
        used = uses > 0
        weights = None if uses.max(initial=0) <= 1 else uses[used].astype(np.int64)
        rows = pa.Table.from_batches(list(chunk.read()))
        tallies: dict[str, list[pa.Table]] = {}
        for field in self.fields:
            column = rows[field.name] if used.all() else rows[field.name].filter(pa.array(used))
            counted = _tally_bag(column, weights) if field.width > 1 else tally(column, weights)
            tallies.setdefault(field.vocabulary_name, []).append(counted)
        return {name: merge(parts) for name, parts in tallies.items()}


def fit_vocabularies(tallies: Iterable[dict[str, pa.Table]], min_count: int) -> dict[str, Vocabulary]:
    """One vocabulary per name, from the tallies of all chunks."""
    waiting: dict[str, list[pa.Table]] = {}
    for by_name in tallies:
        for name, counted in by_name.items():
            counts = waiting.setdefault(name, [])
            counts.append(counted)
            if sum(map(len, counts[1:])) > max(MERGE_ABOVE, len(counts[0])):
                waiting[name] = [merge(counts)]
    return {name: Vocabulary.fit(counts, min_count) for name, counts in waiting.items()}


@dataclass(frozen=True)
class Encoder:
    """Encodes chunks of a table into the files of a store.

    Attributes:
        schema: schema of the store.
        table: the table.
        vocabularies: by name.
        scales: scales of number fields and of labels of regression tasks, by name.
        sources: the distinct sources, ascending; the first is encoded as 0.
        scratch: for `ROWS`, has int8 ``split``, int32 ``pointer:<table>`` for each dimension table, and int64
            ``extra:<column>`` for inherited columns; for a dimension table, has int8 ``pointed:<table>``,
            whether a row of a split points at each of its rows.
        files: output files: one per split for `ROWS`, a single one for a dimension table.
    """

    schema: Schema
    table: str
    vocabularies: Mapping[str, Vocabulary]
    scales: Mapping[str, Scale]
    sources: np.ndarray
    scratch: ScratchColumns
    files: Mapping[str, MatrixFile]

    def __call__(self, job: tuple[Chunk, tuple[int, ...]]) -> Counts:
        """Encode a chunk; the job has the position of its first row in each file."""
        chunk, starts = job
        target = self.scratch.read("split", np.int8, chunk) if self.table == ROWS else np.zeros(chunk.rows, np.int8)
        tables = self.schema.tables if self.table == ROWS else ()
        pointers = {table: self.scratch.read(POINTER + table, np.int32, chunk) for table in tables}
        inherited = {name: self.scratch.read(EXTRA + name, np.int64, chunk) for name in self._inherited(chunk)}
        pointed = None if self.table == ROWS else self.scratch.read(POINTED + self.table, np.int8, chunk) > 0
        following = list(starts)
        counts: Counts = Counter()
        for batch, rows in with_slices(chunk, np.arange(chunk.rows)):
            in_split = target[rows] >= 0
            kept, at = (batch, rows) if in_split.all() else (batch.filter(pa.array(in_split)), rows[in_split])
            where = target[at]
            self._count(counts, "rows", "", where)
            matrices = self._inputs(kept, where, None if pointed is None else pointed[at], counts)
            if self.table == ROWS:
                matrices |= {POINTER + table: pointer[at] for table, pointer in pointers.items()}
                matrices |= self._labels(kept, where, counts, chunk)
                matrices |= {name: values[at] for name, values in inherited.items()}
                if self.schema.source:
                    matrices["source"] = np.searchsorted(self.sources, matrices["source"])
            for number, file in enumerate(self.files.values()):
                here = where == number
                for column, matrix in matrices.items():
                    file.write(column, following[number], matrix if here.all() else matrix[here])
                following[number] += int(here.sum())
        return counts

    def _inputs(
        self, batch: pa.RecordBatch, target: np.ndarray, pointed: np.ndarray | None, counts: Counts
    ) -> dict[str, np.ndarray]:
        def note(what: str, name: str, rows: np.ndarray | slice) -> None:
            if what == "outliers" and pointed is not None and isinstance(rows, np.ndarray):
                rows = rows[pointed[rows]]  # no model sees the others
            self._count(counts, what, name, target[rows])

        # Dimension-table rows that are pointed at have been validated; numbers of other rows do not matter.
        unused = self.table != ROWS
        return encode_inputs(self.schema, self.table, self.vocabularies, self.scales, batch, note, blank_unfit=unused)

    def _labels(self, batch: pa.RecordBatch, target: np.ndarray, counts: Counts, chunk: Chunk) -> dict[str, np.ndarray]:
        """Columns of labelled rows only: labels, which are observed, side columns, true probabilities."""
        labels = np.stack([self._label(task, batch[task.label]) for task in self.schema.tasks], axis=1)
        binary = [(t, labels[:, at]) for at, t in enumerate(self.schema.tasks) if t.kind == "binary"]
        for task, label in binary:
            self._count(counts, "positives", task.name, target[label > 0])
        for task, label in zip(self.schema.tasks, labels.T, strict=True):
            if task.kind == "regression":
                self._count(counts, "label outliers", task.name, target[np.abs(label) > OUTLIER])
        for (one, first), (two, second) in combinations(binary, 2):
            self._count(counts, "together", f"{one.name} and {two.name}", target[(first > 0) & (second > 0)])
        more = {name: batch[name].to_numpy() for name in SIDE_COLUMNS if name in batch.schema.names}
        if self.schema.sample_weight:
            more["sample_weight"] = batch[SAMPLE_WEIGHT].to_numpy()
        if "truth" in next(iter(self.files.values())).columns:
            truth = np.load(truth_path(chunk.source), mmap_mode="r")
            more["truth"] = truth[chunk.first_line + line_numbers(batch)]
        if any(task.missing for task in self.schema.tasks):
            more["observed"] = self._observed(batch, target, counts)
        return {"labels": labels, **more}

    def _observed(self, batch: pa.RecordBatch, target: np.ndarray, counts: Counts) -> np.ndarray:
        """Which labels are observed, uint8 ``[R, T]``."""
        columns = [batch[task.label].is_valid().to_numpy(zero_copy_only=False) for task in self.schema.tasks]
        for task, labelled in zip(self.schema.tasks, columns, strict=True):
            self._count(counts, "labelled", task.name, target[labelled])
        return np.stack(columns, axis=1).astype(np.uint8)

    def _label(self, task: Task, column: pa.Array) -> np.ndarray:
        """A task's labels ``[R]``: 0 and 1 as int8, or standardised float32; 0 if missing."""
        values = column.fill_null(0).to_numpy()
        if task.kind == "binary":
            return values
        missing = column.is_null().to_numpy(zero_copy_only=False)
        return self.scales[task.label].apply(values[:, None], missing[:, None])[:, 0]

    def _inherited(self, chunk: Chunk) -> list[str]:
        """Columns that the rows of a chunk inherit from a dimension table."""
        own_columns = next(chunk.read()).schema.names if self.table == ROWS else SIDE_COLUMNS
        return [name for name in SIDE_COLUMNS if getattr(self.schema, name) and name not in own_columns]

    def _count(self, counts: Counts, what: str, name: str, target: np.ndarray) -> None:
        for file, number in zip(self.files, np.bincount(target, minlength=len(self.files)), strict=True):
            counts[file, what, name] += int(number)


def encode_inputs(  # the store's properties, the rows, and a callback that counts values
    schema: Schema,
    table: str,
    vocabularies: Mapping[str, Vocabulary],
    scales: Mapping[str, Scale],
    batch: pa.RecordBatch,
    note: Callable[[str, str, np.ndarray | slice], None],
    *,
    blank_unfit: bool = False,
) -> dict[str, np.ndarray]:
    """The input matrices of rows, see `input_columns`.

    Args:
        schema: schema of the store.
        table: table of the rows.
        vocabularies, scales: by name.
        batch: a column for each field of the table, see `protocol.Block`; bags must be truncated to their fields.
        note: called for each field with the rows (indices, or a slice of all) that have a value, an ``unknown`` value,
            or a number that is ``missing`` or among the ``outliers``.
        blank_unfit: whether a number outside the limits of its scale becomes missing instead of an error.

    Raises:
        ValueError: a number is outside the limits of its scale.
    """
    matrices = {
        name: np.zeros((batch.num_rows, column.width), column.dtype)
        for name, column in input_columns(schema, table).items()
    }
    slot = component = weight = 0
    for field in fields_of(schema, table):
        if field.kind == "number":
            values, missing = _fitting(field, scales[field.name], batch[field.name], blank_unfit)
            note("missing", field.name, np.flatnonzero(missing.any(axis=1)))
            standardised = scales[field.name].apply(values, missing)
            note("outliers", field.name, np.flatnonzero((np.abs(standardised) > OUTLIER).any(axis=1)))
            matrices["numbers"][:, component : component + field.width] = standardised
            component += field.width
            continue
        row, column, index = _indices(batch[field.name], field, vocabularies[field.vocabulary_name])
        note("values", field.name, row)
        unknown = np.flatnonzero(index == UNKNOWN)
        note("unknown", field.name, unknown if isinstance(row, slice) else row[unknown])
        matrices["ids"][row, slot + column] = index + schema.offsets[field.name]
        slot += field.width
        if field.weighted:
            entries = batch[field.name + WEIGHT_SUFFIX].flatten().to_numpy(zero_copy_only=False)
            matrices["weights"][row, weight + column] = entries
            weight += field.width
    return matrices


def _fitting(field: Field, scale: Scale, column: pa.Array, blank_unfit: bool) -> tuple[np.ndarray, np.ndarray]:
    """Numbers within the limits of their scale, and a mask of missing ones."""
    values, missing = number_matrix(field, column)
    unfit = scale.unfit(values) & ~missing
    if unfit.any() and not blank_unfit:
        row, component = (int(axis[0]) for axis in unfit.nonzero())
        value = expanded(values)[row, component] if field.compress else values[row, component]
        raise ValueError(f"number field '{field.name}' is {value:.6g}; allowed: {allowed(field, scale, component)}")
    return values, missing | unfit


def truth_path(source: Path) -> Path:
    """Path of the true probabilities that a simulator writes for a raw file."""
    return source.with_name(source.name + ".truth.npy")


def with_slices(chunk: Chunk, values: np.ndarray) -> Iterator[tuple[pa.RecordBatch, np.ndarray]]:
    """The batches of a chunk, each with the entries of its rows in ``values`` (one per row of the chunk)."""
    start = 0
    for batch in chunk.read():
        yield batch, values[start : start + batch.num_rows]
        start += batch.num_rows


def _tally_bag(column: pa.ChunkedArray, weights: np.ndarray | None) -> pa.Table:
    entries = pa.chunked_array([part.flatten() for part in column.chunks], column.type.value_type)
    if weights is None:
        return tally(entries)
    lengths = np.concatenate([bags.lengths(part) for part in column.chunks])
    return tally(entries, np.repeat(weights, lengths))


def _indices(
    column: pa.Array, field: Field, vocabulary: Vocabulary
) -> tuple[np.ndarray | slice, np.ndarray | int, np.ndarray]:
    """Row, column within the field, and vocabulary index of each value; for a single-valued field, all rows and 0."""
    if field.width > 1:
        return *bags.coordinates(bags.lengths(column)), vocabulary.encode(column.flatten())
    return slice(None), 0, vocabulary.encode(column)
