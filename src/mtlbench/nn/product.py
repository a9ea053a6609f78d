"""Log-odds of products of probabilities."""

import torch
from torch import Tensor


def log_odds_of_product(a: Tensor, b: Tensor) -> Tensor:
    """Log-odds of ``sigmoid(a) sigmoid(b)``, element by element: ``-log(e^-a + e^-b + e^(-a-b))``.

    Nothing leaves the logarithms, so neither a product near 0 nor one near 1 loses its digits.

    Shape: equal shapes -> that shape.
    """
    return -torch.logsumexp(torch.stack([-a, -b, -a - b]), dim=0)
