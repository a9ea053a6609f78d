"""Reconstructs raw example rows from a store: ids to values, numbers to units, dimension tables joined."""

from collections.abc import Iterator
from itertools import count

import numpy as np
import pyarrow as pa
import torch

from mtlbench.data.numbers import in_units
from mtlbench.data.store import Store
from mtlbench.data.vocabulary import UNKNOWN, Vocabulary
from mtlbench.export.inputs import Inputs
from mtlbench.ingest.protocol import WEIGHT_SUFFIX
from mtlbench.schema import PADDING, Field


def raw_rows(store: Store, inputs: Inputs, split: str, rows: int) -> pa.Table:
    """The first rows of a split in raw values, as far as they can be reconstructed from the store.

    A rare or new value cannot be reconstructed and is replaced by a placeholder, -1 or ``?``, which is not in the
    vocabulary either. Numbers have float32 precision; a missing number is the mean, as it was stored.
    """
    first_rows = store.split(split).first(rows)
    batch = first_rows.gather(torch.arange(len(first_rows)))
    columns: dict[str, pa.Array] = {}
    schema = store.schema
    for field in schema.id_fields:
        ids_BS = batch.ids[:, list(schema.slots[field.name])].numpy()
        values = _values(ids_BS, schema.offsets[field.name], inputs.vocabularies[field.vocabulary_name])
        columns[field.name] = _lists(values, ids_BS != PADDING) if field.width > 1 else values
        if field.weighted:
            assert batch.weights is not None
            weights_BS = batch.weights[:, list(schema.weight_columns[field.name])].numpy()
            columns[field.name + WEIGHT_SUFFIX] = _lists(pa.array(weights_BS.ravel()), ids_BS != PADDING)
    for field in schema.number_fields:
        numbers_BN = batch.numbers[:, list(schema.number_columns[field.name])].numpy()
        columns[field.name] = _numbers(numbers_BN, inputs, field)
    return pa.table({column.name: columns[column.name] for column in inputs.columns})


def _values(ids_BS: np.ndarray, offset: int, vocabulary: Vocabulary) -> pa.Array:
    """The values of ids; values of padding are arbitrary."""
    index = np.where(ids_BS == PADDING, UNKNOWN, ids_BS - offset).ravel().astype(np.int32)
    candidates = (pa.array([value], vocabulary.values.type) for value in _stand_ins(vocabulary))
    stand_in = next(value for value in candidates if vocabulary.encode(value)[0] == UNKNOWN)
    values = pa.concat_arrays([stand_in, vocabulary.values])
    return values.take(pa.array(index))  # UNKNOWN is 0; the value at position p has index p + 1


def _stand_ins(vocabulary: Vocabulary) -> Iterator[int | str]:
    if pa.types.is_integer(vocabulary.values.type):
        return count(-1, -1)
    return ("?" * length for length in count(1))


def _lists(values: pa.Array, there_BS: np.ndarray) -> pa.Array:
    offsets = np.concatenate([[0], np.cumsum(there_BS.sum(axis=1))]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), values.filter(pa.array(there_BS.ravel())))


def _numbers(numbers_BN: np.ndarray, inputs: Inputs, field: Field) -> pa.Array:
    values_BN = in_units(field, inputs.scales[field.name], numbers_BN)
    if field.width == 1:
        return pa.array(values_BN[:, 0])
    return pa.FixedSizeListArray.from_arrays(pa.array(values_BN.ravel()), field.width).cast(pa.list_(pa.float64()))
