"""Feature adaptation (Ada) of DCRNN: turns one input into a sequence whose positions differ by trained parameters."""

from typing import Literal

import torch
from torch import Tensor, nn

from mtlbench.checks import one_of

AdaptiveOperation = Literal["add", "concat"]
AdaptiveUnit = Literal["vector", "scalar"]


class FeatureAdaptation(nn.Module):
    """The trained A_p of ``X_p = x (+) A_p``, p = 0 ... S - 1.

    Shape: () -> ``[S, width]``, to be added to x, which is padded with zeros where it is narrower.

    Args:
        positions: S.
        inputs: width of x.
        operation: ``add`` A_p, or join it to x (``concat``).
        unit: A_p is a ``vector`` as wide as x, or one number (``scalar``).
        raw_first: whether A_0 is zero: position 0 holds x as it is.

    Attributes:
        width: of a position.

    Raises:
        ValueError: an unknown option, or no position that is adapted.

    Paper: Zhou, Yu: DCRNN, Algorithm 2.
    Departure: (+) is read as the "simple addition" of the text. The shape of A_p is not stated: a vector as wide as x,
    not one number (``unit``). Initial values, normal with standard deviation 0.01, are our choice. Algorithm 2 adapts
    X_0 too, Eq. 7 does not: raw_first.
    """

    def __init__(
        self,
        positions: int,
        inputs: int,
        operation: AdaptiveOperation = "add",
        unit: AdaptiveUnit = "vector",
        raw_first: bool = False,
    ) -> None:
        super().__init__()
        one_of("adaptive", operation, AdaptiveOperation, also="none")
        one_of("adaptive_unit", unit, AdaptiveUnit)
        if positions <= raw_first:
            raise ValueError("raw_first is true with one position in all, so none is adapted; allowed: adaptive=none")
        size = inputs if unit == "vector" else 1
        self.raw_first, self.joined, self.inputs = raw_first, operation == "concat", inputs
        self.width = inputs + size if self.joined else inputs
        self.shifts = nn.Parameter(torch.empty(positions - raw_first, size).normal_(std=0.01))

    def values(self) -> Tensor:
        """A, ``[S, inputs]`` or ``[S, 1]``."""
        return nn.functional.pad(self.shifts, (0, 0, int(self.raw_first), 0))

    def forward(self) -> Tensor:
        if self.joined:
            return nn.functional.pad(self.values(), (self.inputs, 0))
        return self.values().expand(-1, self.inputs)
