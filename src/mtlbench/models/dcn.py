"""DCN and DCNv2: a cross network in parallel with, or below, a deep network."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from mtlbench.checks import one_of
from mtlbench.nn.cross import CrossKind, CrossLayers, CrossMixture
from mtlbench.nn.embedding import FieldEmbedding
from mtlbench.nn.stacked import MLP, Towers
from mtlbench.schema import Batch, Schema

Order = Literal["parallel", "stacked"]


class DCN(nn.Module):
    """``s = w . [cross(x), MLP(x)] + b`` in parallel, ``s = w . MLP(cross(x)) + b`` stacked.

    A network with one logit; `mtlbench.models.single_task.SingleTask` makes a model from it.

    Args:
        schema: the fields.
        embedding_width: components of a field embedding.
        layers: widths of the MLP's layers; without any it is the identity.
        cross_kind: ``v2`` multiplies by matrices (DCNv2), ``v1`` by vectors (DCN).
        cross_depth: number of cross layers.
        cross_rank: of v2's matrices; ``None``: full matrices.
        cross_experts: number of low-rank experts mixed in each layer; ``None``: no mixture.
        order: the MLP beside (``parallel``) or on top of (``stacked``) the cross network.
        dropout: after every hidden layer.
        embedding_std: see `FieldEmbedding`.

    Shape: `Batch` of B rows -> logits ``[B]``.

    Raises:
        ValueError: an argument outside its allowed values, or incompatible with another.

    Paper: Wang, Fu, Fu, Wang: Deep & Cross Network for Ad Click Predictions, ADKDD 2017; Wang et al.: DCN V2, WWW 2021.
    Departure: none. Public code adds a linear part, which neither paper has.
    """

    def __init__(
        self,
        schema: Schema,
        *,
        embedding_width: int,
        layers: Sequence[int],
        cross_kind: CrossKind = "v2",
        cross_depth: int = 3,
        cross_rank: int | None = None,
        cross_experts: int | None = None,
        order: Order = "parallel",
        dropout: float = 0.0,
        embedding_std: float | None = None,
    ) -> None:
        super().__init__()
        one_of("order", order, Order)
        if cross_experts is not None and (cross_rank is None or cross_kind != "v2"):
            raise ValueError(
                f"cross_experts is {cross_experts} with cross_kind={cross_kind} and cross_rank={cross_rank}; "
                "allowed with cross_kind=v2 and a rank, because the experts of DCNv2 are low-rank matrices"
            )
        inputs = len(schema.fields) * embedding_width
        self.order: Order = order
        self.fields = FieldEmbedding(schema, embedding_width, embedding_std)
        if cross_experts is not None and cross_rank is not None:
            self.cross: CrossLayers | CrossMixture = CrossMixture(inputs, cross_depth, cross_rank, cross_experts)
        else:
            self.cross = CrossLayers(1, inputs, cross_depth, cross_kind, rank=cross_rank)
        self.deep = MLP(inputs, layers, dropout)
        self.head = Towers(1, self.deep.width + (inputs if order == "parallel" else 0), ())

    def forward(self, batch: Batch) -> Tensor:
        x_BI = self.fields(batch).flatten(1)
        crossed_BI = self.cross(x_BI) if isinstance(self.cross, CrossMixture) else self.cross(x_BI[None])[0]
        last_BI = self.deep(crossed_BI if self.order == "stacked" else x_BI)
        if self.order == "parallel":
            last_BI = torch.cat([crossed_BI, last_BI], dim=-1)
        return self.head(last_BI[None])[:, 0]
