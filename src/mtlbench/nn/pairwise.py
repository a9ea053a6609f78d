"""Pairwise products of field vectors, summed (FM, bi-interaction)."""

from torch import Tensor


def bi_interaction(x_BFD: Tensor) -> Tensor:
    """``sum_(i<j) x_i * x_j``, as (square of the sum - sum of the squares) / 2. ``[B, F, D]`` -> ``[B, D]``.

    Paper: He, Chua: Neural Factorization Machines, SIGIR 2017, Eqs. 3 and 4.
    """
    return (x_BFD.sum(dim=1).square() - x_BFD.square().sum(dim=1)) / 2
