"""Diagnostics exposed by models during training (gates, masks, attention), averaged for the journal."""

import warnings
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn

from mtlbench.data.loader import Rows
from mtlbench.result import Metrics
from mtlbench.schema import Batch
from mtlbench.train.settings import Settings
from mtlbench.train.step import autocast

MOST_NUMBERS = 64
"""Maximum size of a diagnostic that is written to the journal, in numbers."""


@runtime_checkable
class Diagnosed(Protocol):
    """A model with diagnostics."""

    def diagnostics(self, batch: Batch) -> dict[str, Tensor]:
        """Intermediate values of a forward pass in evaluation mode; the model is not changed.

        Names have parts separated by ``/``. A tensor with values per row has exactly one axis of size B, in any
        position (gates are ``[T, B, E]``, attention is ``[B, L]``); no other axis may depend on the batch size, and
        values of the whole batch or of the model have no such axis. So the axis of rows is recognised by its size.
        """
        ...


class NoDiagnosticsWarning(UserWarning):
    """Diagnostics are enabled, but the model has none."""


def has_diagnostics(model: nn.Module) -> bool:
    """Whether a model (or each of its single-task networks) has diagnostics; warns if not."""
    networks = list(getattr(model, "copies", [model]))
    if all(isinstance(network, Diagnosed) for network in networks):
        return True
    warnings.warn(
        f"trainer.diagnostics=true has no effect: {type(networks[0]).__name__} has no diagnostics() method",
        NoDiagnosticsWarning,
        stacklevel=2,
    )
    return False


@torch.no_grad()
def journal_diagnostics(model: nn.Module, rows: Rows, settings: Settings, device: torch.device) -> Metrics:
    """Diagnostics of a model on the first evaluation batch of `rows`, with values per row averaged over rows.

    Returns:
        ``diagnostics/<name>`` for a scalar, ``diagnostics/<name>/<i>/<j>...`` for every number of a tensor. A tensor of
        more than `MOST_NUMBERS`, and a number that is not finite, are undefined, with that reason.
    """
    model.eval()
    one, two, merged = (
        _diagnostics_of(model, rows, n, settings, device) for n in (1, 2, settings.evaluation_batch_size)
    )
    metrics = Metrics()
    for name, tensor in merged.items():
        grows = [axis for axis, size in enumerate(one[name].shape) if size != two[name].shape[axis]]
        mean = tensor.double().mean(dim=grows) if grows else tensor.double()
        _enter(f"diagnostics/{name}", mean, metrics)
    return metrics


def _diagnostics_of(
    model: nn.Module, rows: Rows, count: int, settings: Settings, device: torch.device
) -> dict[str, Tensor]:
    assert isinstance(model, Diagnosed)
    batch = rows.gather(torch.arange(min(count, len(rows)), device=rows.device)).to(device)
    with autocast(settings.precision, device):
        return model.diagnostics(batch)


def _enter(name: str, tensor: Tensor, found: Metrics) -> None:
    if tensor.numel() > MOST_NUMBERS:
        found.undefined[name] = f"{tensor.numel():,} numbers, of shape {list(tensor.shape)}; at most {MOST_NUMBERS}"
        return
    for index, value in zip(np.ndindex(*tensor.shape), tensor.flatten().tolist(), strict=True):
        at = "/".join([name, *map(str, index)])
        if np.isfinite(value):
            found.values[at] = value
        else:
            found.undefined[at] = f"it is {value}"
