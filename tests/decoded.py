"""The rows of a store as the values that were read: vocabularies and scales undone, tables joined."""

from typing import Any

import numpy as np
import torch

from mtlbench.data.store import Store
from mtlbench.schema import PADDING


def decoded(store: Store, split: str) -> list[dict[str, Any]]:
    """One dictionary per row: fields, labels, and ``group``, ``source``, ``time`` as far as there are such.

    An id is ``None`` where it is unknown or missing. A number comes back within float32 of what it was; a missing one
    as the mean. A bag is the list of its entries, ``<name>:weight`` the list of their weights. Sources count from 0.
    """
    rows, schema = store.split(split), store.schema
    batch = rows.gather(torch.arange(len(rows)))
    columns: dict[str, list[Any]] = {}
    for field in schema.id_fields:
        ids = batch.ids[:, list(schema.slots[field.name])].numpy()
        index = np.where(ids == PADDING, 0, ids - schema.offsets[field.name]).astype(np.int32)
        values = np.array(store.vocabulary(field.vocabulary_name).decode(index.ravel()).to_pylist(), object)
        values = values.reshape(ids.shape)
        lists = [[v for v, i in zip(*pair, strict=True) if i != PADDING] for pair in zip(values, ids, strict=True)]
        columns[field.name] = lists if field.width > 1 else values[:, 0].tolist()
        if field.weighted:
            assert batch.weights is not None
            weights = batch.weights[:, list(schema.weight_columns[field.name])].numpy()
            columns[f"{field.name}:weight"] = [w[i != PADDING].tolist() for w, i in zip(weights, ids, strict=True)]
    for field in schema.number_fields:
        facts = store.manifest["fields"][field.name]
        spread = np.where(np.array(facts["deviation"]) > 0, facts["deviation"], 1)
        numbers = batch.numbers[:, list(schema.number_columns[field.name])].numpy() * spread + facts["mean"]
        columns[field.name] = numbers.tolist() if field.width > 1 else numbers[:, 0].tolist()
    assert batch.labels is not None
    for number, task in enumerate(schema.tasks):
        columns[task.label] = batch.labels[:, number].int().tolist()
    for name in ("group", "source", "time"):
        if (extra := getattr(batch, name)) is not None:
            columns[name] = extra.tolist()
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
