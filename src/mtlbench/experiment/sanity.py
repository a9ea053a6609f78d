"""Sanity checks of metrics: constant scores, log loss above the base rate, poor calibration."""

from collections.abc import Mapping, Sequence

from mtlbench.result import Metrics, metric_name
from mtlbench.tracking.journal import Line

CALIBRATED = (0.5, 2.0)
"""PCOC (mean prediction over observed rate) outside of which a task's probabilities are called uncalibrated."""


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
        if pcoc is not None and not CALIBRATED[0] <= pcoc <= CALIBRATED[1]:
            found.append(f"{where}: PCOC {pcoc:.2f} (predicted over observed rate) is outside {list(CALIBRATED)}")
    return found


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
