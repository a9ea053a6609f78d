"""Diagnostics and predictions of a trained model on a split of its data."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from mtlbench.experiment.errors import ConfigError
from mtlbench.experiment.evaluation import TrainedRun
from mtlbench.losses import predicted_labels
from mtlbench.train.score import predict_log_odds
from mtlbench.train.selection import TaskCheckpoints
from mtlbench.train.step import autocast

Shown = Mapping[str, Tensor]


@torch.no_grad()
def average_diagnostics(
    run: TrainedRun, reduce: Callable[[Shown], Shown], *, split: str = "test", batches: int = 20
) -> dict[str, Tensor]:
    """A model's diagnostics, averaged over rows batch by batch, in evaluation mode.

    Args:
        run: the trained model and its data.
        reduce: turns one batch's diagnostics into tensors without an axis of rows, which are averaged.
        split: the rows.
        batches: maximum number of evaluation batches, from the first row on.

    Raises:
        ConfigError: the model has no diagnostics.
    """
    shows: Callable[..., dict[str, Tensor]] | None = getattr(run.model, "diagnostics", None)
    if shows is None:
        per_task = " (each task has its own weights: trainer.checkpoint=task)"
        why = per_task if isinstance(run.model, TaskCheckpoints) else ""
        raise ConfigError(f"run {run.facts.identity}: model={run.facts.model} has no diagnostics{why}")
    run.model.eval()
    rows, size = run.store.split(split), run.settings.evaluation_batch_size
    sums: dict[str, Tensor] = {}
    seen = 0
    for start in range(0, min(len(rows), batches * size), size):
        index = torch.arange(start, min(start + size, len(rows)))
        with autocast(run.settings.precision, run.device):
            reduced = reduce(shows(rows.gather(index).to(run.device)))
        seen += len(index)
        for name, value in reduced.items():
            sums[name] = sums.get(name, torch.zeros(())) + value.double().cpu() * len(index)
    return {name: total / seen for name, total in sums.items()}


def predict(run: TrainedRun, split: str = "test") -> Tensor:
    """Predictions ``[N, T]`` of all labels of a split."""
    rows = run.store.split(split)
    return predicted_labels(predict_log_odds(run.model, rows, run.losses, run.settings, run.device), rows.schema.tasks)
