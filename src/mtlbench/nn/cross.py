"""Cross interaction: every layer multiplies what came so far by the input again."""

from typing import Literal, get_args

import torch
from torch import Tensor, nn

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

    Raises:
        ValueError: an unknown kind, or a negative depth.

    Paper: Wang et al., ADKDD 2017 (DCN); Wang et al., WWW 2021 (DCNv2). The trained r is DEPHN's "residual link with
    trainable parameters" (III), which gives no equation.
    Departure: none.
    """

    def __init__(
        self, stacks: int, width: int, depth: int, kind: CrossKind = "v2", trained_residual: bool = False
    ) -> None:
        super().__init__()
        if kind not in get_args(CrossKind):
            raise ValueError(f"kind of cross layers is {kind!r}; allowed: {', '.join(get_args(CrossKind))}")
        if depth < 0:
            raise ValueError(f"cross_depth is {depth}; allowed: 0 or more layers")
        self.kind = kind
        outputs = width if kind == "v2" else 1
        self.layers = nn.ModuleList(StackedLinear(stacks, width, outputs, bias=False) for _ in range(depth))
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
