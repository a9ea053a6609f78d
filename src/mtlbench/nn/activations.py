"""Activation functions by name."""

from typing import Literal, get_args

from torch import nn

from mtlbench.nn.dice import Dice

Activation = Literal["relu", "none", "sigmoid", "tanh"]
LayerActivation = Literal[Activation, "dice"]
"""What may stand behind a layer of perceptrons: Dice has parameters of its own, so it must know the layer's shape."""


def activation_of(name: Activation) -> nn.Module:
    """The module of an activation; ``none`` is the identity.

    Raises:
        ValueError: there is no activation of this name.
    """
    match name:
        case "relu":
            return nn.ReLU()
        case "none":
            return nn.Identity()
        case "sigmoid":
            return nn.Sigmoid()
        case "tanh":
            return nn.Tanh()
    raise ValueError(f"activation is {name!r}; allowed: {', '.join(get_args(Activation))}")


def layer_activation_of(name: LayerActivation, stacks: int, width: int) -> nn.Module:
    """The module of an activation behind E stacked layers of one width.

    Raises:
        ValueError: there is no activation of this name.
    """
    if name not in get_args(LayerActivation):
        raise ValueError(f"activation is {name!r}; allowed: {', '.join(get_args(LayerActivation))}")
    return Dice(stacks, width) if name == "dice" else activation_of(name)
