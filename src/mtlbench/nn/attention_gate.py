"""Attention gates: expert weights from a task query and the expert outputs."""

from typing import Literal

import torch
from torch import Tensor, nn

from mtlbench.checks import one_of
from mtlbench.nn.stacked import StackedLinear

Query = Literal["direct", "dense", "dense_tanh", "dense_relu"]
QueryNorm = Literal["softmax", "none", "sigmoid"]
FineReduce = Literal["none", "sum"]


class AttentionGates(nn.Module):
    """``g_t = norm_e(<q_t, y_e>)``, one query q_t for each of T tasks; gates depend only on the expert outputs.

    A fine gate has a query for each task and expert, and weighs every unit separately,
    ``g_te = norm_e(q_te * y_e)``; with ``reduce="sum"`` it sums over units, ``g_te = norm_e(<q_te, y_e>)``.

    Shape: experts ``[E, B, H]`` -> ``[T, B, E]``, of a fine gate without a sum ``[T, B, E, H]``; for `mix`.

    Args:
        gates: T.
        experts: E.
        width: H.
        fine: whether every expert has its own query.
        reduce: ``sum``: a fine gate sums over units.
        query: ``direct``, q is a trained vector; ``dense``, the output of one trained layer on a trained vector, which
            a tanh or ReLU may follow.
        norm: over experts; ``none`` is what the paper says literally, and makes the mixture quadratic in the experts.
        scale: divides scores by sqrt(H).

    Raises:
        ValueError: an unknown option.

    Paper: Wang, Zhang, Wulamu 2021, 3.1 (coarse, Eqs. 6 to 8) and 3.2 (fine).
    Departure: a softmax, which none of the paper's six steps contains, as its Eq. 1 has weights that sum to 1. 3.2
    allows both readings of the fine gate; by the end of 3.1 its weights differ between the units of an expert.
    """

    def __init__(
        self,
        gates: int,
        experts: int,
        width: int,
        *,
        fine: bool = False,
        reduce: FineReduce = "none",
        query: Query = "direct",
        norm: QueryNorm = "softmax",
        scale: bool = False,
    ) -> None:
        super().__init__()
        one_of("gate_query", query, Query)
        one_of("gate_norm", norm, QueryNorm)
        one_of("fine_reduce", reduce, FineReduce)
        self.unit_by_unit = fine and reduce == "none"
        self.norm: QueryNorm = norm
        self.scale = width**-0.5 if scale else 1.0
        self.vectors = nn.Parameter(torch.empty(gates, experts if fine else 1, width).normal_(std=width**-0.5))
        self.dense = None if query == "direct" else StackedLinear(gates, width, width)
        self.activation = {"dense_tanh": torch.tanh, "dense_relu": torch.relu}.get(query, nn.Identity())

    def queries(self) -> Tensor:
        """q ``[T, 1, H]``, of a fine gate ``[T, E, H]``."""
        return self.vectors if self.dense is None else self.activation(self.dense(self.vectors))

    def forward(self, expert_EBH: Tensor) -> Tensor:
        query_TEH = self.scale * self.queries().expand(-1, len(expert_EBH), -1)
        if self.unit_by_unit:
            score_TBE = query_TEH[:, None] * expert_EBH.transpose(0, 1)
        else:
            score_TBE = torch.einsum("teh,ebh->tbe", query_TEH, expert_EBH)
        # In float32 under autocast too: gates are compared with one another, where eight bits are too few.
        score_TBE = score_TBE.to(torch.promote_types(score_TBE.dtype, torch.float32))
        match self.norm:
            case "softmax":
                return torch.softmax(score_TBE, dim=2)
            case "sigmoid":
                return torch.sigmoid(score_TBE)
            case "none":
                return score_TBE
