"""Explicit mappings of DEPHN: fixed functions that decompose the output of shared experts by task."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

MAPPINGS: dict[str, Callable[[Tensor], Tensor]] = {
    "identity": lambda a: a,
    "square": torch.square,
    "cube": lambda a: a**3,
    "sin": torch.sin,
    "cos": torch.cos,
    "sin2": lambda a: torch.sin(2 * a),
    "cos2": lambda a: torch.cos(2 * a),
}
"""The raw mapping with further terms of a Taylor series, and trigonometric mappings with further harmonics."""


def explicit_mappings(names: Sequence[str], a: Tensor, dim: int) -> Tensor:
    """``f_1(a), ..., f_P(a)``, element-wise, stacked along a new axis.

    Paper: DEPHN III-B, whose "RM" (raw) and "TM" (trigonometric) are the only functions that it names.
    """
    return torch.stack([MAPPINGS[name](a) for name in names], dim=dim)
