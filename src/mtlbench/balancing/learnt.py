"""Trainable parameters of a balancing method, with their own Adam optimizer."""

from typing import Any

import torch
from torch import Tensor, nn

from mtlbench.checks import at_least


class Learnt(nn.Module):
    """One number per task, updated by its own Adam, whose moments are part of the state.

    Args:
        initial: ``[T]``.
        lr: learning rate.
        weight_decay: factor of the numbers that is added to their gradient.

    Raises:
        ValueError: a learning rate or a decay that is not at least 0.
    """

    def __init__(self, initial: Tensor, *, lr: float, weight_decay: float = 0.0) -> None:
        super().__init__()
        at_least("balancing.lr", lr, 0)
        at_least("balancing.weight_decay", weight_decay, 0)
        self.value = nn.Parameter(initial)
        self._adam = torch.optim.Adam([self.value], lr=lr, weight_decay=weight_decay)

    def descend(self, gradient_T: Tensor) -> None:
        """One step against a gradient."""
        self.value.grad = gradient_T
        self._adam.step()
        self.value.grad = None

    def get_extra_state(self) -> dict[str, Any]:
        return self._adam.state_dict()

    def set_extra_state(self, state: dict[str, Any]) -> None:
        self._adam.load_state_dict(state)
