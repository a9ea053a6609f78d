"""Self-attention over experts."""

from typing import Literal

import torch
from torch import Tensor, nn

from mtlbench.checks import one_of
from mtlbench.nn.stacked import StackedLinear

Merge = Literal["hadamard", "residual", "replace", "dot"]


class ExpertInteraction(nn.Module):
    """``a_mk = softmax_k <Q y_m, K y_k>``, ``y~_m = sum_k a_mk V y_k`` in each head, the heads concatenated.

    Expert m then outputs, by `merge`: ``hadamard`` y_m * y~_m, ``residual`` relu(y_m + y~_m), ``replace`` y~_m, ``dot``
    y_m times its weight softmax_m <y_m, y~_m> among the experts.

    Shape: ``[E, B, H]`` -> ``[E, B, H]``.

    Args:
        width: H.
        heads: number of heads; each reads all of y and gives H / heads components.
        merge: see above.
        scale: divides scores by the root of a head's width.

    Raises:
        ValueError: the heads do not divide the width; an unknown merge.

    Paper: Wang, Zhang, Wulamu 2021, 3.4, Eqs. 10 and 11, without bias and scale; the number of heads is not stated.
    Departure: "an inner product operation between expert output and the high-order feature" is read as an element-wise
    product, as the paper uses the word in 2.1.2, step 4; ``dot`` is the other reading.
    """

    def __init__(self, width: int, heads: int = 2, merge: Merge = "hadamard", scale: bool = False) -> None:
        super().__init__()
        if heads < 1 or width % heads:
            raise ValueError(
                f"interaction_heads is {heads} for experts of width {width}; allowed: a divisor of the width, "
                "because every head gives an equal part of it"
            )
        one_of("interaction", merge, Merge, also="none")
        self.heads, self.merge = heads, merge
        self.scale = (width // heads) ** -0.5 if scale else 1.0
        self.query_key_value = StackedLinear(3, width, width, bias=False)

    def attend(self, y_EBH: Tensor) -> tuple[Tensor, Tensor]:
        """y~ ``[E, B, H]``, and the attention a of each expert to each, ``[B, heads, E, E]``."""
        experts, rows, width = y_EBH.shape
        query, key, value = (
            self.query_key_value(y_EBH.reshape(1, -1, width))
            .view(3, experts, rows, self.heads, -1)
            .permute(0, 2, 3, 1, 4)
            .unbind(0)
        )
        weight_BHEE = torch.softmax(self.scale * (query @ key.mT), dim=-1).to(value.dtype)
        return (weight_BHEE @ value).permute(2, 0, 1, 3).flatten(2), weight_BHEE

    def forward(self, y_EBH: Tensor) -> Tensor:
        high_EBH, _ = self.attend(y_EBH)
        match self.merge:
            case "residual":
                return torch.relu(y_EBH + high_EBH)
            case "replace":
                return high_EBH
            case "dot":
                return torch.softmax((y_EBH * high_EBH).sum(dim=-1, keepdim=True), dim=0) * y_EBH
            case _:
                return y_EBH * high_EBH
