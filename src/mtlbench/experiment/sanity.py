"""Sanity checks: constant scores, log loss above the base rate, poor calibration, class weights of other data."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from torch import Tensor

from mtlbench.result import Metrics, metric_name
from mtlbench.schema import Task
from mtlbench.tracking.journal import Line
from mtlbench.train.objective import LossSettings

CALIBRATED = (0.5, 2.0)
"""PCOC (mean prediction over observed rate) outside of which a task's probabilities are called uncalibrated."""


OVERWEIGHTED = 2.0
"""How many times the balance of a task's classes a factor on its positives is called that of other data."""


class SuspiciousMetricsWarning(UserWarning):
    """A run's scores of a task are all equal, worse than a constant, or far from the observed rate."""


def suspicious(metrics: Metrics, split: str) -> list[str]:
    """What is wrong with the scores of a split, a sentence for each task and finding."""
    found: list[str] = []
    for task in metrics.tasks:
        where = f"task '{task}' on {split}"
        equal, loss, constant, pcoc = (
            metrics.value(name, task) for name in ("equal_scores", "logloss", "logloss_constant", "pcoc")
        )
        if equal:
            found.append(f"{where}: all scores are equal, so they rank nothing (AUC 0.5)")
        elif loss is not None and constant is not None and loss > constant:
            found.append(f"{where}: log loss {loss:.4f} is above that of a constant prediction, {constant:.4f}")
        error, deviation = (metrics.value(name, task) for name in ("rmse", "rmse_constant"))
        if error is not None and deviation is not None and error > deviation:
            found.append(f"{where}: RMSE {error:.4g} is above that of a constant prediction, {deviation:.4g}")
        if pcoc is not None and not CALIBRATED[0] <= pcoc <= CALIBRATED[1]:
            found.append(f"{where}: PCOC {pcoc:.2f} (predicted over observed rate) is outside {list(CALIBRATED)}")
    return found


def overweighted(settings: LossSettings, tasks: Sequence[Task], labels: Tensor, observed: Tensor | None) -> list[str]:
    """Stated factors on positives far beyond the balance of the training rows, as of a paper with rarer positives.

    Args:
        settings: of the losses.
        tasks: T tasks.
        labels, observed: of all training rows, see `LossSettings.build`.

    Returns:
        A sentence for each such task.
    """
    if not isinstance(settings.pos_weight, tuple):
        return []
    try:
        balanced = replace(settings, pos_weight="balanced").build(tasks, labels, observed).pos_weight
    except ValueError:  # a task without one of the classes has no balance
        return []
    assert balanced is not None
    return [
        f"loss.pos_weight of '{task.name}' is {stated:,g}, but there are {balance:,.3g} negatives for each positive in "
        "the training rows (loss.pos_weight=balanced)"
        for task, stated, balance in zip(tasks, settings.pos_weight, balanced.tolist(), strict=True)
        if stated > OVERWEIGHTED * max(balance, 1.0)
    ]


def selected_validation(lines: Sequence[Line], best_step: Mapping[str, int]) -> Metrics:
    """Validation metrics of the steps whose weights were kept, from a journal.

    Args:
        lines: of the journal.
        best_step: by task, or ``model`` for all tasks.
    """
    found = Metrics()
    for line in lines:
        valid = Metrics(values=line.values).of_split("valid")
        for task in valid.tasks:
            if line.step == best_step.get(task, best_step.get("model")):
                found.values.update({metric_name(name, task): value for name, value in valid.of_task(task).items()})
    return found
