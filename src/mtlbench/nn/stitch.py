"""Cross-stitch units: linear mixing of the hidden layers of several networks."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from mtlbench.checks import in_range, not_empty, one_of
from mtlbench.nn.stacked import StackedLinear

StitchUnit = Literal["scalar", "channel"]


class Stitch(nn.Module):
    """``h~_t = sum_t' a_tt' h_t'`` with a trained matrix a, ``[T, T]``, or one for each component, ``[T, T, H]``.

    Shape: ``[T, B, H]`` -> ``[T, B, H]``.

    Args:
        tasks: T.
        width: H.
        unit: ``scalar`` or ``channel``.
        start: initial a_tt; the rest of 1 is divided equally among the other tasks.

    Raises:
        ValueError: an unknown unit, or a start outside [0, 1].

    Paper: Misra, Shrivastava, Gupta, Hebert: Cross-stitch Networks for Multi-task Learning, CVPR 2016.
    Departure: none.
    """

    def __init__(self, tasks: int, width: int, unit: StitchUnit = "scalar", start: float = 0.9) -> None:
        super().__init__()
        one_of("stitch_unit", unit, StitchUnit)
        in_range("stitch_start", start, ge=0, le=1)
        identity = torch.eye(tasks)
        others = (1 - start) / max(1, tasks - 1)
        a_TT1 = (torch.where(identity > 0, start if tasks > 1 else 1.0, others))[..., None]
        self.weight = nn.Parameter(a_TT1.repeat(1, 1, width if unit == "channel" else 1))

    def forward(self, x_TBH: Tensor) -> Tensor:
        if self.weight.shape[-1] == 1:
            return torch.einsum("st,tbh->sbh", self.weight[..., 0], x_TBH)
        return torch.einsum("sth,tbh->sbh", self.weight, x_TBH)


def stitch_weights(stitches: nn.ModuleList) -> Tensor:
    """Weights of each part (second axis) on each (third) after every layer, averaged over channels: ``[L, T, T]``."""
    return torch.stack([stitch.weight.mean(dim=-1) for stitch in stitches if isinstance(stitch, Stitch)])


class StitchedMLP(nn.Module):
    """One MLP per task; after each layer's activation the tasks are stitched, followed by dropout.

    Shape: ``[T, B, in]`` or ``[1, B, in]`` -> ``[T, B, layers[-1]]``.

    Args:
        tasks: T.
        inputs: width of the input.
        layers: width of each layer.
        unit, start: see `Stitch`.
        dropout: probability that a unit is left out in training.

    Raises:
        ValueError: no layers, a dropout outside [0, 1), what `Stitch` rejects.
    """

    def __init__(
        self,
        tasks: int,
        inputs: int,
        layers: Sequence[int],
        unit: StitchUnit = "scalar",
        start: float = 0.9,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        not_empty("layers", layers, "widths, because layers are stitched")
        in_range("dropout", dropout, ge=0, lt=1)
        self.width = layers[-1]
        widths = [inputs, *layers]
        self.layers = nn.ModuleList(StackedLinear(tasks, *pair) for pair in zip(widths, layers, strict=False))
        self.stitches = nn.ModuleList(Stitch(tasks, width, unit, start) for width in layers)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x_TBI: Tensor) -> Tensor:
        for linear, stitch in zip(self.layers, self.stitches, strict=True):
            x_TBI = self.dropout(stitch(torch.relu(linear(x_TBI))))
        return x_TBI
