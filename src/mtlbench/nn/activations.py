"""Activation functions by name."""

from typing import Literal

from torch import nn

from mtlbench.checks import one_of
from mtlbench.nn.dice import Dice

Activation = Literal["relu", "none", "sigmoid", "tanh"]
LayerActivation = Literal[Activation, "dice"]
"""Activations of an MLP's layers; Dice has parameters, so it must know the layer's shape."""


def activation_of(name: Activation) -> nn.Module:
    """The module of an activation; ``none`` is the identity.

    Raises:
        ValueError: there is no activation of this name.
    """
    one_of("activation", name, Activation)
    modules = {"relu": nn.ReLU, "none": nn.Identity, "sigmoid": nn.Sigmoid, "tanh": nn.Tanh}
    return modules[name]()


def layer_activation_of(name: LayerActivation, stacks: int, width: int) -> nn.Module:
    """The module of an activation after E stacked layers of one width.

    Raises:
        ValueError: there is no activation of this name.
    """
    one_of("activation", name, LayerActivation)
    return Dice(stacks, width) if name == "dice" else activation_of(name)
