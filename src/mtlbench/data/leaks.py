"""Inputs that are a label in disguise: found on training rows, refused by name."""

from pathlib import Path

import numpy as np

from mtlbench.data import matrices
from mtlbench.schema import Schema

LOOK_AT = 1 << 20
"""Training rows that are looked at; a copy of a label shows in far fewer."""

CONVINCING = 100
"""Rows of the rarer label below which an equality may be chance."""

VALUES = 4
"""Most ids (unknown and missing included) of a field that could be a copy of a 0/1 label."""


def refuse_leaks(schema: Schema, train: Path) -> None:
    """Look for inputs of the rows that equal a label, or its opposite.

    Args:
        schema: of the store.
        train: file of the training rows.

    Raises:
        ValueError: names the field and the label.
    """
    columns = {name: matrix[:LOOK_AT] for name, matrix in matrices.read(train).items()}
    for task, label in zip(schema.tasks, columns["labels"].T, strict=True):
        if min(label.sum(), (1 - label).sum()) < CONVINCING:
            continue
        for name, values in _suspects(schema, columns).items():
            if _tells(values, label):
                raise ValueError(
                    f"field '{name}' equals label '{task.label}' of task '{task.name}' on {len(label)} "
                    "training rows; a model would read the answer. Take it out of the data set's fields"
                )


def _suspects(schema: Schema, columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    own_ids = [f for f in schema.id_fields if f.table is None]
    own_numbers = [f for f in schema.number_fields if f.table is None]
    suspects = {
        f.name: columns["ids"][:, schema.slots[f.name].start]
        for f in own_ids
        if f.width == 1 and f.cardinality <= VALUES
    }
    return suspects | {
        f.name: columns["numbers"][:, schema.number_columns[f.name].start] for f in own_numbers if f.width == 1
    }


def _tells(values: np.ndarray, label: np.ndarray) -> bool:
    """Whether a value always comes with the same label."""
    positive, negative = values[label > 0], values[label == 0]
    if positive[0] != positive[-1] or negative[0] != negative[-1]:  # most fields part here, without a look at the rest
        return False
    return bool((positive == positive[0]).all() and (negative == negative[0]).all() and positive[0] != negative[0])
