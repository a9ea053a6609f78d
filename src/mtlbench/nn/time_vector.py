"""Time encoding: six functions of the time since an event."""

import math
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from mtlbench.checks import each_once, in_range, one_of

Angular = Literal["raw", "2pi"]
TimeUnit = Literal["window", "days"]

OPERATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "exp": torch.exp,
    "sin": torch.sin,
    "cos": torch.cos,
    "sqrt": torch.sqrt,
    "square": torch.square,
    "log": torch.log1p,
    "decay": lambda t: torch.exp(-t),
}
"""The paper's six, with log(1 + t) because log 0 is infinite; and a decaying exponential."""
SIX = ("exp", "sin", "cos", "sqrt", "square", "log")
"""The functions of the paper."""
MOST_DAYS = 10.0
"""With unit ``days``, older events count as this old: e^10 is 22,026, and for a month it would be 10^13."""


class TimeVector(nn.Module):
    """``[exp t, sin t, cos t, sqrt t, t^2, log(1 + t)]`` of the time t since an event; it has no parameters.

    Shape: days since the event, 0 or more, of any shape -> that shape, and one more axis of P functions.

    Args:
        operations: names of the functions, of `OPERATIONS`.
        window: W in days.
        unit: ``window``: t = min(days / W, 1); ``days``: t = min(days, 10), closer to the paper.
        angular: ``raw``: sine and cosine of t; ``2pi``: of 2 pi t, which has a period of one unit.

    Attributes:
        width: P.

    Raises:
        ValueError: no operation, an unknown one or one twice; a window that is not above 0; an unknown option.

    Paper: Wang, Zhang, Wulamu 2021, 3.5 and Fig. 7: timestamps, normalised as days, under exponential, sine, cosine,
    root, square and logarithm, concatenated.
    Departure: days are divided by a window, since their exponential and square would dominate all else.
    """

    def __init__(
        self,
        operations: Sequence[str] = SIX,
        window: float = 14.0,
        unit: TimeUnit = "window",
        angular: Angular = "raw",
    ) -> None:
        super().__init__()
        each_once("time_operations", operations, OPERATIONS)
        in_range("time_window", window, gt=0)
        one_of("time_unit", unit, TimeUnit)
        one_of("time_angular", angular, Angular)
        self.operations, self.width = tuple(operations), len(operations)
        self.window, self.unit = window, unit
        self.turn = 2 * math.pi if angular == "2pi" else 1.0

    def forward(self, days: Tensor) -> Tensor:
        t = (days / self.window).clamp(max=1) if self.unit == "window" else days.clamp(max=MOST_DAYS)
        return torch.stack(
            [OPERATIONS[name](self.turn * t if name in ("sin", "cos") else t) for name in self.operations], dim=-1
        )
