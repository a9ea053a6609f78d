"""Diagnostics and predictions of a trained model on a split of its data."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from mtlbench.experiment.errors import ConfigError
from mtlbench.experiment.evaluation import Opened
from mtlbench.train.score import score
from mtlbench.train.selection import TaskCheckpoints
from mtlbench.train.step import autocast

Shown = Mapping[str, Tensor]


@torch.no_grad()
def diagnose(
    run: Opened, measure: Callable[[Shown], Shown], *, split: str = "test", batches: int = 20
) -> dict[str, Tensor]:
    """The mean over rows of what is measured of a model's diagnostics, batch by batch, in evaluation mode.

    Args:
        run: the trained model and its data.
        measure: makes of one batch's diagnostics what the mean is taken of; its tensors have no axis of rows.
        split: whose rows are shown to the model.
        batches: at most so many evaluation batches, from the first row on.

    Raises:
        ConfigError: the model shows nothing of itself.
    """
    shows: Callable[..., dict[str, Tensor]] | None = getattr(run.model, "diagnostics", None)
    if shows is None:
        several = " (its tasks have weights of their own: trainer.checkpoint=task)"
        why = several if isinstance(run.model, TaskCheckpoints) else ": no diagnostics"
        raise ConfigError(f"run {run.facts.identity}: model={run.facts.model} shows nothing of itself{why}")
    run.model.eval()
    rows, size = run.store.split(split), run.settings.evaluation_batch_size
    sums: dict[str, Tensor] = {}
    seen = 0
    for start in range(0, min(len(rows), batches * size), size):
        index = torch.arange(start, min(start + size, len(rows)))
        with autocast(run.settings.precision, run.device):
            measured = measure(shows(rows.gather(index).to(run.device)))
        seen += len(index)
        for name, value in measured.items():
            sums[name] = sums.get(name, torch.zeros(())) + value.double().cpu() * len(index)
    return {name: total / seen for name, total in sums.items()}


def predict(run: Opened, split: str = "test") -> Tensor:
    """Probabilities ``[N, T]`` of all labels of a split."""
    return score(run.model, run.store.split(split), run.losses, run.settings, run.device).sigmoid()
