"""Cross layers: each multiplies the running representation by the input again (DCN, DCNv2)."""

from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from mtlbench.checks import at_least, one_of
from mtlbench.nn.stacked import StackedLinear

CrossKind = Literal["v2", "v1"]


class CrossLayers(nn.Module):
    """E cross networks side by side.

    ``v2``: ``c' = c_0 * (c W + b) + r c``, W a full matrix (DCNv2). ``v1``: ``c' = c_0 (c . w) + b + r c`` (DCN).
    The residual coefficient r is 1, or a trained number per layer that starts there.

    Shape: ``[E, B, in]`` or ``[1, B, in]`` -> ``[E, B, in]``.

    Args:
        stacks: E.
        width: in.
        depth: number of layers.
        kind: which of the two.
        trained_residual: whether r is trained.
        rank: of ``v2``, W as the product of a matrix ``[in, rank]`` and one ``[rank, in]``; ``None``: a full matrix.

    Raises:
        ValueError: an unknown kind, a negative depth, or a rank that does not fit.

    Paper: Wang et al., ADKDD 2017 (DCN); Wang et al., WWW 2021 (DCNv2). The trained r is DEPHN's "residual link with
    trainable parameters" (III), which gives no equation.
    Departure: none.
    """

    def __init__(
        self,
        stacks: int,
        width: int,
        depth: int,
        kind: CrossKind = "v2",
        trained_residual: bool = False,
        rank: int | None = None,
    ) -> None:
        super().__init__()
        one_of("kind of cross layers", kind, CrossKind)
        at_least("cross_depth", depth, 0)
        if rank is not None:
            if kind != "v2":
                raise ValueError(f"cross_rank is {rank} with cross_kind={kind}; allowed with v2 only, v1 has no matrix")
            check_rank(rank, width)
        self.kind = kind
        # Sizes of the factors of W, in the order in which they are applied; v1 has a vector in place of W.
        sizes = [width, width if kind == "v2" else 1] if rank is None else [width, rank, width]
        self.layers = nn.ModuleList(_product(stacks, sizes) for _ in range(depth))
        self.biases = nn.ParameterList(nn.Parameter(torch.zeros(stacks, width)) for _ in range(depth))
        self.residuals = nn.ParameterList(
            nn.Parameter(torch.ones(stacks)) for _ in range(depth if trained_residual else 0)
        )

    def forward(self, x_EBI: Tensor) -> Tensor:
        c_EBI = x_EBI
        for layer, (linear, bias) in enumerate(zip(self.layers, self.biases, strict=True)):
            kept_EBI = self.residuals[layer][:, None, None] * c_EBI if self.residuals else c_EBI
            product_EBI = linear(c_EBI)
            if self.kind == "v2":
                c_EBI = x_EBI * (product_EBI + bias[:, None]) + kept_EBI
            else:
                c_EBI = x_EBI * product_EBI + bias[:, None] + kept_EBI
        return c_EBI


class CrossMixture(nn.Module):
    """Cross layers whose product is a mixture of E low-rank experts, gated per row.

    ``c' = c_0 * (sum_e g_e(c) tanh(tanh(c V_e) C_e) U_e + b) + c`` with ``g(c) = softmax(c S)``.

    Shape: ``[B, in]`` -> ``[B, in]``.

    Args:
        width: in.
        depth: number of layers.
        rank: of each expert.
        experts: E.

    Raises:
        ValueError: a negative depth, a rank that does not fit, or no experts.

    Paper: Wang et al., WWW 2021 (DCNv2), Eqs. 3 and 4; the gates of a row sum to 1, so b needs no gate.
    Departure: none.
    """

    def __init__(self, width: int, depth: int, rank: int, experts: int) -> None:
        super().__init__()
        at_least("cross_depth", depth, 0)
        at_least("cross_experts", experts, 1, also="null for no mixture")
        check_rank(rank, width)
        self.down, self.core, self.up, self.shares = (
            nn.ModuleList(StackedLinear(*size, bias=False) for _ in range(depth))
            for size in ((experts, width, rank), (experts, rank, rank), (experts, rank, width), (1, width, experts))
        )
        self.biases = nn.ParameterList(nn.Parameter(torch.zeros(width)) for _ in range(depth))

    def forward(self, x_BI: Tensor) -> Tensor:
        c_BI = x_BI
        for down, core, up, shares, bias in zip(self.down, self.core, self.up, self.shares, self.biases, strict=True):
            expert_EBI = up(torch.tanh(core(torch.tanh(down(c_BI[None])))))
            share_BE = torch.softmax(shares(c_BI[None])[0], dim=-1)
            c_BI = x_BI * (torch.einsum("be,ebi->bi", share_BE, expert_EBI) + bias) + c_BI
        return c_BI


def check_rank(rank: int, width: int) -> None:
    """Reject a rank that no matrix of this width has."""
    if not 1 <= rank <= width:
        raise ValueError(f"cross_rank is {rank} at an input width of {width}; allowed: 1 to {width}, or null: no limit")


def _product(stacks: int, sizes: list[int]) -> nn.Module:
    """Linear maps in sequence; a single one is returned as it is."""
    maps = [StackedLinear(stacks, *size, bias=False) for size in pairwise(sizes)]
    return maps[0] if len(maps) == 1 else nn.Sequential(*maps)
