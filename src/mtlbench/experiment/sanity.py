"""Sanity checks: constant scores, log loss above the base rate, poor calibration, implausible class weights."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from torch import Tensor

from mtlbench.result import Metrics, metric_name
from mtlbench.schema import Task
from mtlbench.tracking.journal import Line
from mtlbench.train.objective import LossSettings

CALIBRATED = (0.5, 2.0)
"""Range of PCOC (mean prediction over observed rate) in which a task counts as calibrated."""


OVERWEIGHTED = 2.0
"""A weight of positives that exceeds the ratio of negatives to positives by this factor is implausible."""


class SuspiciousMetricsWarning(UserWarning):
    """A task's scores are all equal, worse than a constant prediction, or far from the observed rate."""


def suspicious(metrics: Metrics, split: str) -> list[str]:
    """Problems with the scores of a split, one sentence per task and problem."""
    problems: list[str] = []
    for task in metrics.tasks:
        where = f"task '{task}' on {split}"
        equal, loss, constant, pcoc = (
            metrics.value(name, task) for name in ("equal_scores", "logloss", "logloss_constant", "pcoc")
        )
        if equal:
            problems.append(f"{where}: all scores are equal, so they rank nothing (AUC 0.5)")
        elif loss is not None and constant is not None and loss > constant:
            problems.append(f"{where}: log loss {loss:.4f} is above that of a constant prediction, {constant:.4f}")
        error, deviation = (metrics.value(name, task) for name in ("rmse", "rmse_constant"))
        if error is not None and deviation is not None and error > deviation:
            problems.append(f"{where}: RMSE {error:.4g} is above that of a constant prediction, {deviation:.4g}")
        if pcoc is not None and not CALIBRATED[0] <= pcoc <= CALIBRATED[1]:
            problems.append(f"{where}: PCOC {pcoc:.2f} (predicted over observed rate) is outside {list(CALIBRATED)}")
    return problems


def overweighted(settings: LossSettings, tasks: Sequence[Task], labels: Tensor, observed: Tensor | None) -> list[str]:
    """Configured weights of positives far above the class ratio of the training rows, as from another data set.

    Args:
        settings: loss settings.
        tasks: T tasks.
        labels, observed: labels of all training rows and which are observed, see `LossSettings.build`.

    Returns:
        One sentence per such task.
    """
    if not isinstance(settings.pos_weight, tuple):
        return []
    try:
        balanced = replace(settings, pos_weight="balanced").build(tasks, labels, observed).pos_weight
    except ValueError:  # the ratio is undefined if a class is absent
        return []
    assert balanced is not None
    return [
        f"loss.pos_weight of '{task.name}' is {stated:,g}, but there are {balance:,.3g} negatives for each positive in "
        "the training rows (loss.pos_weight=balanced)"
        for task, stated, balance in zip(tasks, settings.pos_weight, balanced.tolist(), strict=True)
        if stated > OVERWEIGHTED * max(balance, 1.0)
    ]


def selected_validation(lines: Sequence[Line], best_step: Mapping[str, int]) -> Metrics:
    """Validation metrics at the steps whose weights were kept, from a journal.

    Args:
        lines: lines of the journal.
        best_step: the step by task, or under ``model`` for all tasks.
    """
    selected = Metrics()
    for line in lines:
        valid = Metrics(values=line.values).of_split("valid")
        for task in valid.tasks:
            if line.step == best_step.get(task, best_step.get("model")):
                selected.values.update({metric_name(name, task): value for name, value in valid.of_task(task).items()})
    return selected
