"""Embedding layer: ids and numbers to one D-dimensional vector per field."""

from collections.abc import Collection
from itertools import accumulate
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtlbench.checks import at_least, in_range
from mtlbench.distributed.sharded import drawn, held_rows
from mtlbench.nn.bf16_tables import lookup_table
from mtlbench.nn.pretrained import PretrainedVectors, take_vectors
from mtlbench.schema import PADDING, Batch, Schema

NO_WEIGHT = 1e-12
"""A bag whose weights sum to less than this pools to zeros: nothing in it counts."""


class FieldEmbedding(nn.Module):
    """One row per field: ``e[id]`` of a single id, ``sum_i w_i e[id_i] / sum_i w_i`` of a bag, ``n V`` of numbers.

    All ids of all fields live in one table. Single ids are one gather; all bags together are one pooled gather,
    which never creates ``[B, S, D]``; all numbers are one product with a block-diagonal matrix. An empty bag is zero,
    and so is padding, which is never trained.

    Name this block `fields` in a model: its table is then the only parameter with *embedding* in its name.

    Shape: `Batch` of B rows -> ``[B, F, D]``, id fields before number fields, in the order of the schema.

    Args:
        schema: the fields.
        width: D.
        std: standard deviation of normal initial values; ``None`` draws them uniformly from +-1/sqrt(D).
        without: names of id fields to leave out; `entries` looks up their ids.

    Attributes:
        sparse: whether the table's gradient holds only the rows of the batch; set by whoever builds its optimizer.
        held: the rows of the table that are in this process, see `mtlbench.distributed.sharded`.
        pretrained: vectors that replace some rows of the table, see `add_vectors`. A block without any that loads the
            state of a block with some copies them into its table.

    Raises:
        ValueError: the width is below 1, or the standard deviation is not positive.
    """

    _single_slots: Tensor
    _bag_starts: Tensor
    _place: Tensor
    _number_blocks: Tensor
    _elsewhere: Tensor

    def __init__(self, schema: Schema, width: int, std: float | None = None, without: Collection[str] = ()) -> None:
        super().__init__()
        at_least("embedding_width", width, 1)
        in_range("embedding_std", std, gt=0, also="null for uniform initial values")  # at 0, equal rows stay equal
        self.sparse = False
        self.held = held_rows(schema.embedding_rows)
        self.embedding = nn.Parameter(_initial_table(schema, self.held, width, std))
        self.pretrained = nn.ModuleList()
        self._has_numbers = bool(schema.number_fields)
        if self._has_numbers:
            weights = [nn.init.xavier_uniform_(torch.empty(field.width, width)) for field in schema.number_fields]
            self.numbers = nn.Parameter(torch.cat(weights))
            blocks = [torch.ones(field.width, 1) for field in schema.number_fields]
            self.register_buffer("_number_blocks", torch.block_diag(*blocks), persistent=False)

        self._slots = schema.slots
        rows = [field for field in schema.id_fields if field.name not in without]
        singles = [field.name for field in rows if field.width == 1]
        bags = [field.name for field in rows if field.width > 1]
        self._all_are_single = len(singles) == len(schema.fields)
        self._register("_single_slots", [schema.slots[name].start for name in singles])
        self._bags = [schema.slots[name] for name in bags]
        self._register("_bag_starts", [*accumulate(map(len, self._bags[:-1]), initial=0)])
        self._bag_weights = [schema.weight_columns.get(name) for name in bags]
        # Brings the rows back into the schema's order where not all single id fields precede all bags.
        place = [(singles + bags).index(field.name) for field in rows]
        self._ordered = place == sorted(place)
        self._register("_place", place + list(range(len(place), len(place) + len(schema.number_fields))))

    @property
    def width(self) -> int:
        """D."""
        return self.embedding.shape[1]

    def add_vectors(self, rows: Tensor, vectors: Tensor, *, frozen: bool) -> None:
        """Replace some rows of the table, which are not read any more, with pretrained vectors.

        Args:
            rows: int64 ``[V]``, none of which has a vector yet.
            vectors: float32 ``[V, P]``; where P is not D they are projected.
            frozen: see `PretrainedVectors`.
        """
        count = self.held.stop
        if not self.pretrained:
            self.register_buffer("_elsewhere", torch.zeros(count, dtype=torch.bool), persistent=False)
        self._elsewhere[rows] = True
        self.pretrained.append(PretrainedVectors(rows, vectors, count, self.width, frozen=frozen))

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        if not self.pretrained:
            take_vectors(state_dict, f"{prefix}embedding", f"{prefix}pretrained.")
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def _register(self, name: str, positions: list[int]) -> None:
        self.register_buffer(name, torch.tensor(positions, dtype=torch.int64), persistent=False)

    # Sparse gradients inside a compiled graph fail in inductor; everything behind this block compiles.
    @torch.compiler.disable
    def forward(self, batch: Batch) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        if self._all_are_single:
            return self._gather(batch.ids)
        parts = [self._gather(batch.ids[:, self._single_slots])]
        if self._bags:
            parts.append(self._pool(batch))
        if self._has_numbers:
            parts.append(self._project(batch.numbers))
        x_BFD = torch.cat(parts, dim=1)
        return x_BFD if self._ordered else x_BFD.index_select(1, self._place)

    def rows(self, batch: Batch) -> Tensor:
        """Rows of the table that a batch reads, including padding."""
        return self._own(batch.ids)

    def _own(self, ids: Tensor) -> Tensor:
        """Rows of the table for ids: padding for those that have a pretrained vector."""
        if not self.pretrained:
            return ids
        return ids.masked_fill(self._elsewhere.index_select(0, ids.flatten()).view_as(ids), PADDING)

    def entries(self, batch: Batch, name: str) -> Tensor:
        """The embeddings ``[B, S, D]`` of all S ids of one field, zero for padding."""
        slots = self._slots[name]
        return self._gather(batch.ids[:, slots.start : slots.stop])

    def _gather(self, ids_BS: Tensor) -> Tensor:
        ids, table, sparse = lookup_table(self._own(ids_BS), self.embedding, self.held, sparse=self.sparse)
        x_BSD = F.embedding(ids, table, padding_idx=PADDING, sparse=sparse)
        for vectors in self.pretrained:
            x_BSD = x_BSD + vectors(ids_BS)
        return x_BSD

    def _pool(self, batch: Batch) -> Tensor:
        bags = [batch.ids[:, slots.start : slots.stop] for slots in self._bags]
        dtype = torch.promote_types(self.embedding.dtype, torch.float32)  # of the rows that are looked up
        shares_of_bags = [
            _shares(ids, batch.weights, columns, dtype) for ids, columns in zip(bags, self._bag_weights, strict=True)
        ]
        ids_BS, share_BS = torch.cat(bags, dim=1), torch.cat(shares_of_bags, dim=1)
        if torch.compiler.is_exporting():  # ONNX has no pooled gather
            weighted_BSD = self._gather(ids_BS) * share_BS[:, :, None]
            return torch.stack([bag.sum(dim=1) for bag in weighted_BSD.split([*map(len, self._bags)], dim=1)], dim=1)
        rows, slots = ids_BS.shape
        offsets = torch.arange(rows, device=ids_BS.device)[:, None] * slots + self._bag_starts
        ids, shares, starts = ids_BS.flatten(), share_BS.flatten(), offsets.flatten().to(ids_BS.dtype)
        own, table, sparse = lookup_table(self._own(ids), self.embedding, self.held, sparse=self.sparse)
        pooled = F.embedding_bag(
            own, table, starts, mode="sum", sparse=sparse, per_sample_weights=shares, padding_idx=PADDING
        )
        for vectors in self.pretrained:
            assert isinstance(vectors, PretrainedVectors)
            pooled = pooled + vectors.pool(ids, starts, shares)
        return pooled.view(rows, len(bags), -1)

    def _project(self, numbers_BN: Tensor) -> Tensor:
        weight_NFD = self._number_blocks[:, :, None] * self.numbers[:, None]
        return (numbers_BN.to(weight_NFD.dtype) @ weight_NFD.flatten(1)).unflatten(1, weight_NFD.shape[1:])


def _initial_table(schema: Schema, held: range, width: int, std: float | None) -> Tensor:
    if std is None:
        table = drawn(held, width, lambda rows: rows.uniform_(-(width**-0.5), width**-0.5))
    else:
        table = drawn(held, width, lambda rows: rows.normal_(std=std))
    table[[held.index(row) for row in (PADDING, *schema.unknown_rows) if row in held]] = 0
    return table


def _shares(ids_BS: Tensor, weights_BW: Tensor | None, columns: range | None, dtype: torch.dtype) -> Tensor:
    """Weight of each id within its bag: equal, or as given; padding has weight 0 and the others sum to 1."""
    weight_BS = (ids_BS != PADDING).to(dtype)
    if columns is not None:
        assert weights_BW is not None, "a schema with weighted fields came with a batch without weights"
        weight_BS = weight_BS * weights_BW[:, columns.start : columns.stop]
    return weight_BS / weight_BS.sum(dim=1, keepdim=True).clamp_min(NO_WEIGHT)
