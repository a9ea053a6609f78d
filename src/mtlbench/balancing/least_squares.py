"""MGDA and UPGrad as non-negative least squares, exact at any ratio of gradient lengths."""

import numpy as np
import torch
from scipy.optimize import nnls
from torch import Tensor, nn

ITERATIONS = 100
"""Maximum iterations of the active-set method, per task; a few suffice."""


class MGDA(nn.Module):
    """The point of minimum norm in the convex hull of the tasks' gradients.

    ``w = argmin |sum_t w_t g_t|^2`` with ``w >= 0`` and ``sum_t w_t = 1``. The minimiser x >= 0 of
    ``|sum_t x_t g_t|^2 + (sum_t x_t - 1)^2`` is a multiple of it.

    The weights do not change when all gradients are scaled alike. When one of them is scaled they do: the shorter a
    gradient, the more of the point is it (Sener and Koltun divide by norms or losses where that is not wanted).

    Shape: Gramian float64 ``[T, T]`` -> ``[T]``.

    Paper: Désidéri: Multiple-gradient descent algorithm (MGDA), 2012; Sener, Koltun: Multi-Task Learning as
    Multi-Objective Optimization, NeurIPS 2018, Eq. 3.
    Departure: Sener and Koltun approach the point by Frank-Wolfe (Algorithm 2), which for three tasks or more stops
    where a long gradient still outweighs short ones; here it is found exactly.
    """

    def forward(self, gramian_TT: Tensor) -> Tensor:
        length_T, unit_TT = _unit_vectors(gramian_TT)
        shortest = length_T.min()
        equations = np.vstack([unit_TT, shortest / length_T])  # for x_t * length_t / shortest, all of one scale
        scaled_T = nnls(equations, np.eye(len(equations))[-1], maxiter=ITERATIONS * len(length_T))[0]
        weight_T = scaled_T / length_T
        return torch.from_numpy(weight_T / weight_T.sum())


class UPGrad(nn.Module):
    """Mean of the tasks' gradients, each projected onto the cone of directions that harm no task (the dual cone).

    The projection of g_i is ``sum_t v_t g_t`` with ``v = argmin v^T G v``, ``v >= e_i``. It is solved on gradients of
    length 1, and v is scaled back: a task's own scale cannot make another's conflict too small to be seen.

    Scaling all gradients alike does not change the weights. Scaling the gradient of one task scales its share of the
    mean and leaves the cone as it is.

    Shape: Gramian float64 ``[T, T]`` -> ``[T]``.

    Paper: Quinton, Rey: Jacobian Descent for Multi-Objective Optimization, 2024, Proposition 1.
    Departure: TorchJD adds 1e-4 of the trace to the diagonal of G before it solves, which at lengths of 1:100 outweighs
    the shorter gradient; nothing is added here.
    """

    def forward(self, gramian_TT: Tensor) -> Tensor:
        length_T, unit_TT = _unit_vectors(gramian_TT)
        weight_T = np.zeros(len(length_T))
        for task, length in enumerate(length_T):
            projected_T = nnls(unit_TT, -unit_TT[:, task], maxiter=ITERATIONS * len(length_T))[0]
            projected_T[task] += 1
            weight_T += length * projected_T / length_T
        return torch.from_numpy(weight_T / len(length_T))


def _unit_vectors(gramian_TT: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Lengths of the gradients ``[T]``, and vectors of length 1 with the same angles as the columns of ``[T, T]``."""
    gramian = gramian_TT.numpy()
    length_T = np.sqrt(gramian.diagonal())
    square_T, axis_TT = np.linalg.eigh(gramian / np.outer(length_T, length_T))
    return length_T, np.sqrt(square_T.clip(min=0))[:, None] * axis_TT.T
