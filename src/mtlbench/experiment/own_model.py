"""Trial of the user's own model on a few rows before training."""

import torch
from torch import Tensor, nn

from mtlbench.allowed import PACKAGES, is_inside
from mtlbench.data.loader import Rows
from mtlbench.experiment.errors import ConfigError
from mtlbench.experiment.mistakes import mistakes

TRIAL_ROWS = 3
"""Rows of the trial: few, and unlikely to equal the number of tasks or fields."""


def is_own(model: nn.Module) -> bool:
    """Whether a model contains a module of a class outside mtlbench and torch."""
    return any(not is_inside(type(part).__module__, PACKAGES) for part in model.modules())


def check_forward(model: nn.Module, rows: Rows, device: torch.device) -> None:
    """Try the user's own model on a few rows in evaluation mode, without changing it or the random state.

    Raises:
        ConfigError: it fails, or returns anything but finite logits ``[B, T]``.
    """
    if not is_own(model):
        return
    name, first_rows = f"model {type(model).__name__}", rows.first(TRIAL_ROWS)
    batch = first_rows.gather(torch.arange(len(first_rows), device=first_rows.device)).to(device).unlabelled()
    expected = (len(first_rows), len(rows.schema.tasks))
    training = model.training
    forked = torch.random.fork_rng([device] if device.type == "cuda" else [])
    with forked, torch.no_grad(), mistakes(f"{name}: forward(batch)", any_code=True):
        logits = model.eval()(batch)
    model.train(training)
    expectation = f"expected logits [B, T], here {list(expected)} for {expected[0]} rows and {expected[1]} tasks"
    if not isinstance(logits, Tensor):
        raise ConfigError(f"{name}: forward(batch) returned {type(logits).__name__}; {expectation}")
    if tuple(logits.shape) != expected or not logits.is_floating_point():
        shape_and_type = f"{list(logits.shape)} of {str(logits.dtype).removeprefix('torch.')}"
        raise ConfigError(f"{name}: forward(batch) returned {shape_and_type}; floating-point {expectation}")
    if not torch.isfinite(logits).all():
        raise ConfigError(f"{name}: forward(batch) returned NaN or infinity with its initial weights; {expectation}")
