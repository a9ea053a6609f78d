"""Pretrained embedding vectors that replace some rows of an embedding table."""

from collections.abc import Mapping, MutableMapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtlbench.schema import PADDING


class PretrainedVectors(nn.Module):
    """Vectors of some rows of an embedding table, in a separate table: ``W v[id]``, and zero for all other ids.

    That table is frozen, or trained like any embedding. W is the identity where the vectors are as wide as the
    embeddings, and otherwise a trained matrix.

    Shape: ids of any shape ``[...]`` -> ``[..., D]``.

    Args:
        rows: int64 ``[V]``, the rows of the embedding table that they replace.
        vectors: ``[V, P]``.
        table_rows: number of rows of the embedding table.
        width: D.
        frozen: whether the vectors are not trained; W always is.

    Attributes:
        sparse: whether the gradient holds only the rows of the batch; set by whoever builds its optimizer.

    *Departure*: FuxiCTR (``pretrained_emb``, ``freeze_emb``) has a table and a matrix for each field; here the rows of
    the one table of all fields that have no vector stay in use.
    """

    rows_of_table: Tensor
    _place: Tensor

    def __init__(self, rows: Tensor, vectors: Tensor, table_rows: int, width: int, *, frozen: bool) -> None:
        super().__init__()
        self.sparse = False
        padding = vectors.new_zeros(PADDING + 1, vectors.shape[1])
        self.embedding = nn.Parameter(torch.cat([padding, vectors]), requires_grad=not frozen)
        self.projection = None if vectors.shape[1] == width else nn.Linear(vectors.shape[1], width, bias=False)
        self.register_buffer("rows_of_table", rows)
        place = torch.full((table_rows,), PADDING, dtype=torch.int32)
        place[rows] = torch.arange(PADDING + 1, PADDING + 1 + len(rows), dtype=torch.int32)
        self.register_buffer("_place", place, persistent=False)

    def places(self, ids: Tensor) -> Tensor:
        """Rows of the table of vectors, `PADDING` for ids without a vector."""
        return self._place.index_select(0, ids.flatten()).view_as(ids)

    def forward(self, ids: Tensor) -> Tensor:
        return self._projected(F.embedding(self.places(ids), self.embedding, padding_idx=PADDING, sparse=self.sparse))

    def pool(self, ids: Tensor, offsets: Tensor, shares: Tensor) -> Tensor:
        """Weighted sums of bags, as `torch.nn.functional.embedding_bag` gives them; W is linear, so it comes last."""
        return self._projected(
            F.embedding_bag(
                self.places(ids),
                self.embedding,
                offsets,
                mode="sum",
                sparse=self.sparse,
                per_sample_weights=shares,
                padding_idx=PADDING,
            )
        )

    def _projected(self, vectors: Tensor) -> Tensor:
        return vectors if self.projection is None else self.projection(vectors)


def take_vectors(state: MutableMapping[str, Any], table: str, pretrained: str) -> None:
    """Move the vectors in a state into its embedding table, so that a block without vectors can load it.

    Args:
        state: of a block with vectors; becomes that of one without.
        table: name of the embedding table in it.
        pretrained: prefix of the names of `PretrainedVectors`.
    """
    parts: dict[str, dict[str, Tensor]] = {}
    for name in [name for name in state if name.startswith(pretrained)]:
        number, _, key = name.removeprefix(pretrained).partition(".")
        parts.setdefault(number, {})[key] = state.pop(name)
    if parts:  # a table in bfloat16 would round them
        state[table] = state[table].to(torch.promote_types(state[table].dtype, torch.float32), copy=True)
    for part in parts.values():
        state[table][part["rows_of_table"]] = _effective(part)


def _effective(part: Mapping[str, Tensor]) -> Tensor:
    vectors = part["embedding"][PADDING + 1 :]
    return vectors @ part["projection.weight"].T if "projection.weight" in part else vectors
