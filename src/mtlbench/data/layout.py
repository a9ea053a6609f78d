"""The columns of a store's files of rows and of dimension tables."""

import numpy as np

from mtlbench.data.matrices import MatrixColumn
from mtlbench.schema import Field, Schema

SPLITS = ("train", "valid", "test")

ROWS = "rows"
"""Name of the table of labelled rows; every other table is a dimension table."""

POINTER = "pointer:"
"""Prefix of the column with each row's row number in a dimension table."""

SIDE_COLUMNS = ("group", "source", "time")
"""Columns that are neither inputs nor labels, used by metrics, splits and source adaptation."""


def table_of(field: Field) -> str:
    """Table of a field: `ROWS` or a dimension table."""
    return field.table or ROWS


def fields_of(schema: Schema, table: str) -> tuple[Field, ...]:
    """Fields of the rows, or of one dimension table, in the order of the schema."""
    return tuple(field for field in schema.fields if table_of(field) == table)


def input_columns(schema: Schema, table: str) -> dict[str, MatrixColumn]:
    """Input matrices of the rows, or of a dimension table."""
    fields = fields_of(schema, table)
    widths = {
        "ids": sum(field.width for field in fields if field.kind == "id"),
        "numbers": sum(field.width for field in fields if field.kind == "number"),
        "weights": sum(field.width for field in fields if field.weighted),
    }
    return {
        name: MatrixColumn(np.int32 if name == "ids" else np.float32, width) for name, width in widths.items() if width
    }


def row_columns(schema: Schema, truth: bool) -> dict[str, MatrixColumn]:
    """All matrices of labelled rows."""
    tasks = len(schema.tasks)
    binary = all(task.kind == "binary" for task in schema.tasks)
    return {
        **input_columns(schema, ROWS),
        "labels": MatrixColumn(np.int8 if binary else np.float32, tasks),
        **({"observed": MatrixColumn(np.uint8, tasks)} if any(task.missing for task in schema.tasks) else {}),
        **{POINTER + table: MatrixColumn(np.int32) for table in schema.tables},
        **{name: MatrixColumn(np.int64) for name in SIDE_COLUMNS if getattr(schema, name)},
        **({"sample_weight": MatrixColumn(np.float32)} if schema.sample_weight else {}),
        **({"truth": MatrixColumn(np.float32, tasks)} if truth else {}),
    }
