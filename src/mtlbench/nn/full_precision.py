"""Full precision inside autocast: for products whose factors must not be rounded to bfloat16."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def full_precision(parameter: Tensor) -> AbstractContextManager[object]:
    """Turn autocast off on the device of a parameter; the meta device has no autocast."""
    return nullcontext() if parameter.is_meta else torch.autocast(parameter.device.type, enabled=False)
