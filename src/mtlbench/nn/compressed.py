"""Compressed interaction network (CIN) of xDeepFM."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mtlbench.nn.activations import Activation, activation_of


class CompressedInteraction(nn.Module):
    """``X_l = phi(W_l (X_l-1 x X_0))``: each map is a weighted sum of products of a map below and a field.

    ``X_l,h = phi(sum_ij W_l,hij X_l-1,i * X_0,j)``, element-wise, X_0 the fields. Each map is summed over its
    components.

    Shape: ``[B, F, D]`` -> ``[B, pooled]``.

    Args:
        fields: F.
        layers: number of maps of each layer.
        split_half: in every layer but the last, pass on only the first half of the maps and pool only the second half;
            otherwise all are passed on and pooled.
        activation: phi.

    Attributes:
        width: pooled, the number of maps that are pooled.

    Raises:
        ValueError: no layers, a layer without maps, or maps that cannot be split in half.

    Paper: Lian et al.: xDeepFM, KDD 2018, Eqs. 6 to 8. ``split_half`` is in the authors' code, not in the paper.
    Departure: none.
    """

    def __init__(
        self, fields: int, layers: Sequence[int], split_half: bool = False, activation: Activation = "none"
    ) -> None:
        super().__init__()
        if not layers or any(maps < 1 for maps in layers):
            raise ValueError(f"interaction_layers is {list(layers)}; allowed: one or more numbers, 1 or more maps each")
        if split_half and any(maps % 2 for maps in layers[:-1]):
            raise ValueError(
                f"interaction_layers is {list(layers)} with split_half=true; allowed: even numbers of maps in all "
                "layers but the last"
            )
        passed = [maps // 2 if split_half else maps for maps in layers[:-1]]
        self.passed, self.pooled = [*passed, 0], [*passed, layers[-1]]
        self.width = sum(self.pooled)
        self.weights = nn.ParameterList(
            nn.init.xavier_uniform_(torch.empty(maps, below * fields))
            for maps, below in zip(layers, [fields, *passed], strict=True)
        )
        self.linear = activation == "none"
        self.activation = activation_of(activation)

    def forward(self, x_BFD: Tensor) -> Tensor:
        x_BDF = x_BFD.mT.contiguous()
        below_BDH, sums = x_BDF, []
        for weight_MP, passed, pooled in zip(self.weights, self.passed, self.pooled, strict=True):
            if not self.linear:
                maps_BDM = self.activation(_compressed(below_BDH, x_BDF, weight_MP))
                below_BDH = maps_BDM[..., :passed]
                sums.append(maps_BDM[..., -pooled:].sum(dim=1))
                continue
            # All is linear in the products, so components are summed first and weighted afterwards: maps that are
            # not passed on are never computed. A layer of 100 maps over 100 maps, 38 fields and 16 components takes
            # 1/25 of the time.
            product_BHF = below_BDH.mT @ x_BDF
            sums.append(product_BHF.flatten(1) @ weight_MP[-pooled:].mT)
            if passed:
                below_BDH = _compressed(below_BDH, x_BDF, weight_MP[:passed])
        return torch.cat(sums, dim=1)


def _compressed(below_BDH: Tensor, x_BDF: Tensor, weight_MP: Tensor) -> Tensor:
    """Maps ``[B, D, M]``: components come before fields, so that one matrix product serves all rows."""
    product_BDP = (below_BDH[..., None] * x_BDF[:, :, None]).flatten(2)
    return product_BDP @ weight_MP.mT
