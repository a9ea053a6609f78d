"""Small schemas and random batches for tests. Sizes are distinct primes, so that a swapped axis shows."""

import torch

from mtlbench.schema import Batch, Field, Schema, Task


def plain_schema(
    fields: int = 6, cardinality: int = 11, tasks: int = 2, numbers: int = 0, history: int = 0, source: int = 0
) -> Schema:
    """Single-valued id fields (by default those of the parameter-count fixture), then one-component numbers.

    For models that ask for more, a history of that width, whose target is the first field, and so many sources.
    """
    ids = tuple(Field(name=f"id{f}", cardinality=cardinality) for f in range(fields))
    if history:
        ids += (
            Field(
                name="history", cardinality=cardinality, width=history, vocabulary="id0", role="history", target="id0"
            ),
        )
    values = tuple(Field(name=f"number{n}", kind="number") for n in range(numbers))
    names = tuple(Task(name=f"task{t}", label=f"label{t}") for t in range(tasks))
    return Schema(fields=ids + values, tasks=names, source=source)


def rich_schema(tasks: int = 2) -> Schema:
    """Every kind of field: single, shared vocabulary, bag, weighted bag, dimension table, numbers of width 1 and 3.

    The weighted bag is a history, compared with the item; rows come from three sources.
    """
    return Schema(
        fields=(
            Field(name="item", cardinality=13, role="item"),
            Field(name="tags", cardinality=7, width=5, role="item"),
            Field(name="user", cardinality=17, table="users", role="user"),
            Field(
                name="history",
                cardinality=13,
                width=7,
                weighted=True,
                table="users",
                vocabulary="item",
                role="history",
                target="item",
            ),
            Field(name="price", kind="number", role="item"),
            Field(name="embedding", kind="number", width=3, table="users", role="user"),
        ),
        tasks=tuple(Task(name=f"task{t}", label=f"label{t}") for t in range(tasks)),
        source=3,
    )


def random_batch(schema: Schema, rows: int, seed: int = 0) -> Batch:
    """Rows with valid random ids (bags of random length, some empty), numbers, weights, labels and sources."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(*shape: int) -> torch.Tensor:
        return torch.rand(*shape, generator=generator)

    columns: list[torch.Tensor] = []
    weights: list[torch.Tensor] = []
    for field in schema.id_fields:
        ids = (uniform(rows, field.width) * field.cardinality).int() + schema.offsets[field.name]
        if field.width > 1:
            length = (uniform(rows, 1) * (field.width + 1)).int()
            ids = ids * (torch.arange(field.width) < length)
        if field.weighted:
            weights.append((0.1 + uniform(rows, field.width)) * (ids > 0))
        columns.append(ids)
    numbers = sum(field.width for field in schema.number_fields)
    return Batch(
        ids=torch.cat(columns, dim=1).int() if columns else torch.zeros(rows, 0, dtype=torch.int32),
        numbers=torch.randn(rows, numbers, generator=generator),
        weights=torch.cat(weights, dim=1) if weights else None,
        labels=(uniform(rows, len(schema.tasks)) < 0.4).float(),
        observed=None,
        group=None,
        source=(uniform(rows) * schema.source).long() if schema.source else None,
        time=None,
        row=torch.arange(rows),
    )
