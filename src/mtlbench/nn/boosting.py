"""Chained experts: each also receives its predecessor's output."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from mtlbench.checks import one_of
from mtlbench.nn.activations import LayerActivation
from mtlbench.nn.stacked import StackedMLP

Link = Literal["last", "all"]


class BoostingExperts(nn.Module):
    """``y_1 = f_1(x)``, ``y_e = f_e([x ; y_(e-1)])``: more features for the next expert, no residual, no shrinkage.

    Shape: ``[1, B, in]`` -> ``[E, B, layers[-1]]``.

    Args:
        experts: E.
        inputs: width of x.
        layers: widths of each expert's layers.
        link: which earlier outputs an expert reads besides x: the ``last`` one, or ``all``.
        detach: whether an expert gets no gradient from those after it.
        dropout: after every hidden layer.
        activation: after every layer.

    Raises:
        ValueError: an unknown link.

    Paper: Wang, Zhang, Wulamu 2021, 3.3 ("the last layer of the expert hub jointed with the previous extracted
    feature").
    Departure: none.
    """

    def __init__(
        self,
        experts: int,
        inputs: int,
        layers: Sequence[int],
        *,
        link: Link = "last",
        detach: bool = False,
        dropout: float = 0.0,
        activation: LayerActivation = "relu",
    ) -> None:
        super().__init__()
        one_of("boost", link, Link, also="none")
        self.read = None if link == "all" else 1
        self.detach, self.width = detach, layers[-1]
        read = [position if link == "all" else min(position, 1) for position in range(experts)]
        self.experts = nn.ModuleList(
            StackedMLP(1, inputs + count * self.width, layers, dropout, activation) for count in read
        )

    def forward(self, x_1BI: Tensor) -> Tensor:
        outputs: list[Tensor] = []
        for expert in self.experts:
            before = outputs if self.read is None else outputs[-self.read :]
            outputs.append(expert(torch.cat([x_1BI, *(y.detach() if self.detach else y for y in before)], dim=2)))
        return torch.cat(outputs)
