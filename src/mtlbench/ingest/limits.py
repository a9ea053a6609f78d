"""Rejects rows whose numbers, or those of their dimension-table rows, are too large to compute with."""

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import chain

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mtlbench.data.layout import POINTER, ROWS, table_of
from mtlbench.data.numbers import Scale, allowed, number_matrix
from mtlbench.ingest.encode import ScratchColumns, with_slices
from mtlbench.ingest.join import uses
from mtlbench.ingest.parse import Chunk, Spill, line_numbers
from mtlbench.ingest.rejects import RejectLog
from mtlbench.ingest.workers import Workers
from mtlbench.schema import Field, Task

LABEL = "label"
"""Role of the number field that represents the label of a regression task."""


def label_fields(tasks: Sequence[Task]) -> tuple[Field, ...]:
    """Labels of regression tasks as number fields of the rows, so that they are scaled and validated alike."""
    return tuple(Field(name=task.label, kind="number", role=LABEL) for task in tasks if task.kind == "regression")


@dataclass(frozen=True, slots=True)
class UnfitFinder:
    """Finds numbers outside the limits of their scales in a chunk: reasons, and the table's rows for each."""

    fields: Sequence[Field]
    scales: Mapping[str, Scale]

    def __call__(self, chunk: Chunk) -> list[tuple[str, np.ndarray]]:
        found: list[tuple[str, np.ndarray]] = []
        for batch, at in with_slices(chunk, np.arange(chunk.first_row, chunk.first_row + chunk.rows)):
            for field in self.fields:
                scale = self.scales[field.name]
                if all_fit(batch[field.name], field, scale):
                    continue
                values, missing = number_matrix(field, batch[field.name])
                unfit = scale.unfit(values) & ~missing
                for component in np.flatnonzero(unfit.any(axis=0)).tolist():
                    kind = "label" if field.role == LABEL else "number field"
                    what = f"'{field.name}'" if field.width == 1 else f"entry {component + 1} of '{field.name}'"
                    reason = f"{kind} {what} is too large or too small; allowed: {allowed(field, scale, component)}"
                    found.append((reason, at[unfit[:, component]]))
        return found


def refuse_unfit(
    fields: Sequence[Field],
    scales: Mapping[str, Scale],
    spill: Spill,
    scratch: ScratchColumns,
    rejects: RejectLog,
    kept: np.ndarray,
    workers: Workers,
) -> np.ndarray:
    """Reject every row that has, or points at, a number outside the limits of its scale.

    Dimension-table rows that no kept row points at are not checked.

    Args:
        fields: fields of the data set, and `label_fields`.
        scales: scales of number fields, by name; `Scale.unfitted` before they are fitted.
        spill, scratch: the parsed rows; ``scratch`` has ``pointer:<table>``.
        rejects: receives every rejected row.
        kept: mask of rows that have not been rejected before, bool ``[R]``.
        workers: look for such numbers.

    Returns:
        Mask of the rows that are still kept, bool ``[R]``.

    Raises:
        RawError: a row is rejected under ``on_error=fail``.
    """
    by_table: dict[str, list[Field]] = {}
    for field in fields:
        if field.kind == "number":
            by_table.setdefault(table_of(field), []).append(field)
    rows = spill.chunks.get(ROWS, [])
    for table, table_fields in by_table.items():
        chunks = spill.chunks.get(table, [])
        pointer = None if table == ROWS else scratch.map(POINTER + table, np.int32)
        looked_at = kept if pointer is None else uses(pointer, kept, spill.rows(table)) > 0
        unfit = np.zeros(len(looked_at), bool)
        for reason, here in _unfit(table_fields, scales, chunks, looked_at, workers).items():
            _refuse(chunks, here & ~unfit, reason, rejects)
            unfit |= here
        if pointer is not None and unfit.any():
            lost = kept & unfit[pointer]
            _refuse(rows, lost, f"its row of table '{table}' was rejected", rejects)
            kept = kept & ~lost
        elif pointer is None:
            kept = kept & ~unfit
    return kept


def _unfit(
    fields: Sequence[Field],
    scales: Mapping[str, Scale],
    chunks: Sequence[Chunk],
    looked_at: np.ndarray,
    workers: Workers,
) -> dict[str, np.ndarray]:
    """By reason, the rows of a table that are looked at and have a number outside the limits."""
    found: dict[str, np.ndarray] = {}
    finder = UnfitFinder(fields, {field.name: scales[field.name] for field in fields})
    with closing(workers.map(finder, chunks, "comparing numbers with limits")) as results:
        for reason, rows in chain.from_iterable(results):
            if (here := rows[looked_at[rows]]).size:
                found.setdefault(reason, np.zeros(len(looked_at), bool))[here] = True
    return found


def all_fit(column: pa.Array, field: Field, scale: Scale) -> bool:
    """Whether the extremes of a column are within the limits of all components: a fast test that usually passes."""
    entries = column if field.width == 1 else column.flatten()
    extremes = pc.call_function("min_max", [entries])
    lowest, highest = extremes["min"].as_py(), extremes["max"].as_py()
    low, high = scale.limits
    return lowest is None or bool(lowest >= low.max() and highest <= high.min())


def _refuse(chunks: Sequence[Chunk], rows: np.ndarray, reason: str, rejects: RejectLog) -> None:
    """Reject rows of a table, in file order."""
    for chunk in chunks:
        here = rows[chunk.first_row : chunk.first_row + chunk.rows]
        if here.any():
            lines = np.concatenate([line_numbers(batch) for batch in chunk.read()])[here]
            rejects.add_lines(chunk.source, (chunk.first_line + lines).tolist(), reason)
