"""Batched networks of equal shape: E experts, or T towers, as one batched matrix product."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mtlbench.checks import at_least, in_range
from mtlbench.nn.activations import LayerActivation, layer_activation_of
from mtlbench.nn.dice import Dice
from mtlbench.nn.full_precision import full_precision


class StackedLinear(nn.Module):
    """E linear maps side by side, ``y_e = x_e W_e + b_e``, as one product ``[E, B, in] x [E, in, out]``.

    One product per layer is faster than E of them on an accelerator (E times fewer launches). On a CPU both take the
    same time, and merging the first layers of all experts into one wide product is slower (its transposes).

    Shape: ``[E, B, in]``, or ``[1, B, in]`` where all read the same -> ``[E, B, out]``.

    Args:
        stacks: E.
        inputs, outputs: widths.
        bias: whether ``b_e`` is added.

    Raises:
        ValueError: a size below 1.

    Paper: initial weights are Xavier-uniform for each map by itself and biases zero, the default of the TensorFlow of
    the papers' years.
    Departure: none.
    """

    def __init__(self, stacks: int, inputs: int, outputs: int, bias: bool = True) -> None:
        super().__init__()
        at_least("stacks of a stacked linear map", stacks, 1)
        at_least("inputs of a stacked linear map", inputs, 1)
        at_least("outputs of a stacked linear map", outputs, 1)
        bound = (6 / (inputs + outputs)) ** 0.5
        self.weight = nn.Parameter(torch.empty(stacks, inputs, outputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(stacks, outputs)) if bias else None

    def forward(self, x_EBI: Tensor) -> Tensor:
        # Only where needed: after an expansion that changes nothing, inductor keeps the activation's mask as booleans,
        # whose vectorised store takes longer than the products (measured: 63 ms a step of eight experts, not 31).
        if len(x_EBI) != len(self.weight):
            x_EBI = x_EBI.expand(len(self.weight), -1, -1)
        if self.bias is None:
            return torch.bmm(x_EBI, self.weight)
        return torch.baddbmm(self.bias[:, None], x_EBI, self.weight)


class StackedMLP(nn.Module):
    """E multilayer perceptrons (MLPs) side by side: per layer linear, activation, dropout.

    Shape: ``[E, B, in]`` or ``[1, B, in]``, and, for Dice, bool ``[B]``: which rows count (default: all) ->
    ``[E, B, layers[-1]]``; without layers the input itself.

    Args:
        stacks: E.
        inputs: width of the input.
        layers: width of each layer.
        dropout: probability that a unit is left out in training.
        activation: after every layer but the last.
        last_activation: after the last layer; default: the same.

    Raises:
        ValueError: a width below 1, a dropout outside [0, 1), an unknown activation.
    """

    def __init__(
        self,
        stacks: int,
        inputs: int,
        layers: Sequence[int],
        dropout: float = 0.0,
        activation: LayerActivation = "relu",
        last_activation: LayerActivation | None = None,
    ) -> None:
        super().__init__()
        at_least(f"the least of the widths {list(layers)}", min(layers, default=1), 1)
        in_range("dropout", dropout, ge=0, lt=1)
        self.width = layers[-1] if layers else inputs
        widths = [inputs, *layers]
        self.layers = nn.ModuleList(StackedLinear(stacks, *pair) for pair in zip(widths, layers, strict=False))
        self.activations = nn.ModuleList(
            layer_activation_of(activation if following else last_activation or activation, stacks, width)
            for following, width in zip(reversed(range(len(layers))), layers, strict=True)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, x_EBI: Tensor, counted_B: Tensor | None = None) -> Tensor:
        for linear, activation in zip(self.layers, self.activations, strict=True):
            s_EBH = linear(x_EBI)
            x_EBI = self.dropout(activation(s_EBH, counted_B) if isinstance(activation, Dice) else activation(s_EBH))
        return x_EBI


class MLP(nn.Module):
    """One multilayer perceptron: a stack of one, see `StackedMLP`. Shape: ``[B, in]`` -> ``[B, layers[-1]]``."""

    def __init__(
        self,
        inputs: int,
        layers: Sequence[int],
        dropout: float = 0.0,
        activation: LayerActivation = "relu",
    ) -> None:
        super().__init__()
        self.stack = StackedMLP(1, inputs, layers, dropout, activation)
        self.width = self.stack.width

    def forward(self, x_BI: Tensor) -> Tensor:
        return self.stack(x_BI[None])[0]


class Towers(nn.Module):
    """One tower per task: an MLP, then ``s_t = w_t . h_t + b_t``.

    The last product is computed in float32 even where autocast makes its factors bfloat16: eight significant bits would
    tie scores that differ.

    Shape: ``[T, B, in]`` or ``[1, B, in]``, and, for Dice, which rows count, as in `StackedMLP` -> logits ``[B, T]``.
    """

    def __init__(
        self,
        tasks: int,
        inputs: int,
        layers: Sequence[int],
        dropout: float = 0.0,
        bias: bool = True,
        activation: LayerActivation = "relu",
    ) -> None:
        super().__init__()
        self.hidden = StackedMLP(tasks, inputs, layers, dropout, activation)
        self.head = StackedLinear(tasks, self.hidden.width, 1, bias)

    def forward(self, x_TBI: Tensor, counted_B: Tensor | None = None) -> Tensor:
        logits_BT = (self.hidden(x_TBI, counted_B) * self.head.weight.mT).sum(dim=-1).T
        return logits_BT if self.head.bias is None else logits_BT + self.head.bias[:, 0]

    def scaled(self, x_BI: Tensor, scale_TI: Tensor) -> Tensor:
        """Logits ``[B, T]`` of one input that every task scales differently, as ``forward(scale_TI[:, None] * x_BI)``.

        Without hidden layers the scale can multiply the weights, which are fewer than the inputs of all rows.
        """
        if self.hidden.layers:
            return self(scale_TI[:, None] * x_BI)
        weight_TI = scale_TI * self.head.weight[..., 0]
        with full_precision(weight_TI):
            logits_BT = x_BI.to(weight_TI.dtype) @ weight_TI.T
        return logits_BT if self.head.bias is None else logits_BT + self.head.bias[:, 0]
