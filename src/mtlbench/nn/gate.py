"""Softmax gates over experts, per row and task."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from mtlbench.checks import one_of
from mtlbench.nn.stacked import StackedLinear, StackedMLP

GateNorm = Literal["softmax", "none"]


class MappedGates(nn.Module):
    """T gates over E experts, ``g_t(x) = softmax(x W_t)``.

    Shape: ``[B, in]``, or ``[T, B, in]`` where each gate has its own input -> ``[T, B, E]``; with the softmax, the
    entries of a gate are positive and sum to 1.

    Args:
        gates: T.
        inputs: width of x.
        experts: E.
        layers: hidden layers before W_t.
        bias: whether a bias is added to x W_t.
        dropout: probability that an entry is set to 0 in training (the others are scaled up).
        norm: ``softmax``, or ``none`` for the scores as they are.

    Raises:
        ValueError: an unknown norm.

    Paper: Ma et al., MMoE, KDD 2018; Eq. 2 of Wang, Zhang, Wulamu 2021: one matrix, no bias.
    Departure: none by default; layers, bias, dropout and no norm are options.
    """

    def __init__(
        self,
        gates: int,
        inputs: int,
        experts: int,
        *,
        layers: Sequence[int] = (),
        bias: bool = False,
        dropout: float = 0.0,
        norm: GateNorm = "softmax",
    ) -> None:
        super().__init__()
        one_of("gate_norm", norm, GateNorm)
        self.norm = norm
        self.hidden = StackedMLP(gates, inputs, layers)
        self.scores = StackedLinear(gates, self.hidden.width, experts, bias)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x_BI: Tensor) -> Tensor:
        gate_TBE = self.scores(self.hidden(x_BI if x_BI.dim() == 3 else x_BI[None]))
        if self.norm == "softmax":
            # In float32 under autocast too: gates are compared with one another, where eight bits are too few.
            gate_TBE = torch.softmax(gate_TBE, dim=-1, dtype=torch.promote_types(gate_TBE.dtype, torch.float32))
        return self.dropout(gate_TBE)


def mix(gate_TBE: Tensor, expert_EBH: Tensor) -> Tensor:
    """Each task's mixture ``f_t = sum_e g_te f_e``. Shape: ``[T, B, E]``, ``[E, B, H]`` -> ``[T, B, H]``.

    Gates ``[T, B, E, H]`` weigh every unit of an expert separately.
    """
    return torch.einsum("tbe,ebh->tbh" if gate_TBE.dim() == 3 else "tbeh,ebh->tbh", gate_TBE, expert_EBH)
