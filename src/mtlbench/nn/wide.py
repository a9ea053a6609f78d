"""Linear (wide) part: weights of ids and of pairs of ids."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtlbench.checks import at_least
from mtlbench.distributed.sharded import held_rows
from mtlbench.nn.bf16_tables import lookup_table
from mtlbench.nn.embedding import FieldEmbedding
from mtlbench.schema import PADDING, Batch, Schema


class FirstOrder(nn.Module):
    """``sum_f a_f``: one weight per id, pooled over a bag as its embeddings are, and one per component of a number.

    The weights of all ids are a table of width 1; it is named like an embedding, so that it is optimized as one.

    Shape: `Batch` of B rows -> ``[B]``.

    Departure: all weights start at 0 (no paper says how); unlike units of a layer they do not stay equal.
    """

    def __init__(self, schema: Schema) -> None:
        super().__init__()
        self.fields = FieldEmbedding(schema, 1)
        for weight in self.fields.parameters():
            nn.init.zeros_(weight)

    def forward(self, batch: Batch) -> Tensor:
        return self.fields(batch).sum(dim=(1, 2))


class CrossedFields(nn.Module):
    """``sum_(f,g) c_fg[id_f, id_g]`` over chosen pairs of single-valued id fields: one weight per pair of ids.

    A pair of fields has a row for each pair of ids, but at most `buckets`, which pairs of ids then share (the number of
    the pair, modulo `buckets`). A pair with an absent id adds nothing. Weights start at 0.

    Shape: `Batch` of B rows -> ``[B]``.

    Args:
        schema: the fields.
        pairs: names of two fields each.
        buckets: largest number of rows for a pair of fields.

    Attributes:
        sparse: whether the table's gradient holds only the rows of the batch; set by whoever builds its optimizer.
        held: the rows of the table that are in this process, see `mtlbench.distributed.sharded`.

    Raises:
        ValueError: a pair is not two different single-valued id fields, or occurs twice; no buckets.

    Paper: the cross-product transformation of Cheng et al., Wide & Deep, DLRS 2016, Eq. 1.
    Departure: pairs share rows where there are more of them than `buckets`; the paper does not say how it bounds them.
    """

    _slots: Tensor
    _first: Tensor
    _columns: Tensor
    _rows: Tensor
    _starts: Tensor

    def __init__(self, schema: Schema, pairs: Sequence[Sequence[str]], buckets: int) -> None:
        super().__init__()
        at_least("cross_buckets", buckets, 1)
        fields = {field.name: field for field in schema.id_fields if field.width == 1}
        for pair in pairs:
            if len(pair) != 2 or len(set(pair)) != 2 or not set(pair) <= set(fields):
                raise ValueError(
                    f"crosses has {list(pair)}; allowed: two different single-valued id fields, of {sorted(fields)}"
                )
        if len({frozenset(pair) for pair in pairs}) < len(pairs):
            raise ValueError(f"crosses has a pair of fields twice: {[list(pair) for pair in pairs]}")
        sizes = [(fields[f].cardinality, fields[g].cardinality) for f, g in pairs]
        rows = [min(f * g, buckets) for f, g in sizes]
        self.sparse = False
        self.held = held_rows(PADDING + 1 + sum(rows))
        self.embedding = nn.Parameter(torch.zeros(len(self.held), 1))
        self._register("_slots", [[schema.slots[name].start for name in pair] for pair in pairs])
        self._register("_first", [[schema.offsets[name] for name in pair] for pair in pairs])
        self._register("_columns", [columns for _, columns in sizes])
        self._register("_rows", rows)
        self._register("_starts", [PADDING + 1 + sum(rows[:position]) for position in range(len(rows))])

    def _register(self, name: str, numbers: list[int] | list[list[int]]) -> None:
        self.register_buffer(name, torch.tensor(numbers, dtype=torch.int64), persistent=False)

    def rows(self, batch: Batch) -> Tensor:
        """Rows ``[B, P]`` of the table that a batch reads, including padding."""
        ids_BP2 = batch.ids[:, self._slots]
        place_BP2 = ids_BP2 - self._first
        pair_BP = (place_BP2[..., 0] * self._columns + place_BP2[..., 1]) % self._rows + self._starts
        return torch.where((ids_BP2 == PADDING).any(dim=-1), PADDING, pair_BP)

    # As in `FieldEmbedding`: sparse gradients inside a compiled graph fail in inductor.
    @torch.compiler.disable
    def forward(self, batch: Batch) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        ids_BP, table, sparse = lookup_table(self.rows(batch), self.embedding, self.held, sparse=self.sparse)
        return F.embedding(ids_BP, table, padding_idx=PADDING, sparse=sparse).sum(dim=(1, 2))
