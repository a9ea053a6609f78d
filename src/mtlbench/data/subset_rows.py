"""Rows with a subset of their tasks and fields, selected when batches are read."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from mtlbench.data.layout import ROWS, fields_of
from mtlbench.data.loader import Chosen, Rows
from mtlbench.schema import Field, Schema


def select_subset(rows: Rows, schema: Schema) -> Rows:
    """Rows restricted to the tasks and fields of a schema, which must be a subset of their own.

    Input columns are selected in each batch, so that mapped data are not copied; labels are small and are copied.
    """
    chosen: dict[tuple[str, str], Chosen] = {}
    for table in (ROWS, *schema.tables):
        chosen |= {(table, name): choice for name, choice in _inputs(rows.schema, schema, table)}

    def kept(table: str, held: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {
            name: values
            for name, values in held.items()
            if name not in ("ids", "numbers", "weights") or (table, name) in chosen
        }

    columns = kept(ROWS, rows.columns)
    names = [task.name for task in rows.schema.tasks]
    task_columns = torch.tensor([names.index(task.name) for task in schema.tasks])
    for name in ("labels", "observed", "truth"):
        if name in columns:
            columns[name] = columns[name].index_select(1, task_columns)
    if not any(task.missing for task in schema.tasks):
        columns.pop("observed", None)
    if all(task.kind == "binary" for task in schema.tasks):
        columns["labels"] = columns["labels"].to(torch.int8)
    return replace(
        rows,
        schema=schema,
        columns=columns,
        pointers={table: rows.pointers[table] for table in schema.tables},
        tables={table: kept(table, rows.tables[table]) for table in schema.tables},
        chosen=chosen,
    )


def _inputs(whole: Schema, schema: Schema, table: str) -> Iterable[tuple[str, Chosen]]:
    """The selected columns of the ``ids``, ``numbers`` and ``weights`` of a table; empty ones are left out."""
    names = {field.name for field in schema.fields}
    held = fields_of(whole, table)
    ids = [field for field in held if field.kind == "id"]
    for name, owners in (
        ("ids", ids),
        ("numbers", [field for field in held if field.kind == "number"]),
        ("weights", [field for field in ids if field.weighted]),
    ):
        columns = [field for field in owners for _ in range(field.width)]
        if at := [position for position, field in enumerate(columns) if field.name in names]:
            shift = [_shift(columns[position], whole, schema) for position in at] if name == "ids" else None
            yield name, Chosen(torch.tensor(at), None if shift is None else torch.tensor(shift, dtype=torch.int32))


def _shift(field: Field, whole: Schema, schema: Schema) -> int:
    """Offset of a field's ids from the store's embedding table to the smaller one."""
    return schema.offsets[field.name] - whole.offsets[field.name]
