"""Rows whose labels contradict the order of tasks: positive for a task but negative for its parent task.

ESMM, AITM and losses of conditional tasks assume that there are no such rows.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pyarrow as pa

from mtlbench.checks import one_of
from mtlbench.schema import Task

Contradictions = Literal["drop", "keep", "fail"]
"""Policies for such rows: drop (excluded and counted), keep (kept and counted), fail (rejected like a damaged line)."""


def check_policy(policy: str) -> None:
    """
    Raises:
        ValueError: it is not one of `Contradictions`.
    """
    one_of("dataset.contradictions", policy, Contradictions)


def contradictory_rows(columns: pa.RecordBatch, tasks: Sequence[Task]) -> dict[Task, np.ndarray]:
    """The contradictory rows of each task with a parent, bool ``[R]``; a row counts only for the first such task.

    Args:
        columns: columns of R rows, with an int8 label of 0 and 1 per binary task, null if missing.
        tasks: all tasks.
    """
    by_name = {task.name: task for task in tasks}
    counted = np.zeros(columns.num_rows, bool)
    found: dict[Task, np.ndarray] = {}
    for task in tasks:
        if task.given is not None:
            # A missing label contradicts nothing.
            label = columns[task.label].fill_null(0).to_numpy()
            parent = columns[by_name[task.given].label].fill_null(1).to_numpy()
            found[task] = (label > parent) & ~counted
            counted |= found[task]
    return found


def name_of(task: Task) -> str:
    """Name of the count of such rows."""
    return f"{task.name} without {task.given}"


def reason(task: Task, tasks: Sequence[Task]) -> str:
    """Why such a row is rejected, and what to do."""
    parent = next(other for other in tasks if other.name == task.given)
    return (
        f"{task.label} is 1 and {parent.label} is 0, but task '{task.name}' has the parent '{parent.name}': set "
        "dataset.contradictions=drop to exclude such rows, or keep to use them unchanged"
    )
