"""Field-aware interaction (FINT): element-wise products of field vectors."""

from typing import Literal

import torch
from torch import Tensor, nn

from mtlbench.checks import at_least, one_of

ResidualStart = Literal["ones", "glorot"]


class FieldLayers(nn.Module):
    """E field-interaction networks side by side, ``V' = V * (W V_0) + u V`` with W ``[F, F]`` and u ``[F]``.

    W mixes fields, never components: ``(W V_0)_i = sum_j W_ij V_0j``. The residual u is trained and starts at 1: with
    small weights a network begins near the identity. Without training it stays 1.

    Shape: ``[E, B, F, D]`` or ``[1, B, F, D]`` -> ``[E, B, F, D]``.

    Args:
        stacks: E.
        fields: F.
        depth: number of layers.
        trained_residual: whether u is trained.
        residual_start: initial values of u: ``ones``, or ``glorot``, drawn with W as one matrix ``[F, F + 1]``.

    Raises:
        ValueError: a negative depth, an unknown start, or a drawn residual that is not trained.

    Paper: Zhao, Yang, Liu, Feng, Xu: FINT, arXiv 2107.01999.
    Departure: u starts at 1 by default; the authors' code draws it together with W.
    """

    def __init__(
        self,
        stacks: int,
        fields: int,
        depth: int,
        trained_residual: bool = True,
        residual_start: ResidualStart = "ones",
    ) -> None:
        super().__init__()
        at_least("field_depth", depth, 0)
        one_of("residual_start", residual_start, ResidualStart)
        drawn = residual_start == "glorot"
        if drawn and not trained_residual:
            raise ValueError("residual_start is 'glorot' for residuals that are not trained; allowed: ones")
        bound = (6 / (fields + fields + drawn)) ** 0.5
        self.weights = nn.ParameterList(
            nn.Parameter(torch.empty(stacks, fields, fields).uniform_(-bound, bound)) for _ in range(depth)
        )
        self.residuals = nn.ParameterList(
            nn.Parameter(torch.empty(stacks, fields).uniform_(-bound, bound) if drawn else torch.ones(stacks, fields))
            for _ in range(depth if trained_residual else 0)
        )

    def forward(self, x_EBFD: Tensor) -> Tensor:
        # V * (W V_0 + u), with fields before rows: a layer is one product over all components of all rows, plus u.
        x_EFBD = x_EBFD.transpose(1, 2)
        x_EFN = x_EFBD.flatten(2)
        v_EFN = x_EFN
        for layer, weight_EFF in enumerate(self.weights):
            residual_EF = self.residuals[layer] if self.residuals else weight_EFF.new_ones(weight_EFF.shape[:2])
            v_EFN = v_EFN * torch.baddbmm(residual_EF[..., None], weight_EFF, x_EFN.expand(len(weight_EFF), -1, -1))
        return v_EFN.unflatten(2, x_EFBD.shape[2:]).transpose(1, 2)
