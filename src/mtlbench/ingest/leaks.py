"""Detects input fields that reveal a label."""

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mtlbench.data import matrices
from mtlbench.data.layout import POINTER
from mtlbench.data.vocabulary import UNKNOWN
from mtlbench.ingest.workers import Workers
from mtlbench.schema import Field, Schema, Task

Matrices = Mapping[str, np.ndarray]

MAX_ROWS = 1 << 20
"""Maximum number of training rows that are examined; a copy of a label is evident in far fewer."""

MIN_POSITIVES = 100
"""Minimum number of rows of the rarer label; with fewer, equality may be chance."""

ROUNDING = 1e-9
"""Maximum distance from 1 of the squared correlation between a number and a copy of it."""

FIRST_ROWS = 1 << 16
"""Training rows examined first, which suffice to clear almost every field that does not determine a label."""

MIN_ROWS_PER_VALUE = 10
"""Minimum number of training rows of a value for a common label to be significant."""


@dataclass(frozen=True, slots=True)
class LeakFinder:
    """Says how a field of a store determines a label, as the beginning of a message; ``None`` if it does not."""

    schema: Schema
    store: Path

    def __call__(self, field: Field) -> str | None:
        rows = {name: matrix[:MAX_ROWS] for name, matrix in matrices.read(self.store / "rows" / "train.arrow").items()}
        tables = {table: matrices.read(self.store / "tables" / f"{table}.arrow") for table in self.schema.tables}
        of_rows = _values(self.schema, field, rows, tables)
        for at, task in enumerate(self.schema.tasks):
            labelled = rows["observed"][:, at] > 0 if "observed" in rows else slice(None)
            values, label = of_rows[labelled], rows["labels"][labelled, at]
            if (verb := _told(field, task, values, label)) is not None:
                return f"field '{field.name}' {verb} label '{task.label}' of task '{task.name}' on {len(label)}"
        return None


def refuse_leaks(schema: Schema, store: Path, workers: Workers) -> None:
    """Detect fields that determine a label: a number equal to it, or an id each of whose values has a single label.

    A label of a regression task is determined by a number with a correlation of 1 or -1; ids are not checked against
    it. Multi-valued fields, and values in fewer than `MIN_ROWS_PER_VALUE` rows, are not checked.

    Args:
        schema: schema of the store.
        store: folder of the store.
        workers: examine the fields.

    Raises:
        ValueError: there is such a field; the message has the field and the label.
    """
    fields = [field for field in schema.fields if field.width == 1]
    with closing(workers.map(LeakFinder(schema, store), fields, "looking for leaks")) as results:
        for leak in results:
            if leak is not None:
                raise ValueError(
                    f"{leak} training rows, so a model could read the label from it. "
                    "Remove it from the data set's fields"
                )


def _told(field: Field, task: Task, values: np.ndarray, label: np.ndarray) -> str | None:
    """How a field determines a label, as a verb; ``None`` if it does not."""
    if task.kind == "regression":
        copied = field.kind == "number" and len(label) >= MIN_POSITIVES and _copies(values, label)
        return "equals, but for a factor and a constant," if copied else None
    if min(label.sum(), (1 - label).sum()) < MIN_POSITIVES:
        return None
    if field.kind == "id":
        return "settles" if _determines(values, label) else None
    return "equals" if _equals(values, label) else None


def _copies(values: np.ndarray, label: np.ndarray) -> bool:
    """Whether the correlation of a number with a label is 1 or -1, up to float32 rounding."""
    one, two = (each - each.mean(dtype=np.float64) for each in (values, label))
    return bool((one @ two) ** 2 > (1 - ROUNDING) * (one @ one) * (two @ two))


def _values(schema: Schema, field: Field, rows: Matrices, tables: Mapping[str, Matrices]) -> np.ndarray:
    """A field's values, one per row: ids relative to the field's unknown value (0), or numbers."""
    columns = schema.slots if field.kind == "id" else schema.number_columns
    block = "ids" if field.kind == "id" else "numbers"
    first = min(columns[other.name].start for other in schema.fields if (other.kind, other.table) == _place(field))
    matrix = rows if field.table is None else tables[field.table]
    values = matrix[block][:, columns[field.name].start - first]
    if field.table is not None:
        values = values[rows[POINTER + field.table]]
    return values - schema.offsets[field.name] if field.kind == "id" else values


def _place(field: Field) -> tuple[str, str | None]:
    return field.kind, field.table


def _determines(ids: np.ndarray, label: np.ndarray) -> bool:
    """Whether every known id with enough rows always has the same label."""
    rows, positives = _of_frequent(ids[:FIRST_ROWS], label[:FIRST_ROWS])
    if not _pure(rows, positives):  # clears most fields without examining the rest
        return False
    rows, positives = _of_frequent(ids, label)
    if min(positives.sum(), rows.sum() - positives.sum()) < MIN_POSITIVES:
        return False
    return _pure(rows, positives)


def _pure(rows: np.ndarray, positives: np.ndarray) -> bool:
    """Whether each value has the same label in all its rows."""
    return bool(((positives == 0) | (positives == rows)).all())


def _of_frequent(ids: np.ndarray, label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of rows, and of positive rows, of every known id with enough rows."""
    rows = np.bincount(ids)
    positives = np.bincount(ids, weights=label)
    frequent = rows >= MIN_ROWS_PER_VALUE
    frequent[UNKNOWN] = False
    return rows[frequent], positives[frequent]


def _equals(values: np.ndarray, label: np.ndarray) -> bool:
    """Whether each label always has the same number, different from that of the other label."""
    positive, negative = values[label > 0], values[label == 0]
    if positive[0] != positive[-1] or negative[0] != negative[-1]:  # clears most fields without examining the rest
        return False
    return bool((positive == positive[0]).all() and (negative == negative[0]).all() and positive[0] != negative[0])
