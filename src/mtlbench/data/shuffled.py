"""A split with one field permuted among rows, for permutation importance."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mtlbench.data.loader import Rows
from mtlbench.schema import Batch, Field


@dataclass(frozen=True, kw_only=True, slots=True)
class ShuffledRows:
    """M rows of a split with the values of one field taken from other rows; the entries of a list stay together.

    Nothing is copied or written; instead, a batch is gathered twice. A field of a dimension table is permuted among the
    rows of the split, not among those of its table.

    Attributes:
        rows: the split.
        sample: int64 ``[M]``, numbers of the rows.
        field: the permuted field; ``None`` for none.
        donor: int64 ``[M]``, numbers of the rows that provide the field's values.
    """

    rows: Rows
    sample: Tensor
    field: Field | None = None
    donor: Tensor

    def __len__(self) -> int:
        return len(self.sample)

    @property
    def device(self) -> torch.device:
        return self.rows.device

    def gather(self, index: Tensor) -> Batch:
        """The batch at the given positions in the sample; see `Rows.gather`."""
        batch = self.rows.gather(self.sample[index])
        if self.field is None:
            return batch
        schema, name, other = self.rows.schema, self.field.name, self.rows.gather(self.donor[index])
        if self.field.kind == "number":
            return replace(batch, numbers=_taken(batch.numbers, other.numbers, schema.number_columns[name]))
        batch = replace(batch, ids=_taken(batch.ids, other.ids, schema.slots[name]))
        if not self.field.weighted or batch.weights is None or other.weights is None:
            return batch
        return replace(batch, weights=_taken(batch.weights, other.weights, schema.weight_columns[name]))


def _taken(own: Tensor, other: Tensor, columns: range) -> Tensor:
    """A matrix with some columns replaced by those of another one."""
    mixed = own.clone()
    mixed[:, columns.start : columns.stop] = other[:, columns.start : columns.stop]
    return mixed
