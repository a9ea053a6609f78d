"""Weightings of TorchJD that remember, made so that a run with them resumes to the bit."""

import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torchjd.aggregation import GradVacWeighting, NashMTL


class GradVac(GradVacWeighting):
    """GradVac as TorchJD has it. Its memory has no place before the first call, so a state must make one.

    Paper: Wang, Tsvetkov, Firat, Cao: Gradient Vaccine, ICLR 2021.
    """

    def _load_from_state_dict(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, state_dict: dict[str, Any], prefix: str, *rest: Any
    ) -> None:
        if (remembered_TT := state_dict.get(prefix + "_phi_t")) is not None:
            self(torch.eye(len(remembered_TT), dtype=remembered_TT.dtype))
        super()._load_from_state_dict(state_dict, prefix, *rest)


class Nash(nn.Module):
    """Nash-MTL: weights with ``G w = 1 / w``, the step at which no task gains in proportion more than others lose.

    TorchJD asks for gradients; any matrix with the same Gramian serves, so it gets the root of the Gramian. The bargain
    does not depend on the scale of a task's loss, but TorchJD's solver fails where scales differ much; so it gets rows
    of length 1, and its weights are divided by the lengths. It starts from the solution before, which is the state.

    Shape: Gramian ``[T, T]`` -> ``[T]``.

    Args:
        max_norm: largest norm of the step; 0: any.
        iterations: of the solver at most.

    Paper: Navon et al.: Multi-Task Learning as a Bargaining Game, ICML 2022, Algorithm 1.
    """

    def __init__(self, max_norm: float, iterations: int) -> None:
        super().__init__()
        NashMTL(n_tasks=1, max_norm=max_norm, optim_niter=iterations)  # says at once what is not allowed
        self.max_norm, self.iterations = max_norm, iterations
        self._solution: list[float] | None = None

    def forward(self, gramian_TT: Tensor) -> Tensor:
        solver = NashMTL(n_tasks=len(gramian_TT), max_norm=self.max_norm, optim_niter=self.iterations).weighting
        if self._solution is not None:
            solver.prvs_alpha = np.array(self._solution)
        squares_T, vectors_TT = torch.linalg.eigh(gramian_TT)
        norm_T = gramian_TT.diagonal().sqrt()
        root_TT = vectors_TT * squares_T.clamp(min=0).sqrt()
        with warnings.catch_warnings():
            # Of the form of TorchJD's problem, which makes it slow to set up and says nothing of the solution.
            warnings.filterwarnings("ignore", message="You are solving a parameterized problem that is not DPP")
            weights_T = solver(root_TT / norm_T[:, None]) / norm_T
        self._solution = solver.prvs_alpha.tolist()
        return weights_T

    def get_extra_state(self) -> list[float] | None:
        return self._solution

    def set_extra_state(self, state: list[float] | None) -> None:
        self._solution = state
