"""Behaviour histories: their entries, and the candidate to compare them with."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from mtlbench.nn.embedding import FieldEmbedding
from mtlbench.schema import PADDING, Batch, Schema


class History(NamedTuple):
    """One history of each row: B rows of at most L entries.

    Attributes:
        entries: ``[B, L, D]``, their embeddings, zero where there is none.
        present: bool ``[B, L]``, which entries exist.
        weights: ``[B, L]``, or ``None`` if the history has none.
        target: ``[B, D]``, embedding of the candidate; of several values their weighted mean.
    """

    entries: Tensor
    present: Tensor
    weights: Tensor | None
    target: Tensor


class FieldsAndHistories(nn.Module):
    """One row for each field that is not a history, and the histories entry by entry, from one table.

    A history is an id field with a target (`Field.target`). An id of a history and that of its target share an
    embedding where their fields share a vocabulary.

    Shape: `Batch` of B rows -> ``[B, F, D]`` as `FieldEmbedding` gives it, and one `History` for each history.

    Args:
        schema: the fields.
        width: D.
        std: see `FieldEmbedding`.

    Attributes:
        histories: the fields that are histories, in the order of the schema.
        rows: the other fields, in the order of F.

    Raises:
        ValueError: no field is a history, or the target of one is a history too.
    """

    def __init__(self, schema: Schema, width: int, std: float | None = None) -> None:
        super().__init__()
        self.histories = tuple(field for field in schema.id_fields if field.target is not None)
        names = [field.name for field in self.histories]
        if not names:
            raise ValueError(
                "attention over histories needs a field with a target, the candidate that its entries are compared "
                f"with; found none among {', '.join(field.name for field in schema.fields)}. Choose data that have "
                "one (dataset=aliccp dataset.fields=din), or another model"
            )
        for field in self.histories:
            if field.target in names:
                raise ValueError(
                    f"history '{field.name}' has the target '{field.target}', which is a history too; allowed: "
                    "an id field of the candidate"
                )
        self.rows = tuple(field for field in schema.fields if field.name not in names)
        self.fields = FieldEmbedding(schema, width, std, without=names)
        self._slots = [schema.slots[name] for name in names]
        self._weights = [schema.weight_columns.get(name) for name in names]
        positions = {field.name: position for position, field in enumerate(self.rows)}
        self._targets = [positions[field.target] for field in self.histories if field.target]

    # Only one break in a compiled graph, as with `FieldEmbedding`, if a model calls it in its own forward.
    @torch.compiler.disable
    def forward(self, batch: Batch) -> tuple[Tensor, list[History]]:  # pyright: ignore[reportIncompatibleMethodOverride]
        x_BFD = self.fields(batch)
        found: list[History] = []
        for field, slots, columns, target in zip(
            self.histories, self._slots, self._weights, self._targets, strict=True
        ):
            weights_BL = None
            if columns is not None:
                assert batch.weights is not None, "a schema with weighted fields came with a batch without weights"
                weights_BL = batch.weights[:, columns.start : columns.stop]
            present_BL = batch.ids[:, slots.start : slots.stop] != PADDING
            found.append(History(self.fields.entries(batch, field.name), present_BL, weights_BL, x_BFD[:, target]))
        return x_BFD, found
