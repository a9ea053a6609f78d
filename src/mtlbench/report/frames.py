"""Analyses of a run as pandas data frames."""

from dataclasses import asdict

import pandas as pd

from mtlbench.metrics.importance import Importance
from mtlbench.metrics.reliability import Reliability
from mtlbench.metrics.slices import Slices


def slices_frame(found: Slices) -> pd.DataFrame:
    """A row per task and slice, all rows first: number of rows, metrics, ``auc_error``; undefined metrics are NaN."""
    rows = [
        {"task": task, "slice": each.name, **each.metrics.of_task(task), "auc_error": each.auc_error.get(task)}
        for task in found.whole.metrics.tasks
        for each in found.all
    ]
    return pd.DataFrame(rows).set_index(["task", "slice"])


def calibration_frame(found: Reliability) -> pd.DataFrame:
    """A row per task and bin: number of rows, predicted, observed, and bounds of the 95 % interval."""
    rows = [
        {"task": task.task, "bin": number, **asdict(each)}
        for task in found.tasks
        for number, each in enumerate(task.bins, start=1)
    ]
    return pd.DataFrame(rows).set_index(["task", "bin"])


def importance_frame(found: Importance) -> pd.DataFrame:
    """A row per task, metric and field, most important field first: mean and standard deviation of the change."""
    rows = [
        {
            "task": name.rpartition("/")[0],
            "metric": name.rpartition("/")[2],
            "field": each.field,
            "mean": change.mean,
            "deviation": change.deviation,
        }
        for each in found.fields
        for name, change in each.changes.items()
    ]
    return pd.DataFrame(rows).set_index(["task", "metric", "field"])
