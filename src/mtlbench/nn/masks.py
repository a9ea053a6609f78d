"""Field masks (FSCM of MSSM): how much of each field a sub-network reads, per row."""

from typing import Literal

import torch
from torch import Tensor, nn

from mtlbench.checks import one_of

MaskKind = Literal["scalar", "element", "scalar_weight"]


class FieldMasks(nn.Module):
    """``w_ij = relu(tanh(<g_ij, e_i>))`` of field i for each of N readers j, which reads ``w_ij e_i``.

    A field whose score is negative is closed: its mask is exactly 0, and so is the mask's gradient from that row.

    Shape: ``[B, F, D]`` -> ``[N, B, F * D]``.

    Args:
        readers: N.
        fields: F.
        width: D.
        kind: ``scalar``, one number per field from an inner product; ``element``, one per component from ``g * e``;
            ``scalar_weight``, the same with one number g for all components.
        bias: initial value of a trained bias of the score, which opens masks at the start; ``None`` for no bias.

    Raises:
        ValueError: an unknown kind.

    Paper: MSSM 2.1, Fig. 3a (one number per field and task).
    Departure: g is drawn from N(0, 1/D), as the paper states nothing; ``<g, e>`` is then around 0, half of all masks
    are exactly 0 at the start and get no gradient from the rows for which they are closed, and the others are small.
    The bias is our addition: at 1 all masks start at about tanh(1) = 0.76.
    """

    def __init__(
        self, readers: int, fields: int, width: int, kind: MaskKind = "scalar", bias: float | None = None
    ) -> None:
        super().__init__()
        one_of("field_masks", kind, MaskKind, also="none")
        self.kind = kind
        components = 1 if kind == "scalar_weight" else width
        self.weight = nn.Parameter(torch.empty(readers, fields, components).normal_(std=width**-0.5))
        self.bias = None if bias is None else nn.Parameter(torch.full((readers, fields, 1), float(bias)))

    def masks(self, x_BFD: Tensor) -> Tensor:
        """w ``[N, B, F, 1]``, or ``[N, B, F, D]`` with one mask per component."""
        if self.kind == "scalar":
            score_NBFD = torch.einsum("nfd,bfd->nbf", self.weight, x_BFD)[..., None]
        else:
            score_NBFD = self.weight[:, None] * x_BFD
        if self.bias is not None:
            score_NBFD = score_NBFD + self.bias[:, None]
        return score_NBFD.tanh().relu()

    def forward(self, x_BFD: Tensor) -> Tensor:
        return (self.masks(x_BFD) * x_BFD).flatten(2)
