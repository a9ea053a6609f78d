"""Detects input fields that reveal a label."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from mtlbench.data import matrices
from mtlbench.data.layout import POINTER
from mtlbench.data.vocabulary import UNKNOWN
from mtlbench.schema import Field, Schema, Task

Matrices = Mapping[str, np.ndarray]

MAX_ROWS = 1 << 20
"""Training rows that are looked at; a copy of a label shows in far fewer."""

MIN_POSITIVES = 100
"""Rows of the rarer label below which an equality may be chance."""

ROUNDING = 1e-9
"""How far below 1 the square of a correlation may be between two numbers of which one is a copy."""

FIRST_ROWS = 1 << 16
"""Training rows in which almost every field that does not settle a label shows that it does not."""

MIN_ROWS_PER_VALUE = 10
"""Training rows of a value from which on it says something that every one of them has the same label."""


def refuse_leaks(schema: Schema, store: Path) -> None:
    """Look for single values that settle a label: a number that equals it, an id of which every value has one label.

    A number tells a label of a regression task that it is correlated with by 1 or -1; ids are not held against those.
    Fields of several values, and values that stand in fewer than `MIN_ROWS_PER_VALUE` of the rows, are not looked at.

    Args:
        schema: of the store.
        store: its folder.

    Raises:
        ValueError: names the field and the label.
    """
    rows = {name: matrix[:MAX_ROWS] for name, matrix in matrices.read(store / "rows" / "train.arrow").items()}
    tables = {table: matrices.read(store / "tables" / f"{table}.arrow") for table in schema.tables}
    for field in (field for field in schema.fields if field.width == 1):
        of_rows = _values(schema, field, rows, tables)
        for at, task in enumerate(schema.tasks):
            labelled = rows["observed"][:, at] > 0 if "observed" in rows else slice(None)
            values, label = of_rows[labelled], rows["labels"][labelled, at]
            if (verb := _told(field, task, values, label)) is not None:
                raise ValueError(
                    f"field '{field.name}' {verb} label '{task.label}' of task '{task.name}' on {len(label)} "
                    "training rows; a model would read the answer. "
                    "Take it out of the data set's fields"
                )


def _told(field: Field, task: Task, values: np.ndarray, label: np.ndarray) -> str | None:
    """What a field says of a label, as a verb; ``None``: nothing that settles it."""
    if task.kind == "regression":
        copied = field.kind == "number" and len(label) >= MIN_POSITIVES and _copies(values, label)
        return "equals, but for a factor and a constant," if copied else None
    if min(label.sum(), (1 - label).sum()) < MIN_POSITIVES:
        return None
    if field.kind == "id":
        return "settles" if _determines(values, label) else None
    return "equals" if _equals(values, label) else None


def _copies(values: np.ndarray, label: np.ndarray) -> bool:
    """Whether a number is correlated with a label as far as rounding to 32 bits can tell."""
    one, two = (each - each.mean(dtype=np.float64) for each in (values, label))
    return bool((one @ two) ** 2 > (1 - ROUNDING) * (one @ one) * (two @ two))


def _values(schema: Schema, field: Field, rows: Matrices, tables: Mapping[str, Matrices]) -> np.ndarray:
    """One entry per row: an id counted from the field's unknown value (0), or a number."""
    columns = schema.slots if field.kind == "id" else schema.number_columns
    block = "ids" if field.kind == "id" else "numbers"
    first = min(columns[other.name].start for other in schema.fields if (other.kind, other.table) == _place(field))
    own = rows if field.table is None else tables[field.table]
    values = own[block][:, columns[field.name].start - first]
    if field.table is not None:
        values = values[rows[POINTER + field.table]]
    return values - schema.offsets[field.name] if field.kind == "id" else values


def _place(field: Field) -> tuple[str, str | None]:
    return field.kind, field.table


def _determines(ids: np.ndarray, label: np.ndarray) -> bool:
    """Whether every known id that stands in enough rows always comes with the same label."""
    rows, positives = _of_frequent(ids[:FIRST_ROWS], label[:FIRST_ROWS])
    if not _pure(rows, positives):  # most fields part here, without a look at the rest
        return False
    rows, positives = _of_frequent(ids, label)
    if min(positives.sum(), rows.sum() - positives.sum()) < MIN_POSITIVES:
        return False
    return _pure(rows, positives)


def _pure(rows: np.ndarray, positives: np.ndarray) -> bool:
    """Whether each value has one label in all of its rows."""
    return bool(((positives == 0) | (positives == rows)).all())


def _of_frequent(ids: np.ndarray, label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows, and positive rows, of every known id that stands in enough of them."""
    rows = np.bincount(ids)
    positives = np.bincount(ids, weights=label)
    frequent = rows >= MIN_ROWS_PER_VALUE
    frequent[UNKNOWN] = False
    return rows[frequent], positives[frequent]


def _equals(values: np.ndarray, label: np.ndarray) -> bool:
    """Whether a number always comes with the same label, and the other label with another."""
    positive, negative = values[label > 0], values[label == 0]
    if positive[0] != positive[-1] or negative[0] != negative[-1]:  # most fields part here, without a look at the rest
        return False
    return bool((positive == positive[0]).all() and (negative == negative[0]).all() and positive[0] != negative[0])
