"""Adaptive information transfer (AIT): attention over the transferred and the task's own representation."""

import torch
from torch import Tensor, nn

from mtlbench.nn.stacked import StackedLinear


class InformationTransfer(nn.Module):
    """``z = sum_u w_u h_1(u)``, ``w = softmax_u(<h_2(u), h_3(u)> / sqrt(H))`` over U tokens of the same row.

    A token's score is the product of its own query and key; it does not use another token's query.

    Shape: ``[U, B, H]`` -> ``[B, H]``.

    Args:
        width: H; h_1, h_2 and h_3 are matrices ``[H, H]`` without bias.

    Paper: Xi et al., AITM, KDD 2021, Eqs. 4 and 5.
    Departure: none.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.value_query_key = StackedLinear(3, width, width, bias=False)

    def forward(self, x_UBH: Tensor) -> Tensor:
        value_UBH, weight_UB1 = self._attend(x_UBH)
        return (weight_UB1 * value_UBH).sum(dim=0)

    def weights(self, x_UBH: Tensor) -> Tensor:
        """w ``[U, B]``."""
        return self._attend(x_UBH)[1].squeeze(-1)

    def _attend(self, x_UBH: Tensor) -> tuple[Tensor, Tensor]:
        value, query, key = self.value_query_key(x_UBH.reshape(1, -1, self.width)).view(3, *x_UBH.shape).unbind(0)
        return value, torch.softmax((query * key).sum(dim=-1, keepdim=True) / self.width**0.5, dim=0)
