"""Stateful TorchJD weightings whose state is saved, so that a resumed run matches bit for bit."""

from typing import Any

import torch
from torchjd.aggregation import GradVacWeighting


class GradVac(GradVacWeighting):
    """TorchJD's GradVac; since its memory is only allocated in the first call, loading a state must allocate it.

    Paper: Wang, Tsvetkov, Firat, Cao: Gradient Vaccine, ICLR 2021.
    """

    def _load_from_state_dict(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, state_dict: dict[str, Any], prefix: str, *rest: Any
    ) -> None:
        if (remembered_TT := state_dict.get(prefix + "_phi_t")) is not None:
            self(torch.eye(len(remembered_TT), dtype=remembered_TT.dtype))
        super()._load_from_state_dict(state_dict, prefix, *rest)
