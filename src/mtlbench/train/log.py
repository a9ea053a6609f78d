"""Writes training losses, task weights, penalties and gradient cosines to the journal."""

import logging
import math
from itertools import combinations

import torch
from torch import Tensor

from mtlbench.result import Metrics
from mtlbench.tracking.journal import Journal
from mtlbench.train.progress import Progress

NOTHING = Metrics()

_log = logging.getLogger(__name__)


class NonFiniteLossError(FloatingPointError):
    """A loss became infinite or NaN; names the step and the last finite value."""


def log_losses(progress: Progress, terms: list[str], journal: Journal, conflicts: Metrics = NOTHING) -> None:
    """Write the mean of each term over the window to the journal, and clear the window; raises if one is not finite."""
    if not progress.window:
        return
    window_LN = torch.stack(progress.window).cpu()
    bad = (~window_LN.isfinite()).nonzero()
    if len(bad):
        position, term = bad[0].tolist()
        before = window_LN[position - 1, term].item() if position else "in the window before"
        raise NonFiniteLossError(
            f"{terms[term]} is {window_LN[position, term].item()} in step "
            f"{progress.step - len(progress.window) + position + 1}; last finite value: {before}. "
            "Try a lower optimizer.lr, trainer.clip=1.0 or trainer.precision=fp32."
        )
    means = window_LN.mean(dim=0).tolist()
    steps = len(progress.window)
    sums = progress.sums or [0.0] * len(terms)
    progress.sums = [total + steps * mean for total, mean in zip(sums, means, strict=True)]
    progress.summed += steps
    values = {f"train/{term}": mean for term, mean in zip(terms, means, strict=True)}
    _log.debug("step %d: %s", progress.step, ", ".join(f"{name} {value:.4g}" for name, value in values.items()))
    journal.append(
        step=progress.step, epoch=progress.epoch, values=values | conflicts.values, undefined=conflicts.undefined
    )
    progress.window.clear()


def gradient_cosines(cosine_TT: Tensor | None, tasks: list[str]) -> Metrics:
    """Cosine similarity between the gradients of every pair of tasks, by their names."""
    metrics = Metrics()
    if cosine_TT is None:
        return metrics
    cosines = cosine_TT.tolist()  # one read for all: every read waits for the device
    for (a, first), (b, second) in combinations(enumerate(tasks), 2):
        name, cosine = f"train/conflict/{first}_{second}", cosines[a][b]
        if math.isfinite(cosine):
            metrics.values[name] = cosine
        else:
            metrics.undefined[name] = "a gradient is zero on the shared parameters (no label of the task is observed?)"
    return metrics
