"""Sluice layers: subspace mixing across tasks, and layer mixing for the output."""

from collections.abc import Sequence
from itertools import combinations

import torch
from torch import Tensor, nn

from mtlbench.checks import at_least, in_range
from mtlbench.nn.stacked import StackedLinear
from mtlbench.nn.stitch import Stitch


class SluiceMLP(nn.Module):
    """One MLP per task, of L layers of one width H; each layer is split into G subspaces.

    After each layer's activation all T * G subspaces are mixed by a trained matrix alpha; the output is
    ``sum_l beta_tl h_tl``. With one subspace, and beta only on the last layer, these are cross-stitch networks.

    Shape: ``[T, B, in]`` or ``[1, B, in]`` -> ``[T, B, H]``.

    Args:
        tasks: T.
        inputs: width of the input.
        layers: H, L times.
        subspaces: G.
        own_start: initial weight of each subspace on itself; the rest is divided equally; ``None``: all are equal.
        last_start: initial weight of the last layer in the output; the rest as above.
        dropout: probability that a unit is left out in training.
        orthogonality_weight: of the penalty on subspaces that are not orthogonal.

    Raises:
        ValueError: no layers, unequal widths, subspaces that do not divide them, a weight or probability out of range.

    Paper: Ruder, Bingel, Augenstein, Sogaard: Latent Multi-Task Architecture Learning, AAAI 2019.
    Departure: MLPs in place of recurrent networks.
    """

    def __init__(
        self,
        tasks: int,
        inputs: int,
        layers: Sequence[int],
        *,
        subspaces: int = 2,
        own_start: float | None = 0.9,
        last_start: float | None = 0.9,
        dropout: float = 0.0,
        orthogonality_weight: float = 0.01,
    ) -> None:
        super().__init__()
        if not layers or len(set(layers)) > 1:
            raise ValueError(f"layers are {list(layers)}; allowed: one or more of equal width, as they are added up")
        width = layers[0]
        if subspaces < 1 or width % subspaces:
            raise ValueError(f"subspaces is {subspaces}; allowed: a divisor of the width of layers, {width}")
        in_range("last_start", last_start, ge=0, le=1, also="null for equal shares")
        in_range("own_start", own_start, ge=0, le=1, also="null for equal shares")
        in_range("dropout", dropout, ge=0, lt=1)
        at_least("orthogonality_weight", orthogonality_weight, 0)
        self.tasks, self.subspaces, self.width = tasks, subspaces, width
        self.orthogonality_weight = orthogonality_weight
        parts = tasks * subspaces
        own = 1 / parts if own_start is None else own_start
        self.layers = nn.ModuleList(
            StackedLinear(tasks, width if layer else inputs, width) for layer in range(len(layers))
        )
        self.stitches = nn.ModuleList(Stitch(parts, width // subspaces, "scalar", own) for _ in layers)
        depth = len(layers)
        last = 1 / depth if last_start is None or depth == 1 else last_start
        self.shares = nn.Parameter(torch.full((tasks, depth), (1 - last) / max(1, depth - 1)))
        self.shares.data[:, -1] = last
        self.dropout = nn.Dropout(dropout)

    def forward(self, x_TBI: Tensor) -> Tensor:
        outputs: list[Tensor] = []
        for linear, stitch in zip(self.layers, self.stitches, strict=True):
            h_TBGK = torch.relu(linear(x_TBI)).unflatten(2, (self.subspaces, -1))
            mixed_SBK = stitch(h_TBGK.transpose(1, 2).flatten(0, 1))
            x_TBI = self.dropout(mixed_SBK.unflatten(0, (self.tasks, -1)).transpose(1, 2).flatten(2))
            outputs.append(x_TBI)
        return torch.einsum("tl,ltbh->tbh", self.shares, torch.stack(outputs))

    def penalty(self) -> Tensor:
        """``weight * sum ||W_g^T W_g'||^2`` over tasks, layers and pairs of subspaces g < g' of a layer's weights."""
        total = self.shares.new_zeros(())
        for layer in self.layers:
            assert isinstance(layer, StackedLinear)
            for one, other in combinations(layer.weight.chunk(self.subspaces, dim=2), 2):
                total = total + torch.bmm(one.mT, other).square().sum()
        return self.orthogonality_weight * total
