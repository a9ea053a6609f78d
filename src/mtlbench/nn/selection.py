"""Soft selection gating (SSG): mixes raw and attended field vectors by trained shares, the same for every row."""

from typing import Literal

import torch
from torch import Tensor, nn

from mtlbench.checks import in_range, one_of

Squash = Literal["none", "sigmoid"]


class SoftSelection(nn.Module):
    """``z_n = G_n * attended + (1 - G_n) * raw`` with a trainable vector G_n for each of N readers (Eq. 1).

    Shape: raw ``[B, F, D]``, attended ``[B, F, D]`` -> ``[N, B, F * D]``.

    Args:
        readers: N.
        width: F * D, components of G_n.
        squash: ``sigmoid`` keeps the effective G within (0, 1); ``none`` leaves it free.
        start: initial value of the effective G.

    Raises:
        ValueError: an unknown squash, or a start that a sigmoid cannot produce.

    Paper: DEPHN Eq. 1, which calls G a trainable vector and gives neither range nor initial value.
    Departure: none.
    """

    def __init__(self, readers: int, width: int, squash: Squash = "none", start: float = 0.5) -> None:
        super().__init__()
        one_of("selection_squash", squash, Squash)
        if squash == "sigmoid":
            in_range("selection_start", start, gt=0, lt=1)
        self.squash = squash
        value = torch.tensor(start).logit() if squash == "sigmoid" else torch.tensor(start)
        self.weight = nn.Parameter(value.expand(readers, width).clone())

    @property
    def share(self) -> Tensor:
        """The effective G ``[N, F * D]``: the share of the attended fields."""
        return self.weight.sigmoid() if self.squash == "sigmoid" else self.weight

    def forward(self, x_BFD: Tensor, attended_BFD: Tensor) -> Tensor:
        attended_BFD = attended_BFD.to(x_BFD.dtype)  # bfloat16 under autocast; lerp takes one type
        return torch.lerp(x_BFD.flatten(1)[None], attended_BFD.flatten(1)[None], self.share[:, None])
