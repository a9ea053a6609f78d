"""Hard concrete gates: stochastic gates in [0, 1] with an L0 penalty on being open."""

import math
from typing import Literal

import torch
from torch import Tensor, nn

from mtlbench.checks import at_least, in_range, one_of

Reduce = Literal["sum", "mean"]
Force = Literal["ones", "zeros"]

EDGE = 1e-6
"""Distance of the noise from 0 and 1, where its logit is infinite."""


class HardConcrete(nn.Module):
    """Gates ``z = clamp(s (high - low) + low, 0, 1)``, in training with ``s = sigmoid((logit(u) + log_alpha) / t)``.

    The noise u is drawn at every forward pass, once for each gate and the whole batch. In evaluation mode
    ``s = sigmoid(log_alpha)``: without noise and temperature t. With the limits -0.1 and 1.1, a gate is
    then exactly 0 for ``log_alpha <= -2.398`` and exactly 1 for ``log_alpha >= 2.398``.

    Shape: () -> `shape`.

    Args:
        shape: of the gates.
        temperature: t.
        low, high: the limits to which a concrete variable is stretched, below 0 and above 1.
        drop: probability rho of the initial value, ``log_alpha`` around log((1 - rho) / rho).
        weight: of the penalty on open gates: lambda of SNR, lambda 2 of MSSM.
        reduce: ``sum``: the penalty is the expected number of open gates of this block, so that the penalty on a gate
            does not depend on how many there are; ``mean``: their expected share (each of 128 gates has 1/128 of it).
        force: hold all gates at ``ones`` or ``zeros``; they are then neither trained nor penalised.

    Raises:
        ValueError: a limit, probability, temperature or weight out of range; an unknown option.

    Paper: Louizos, Welling, Kingma: Learning Sparse Neural Networks through L0 Regularization, ICLR 2018; t, low and
    high are theirs, as neither SNR nor MSSM states any.
    Departure: MSSM writes the penalty as a sum over all gates, which is the default (``reduce``). A ``log_alpha`` that
    starts at 0 must move by 2.4 to close its gate, and Adam moves it by about the learning rate a step: 24,000 steps at
    1e-4, which MSSM states for all parameters, and 80 at 0.03. ``optimizer.gate`` sets a learning rate for gates.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        *,
        temperature: float = 2 / 3,
        low: float = -0.1,
        high: float = 1.1,
        drop: float = 0.5,
        weight: float = 0.01,
        reduce: Reduce = "sum",
        force: Force | None = None,
    ) -> None:
        super().__init__()
        in_range("gate_temperature", temperature, gt=0)
        if low >= 0 or high <= 1:
            raise ValueError(
                f"gate_low is {low} and gate_high is {high}; allowed: below 0 and above 1, otherwise no gate ever "
                "closes or opens fully"
            )
        in_range("gate_drop", drop, gt=0, lt=1)
        at_least("sparsity_weight", weight, 0)
        one_of("gate_reduce", reduce, Reduce)
        if force is not None:
            one_of("gate_force", force, Force, also="null")
        self.temperature, self.low, self.high = temperature, low, high
        self.weight, self.reduce, self.force = weight, reduce, force
        self.log_alpha = nn.Parameter(torch.empty(shape).normal_(math.log((1 - drop) / drop), 0.01))

    def forward(self) -> Tensor:
        if self.force is not None:
            return torch.full_like(self.log_alpha, self.force == "ones")
        score = self.log_alpha
        if self.training:
            noise = torch.empty_like(score).uniform_(EDGE, 1 - EDGE)
            score = (noise.logit() + score) / self.temperature
        return (score.sigmoid() * (self.high - self.low) + self.low).clamp(0, 1)

    def open_probability(self) -> Tensor:
        """P(z > 0) of each gate in training."""
        return (self.log_alpha - self.temperature * math.log(-self.low / self.high)).sigmoid()

    def penalty(self) -> Tensor:
        """The expected number of open gates (or their share), times its weight."""
        if self.force is not None:
            return self.log_alpha.new_zeros(())
        probability = self.open_probability()
        return self.weight * (probability.sum() if self.reduce == "sum" else probability.mean())
