"""Activations by name."""

from typing import Literal, get_args

from torch import nn

Activation = Literal["relu", "none"]


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
    raise ValueError(f"activation is {name!r}; allowed: {', '.join(get_args(Activation))}")
