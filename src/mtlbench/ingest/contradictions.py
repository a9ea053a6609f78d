"""Labels that contradict the order of tasks: a task's positive in a row where the task that it is given is negative.

ESMM, AITM and losses of conditional tasks assume that there are none.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pyarrow as pa

from mtlbench.checks import one_of
from mtlbench.schema import Task

Contradictions = Literal["drop", "keep", "fail"]
"""What becomes of such rows: left out and counted, kept and counted, or refused like a damaged line."""


def check_policy(policy: str) -> None:
    """
    Raises:
        ValueError: it is none of `Contradictions`.
    """
    one_of("dataset.contradictions", policy, Contradictions)


def contradictory_rows(columns: pa.RecordBatch, tasks: Sequence[Task]) -> dict[Task, np.ndarray]:
    """The rows that contradict each task with a ``given``, bool ``[R]``; a row counts for the first such task alone.

    Args:
        columns: of R rows, with an int8 label of 0 and 1 per binary task, null where it is missing.
        tasks: all tasks.
    """
    by_name = {task.name: task for task in tasks}
    counted = np.zeros(columns.num_rows, bool)
    found: dict[Task, np.ndarray] = {}
    for task in tasks:
        if task.given is not None:
            # A label that is missing contradicts none.
            label = columns[task.label].fill_null(0).to_numpy()
            given = columns[by_name[task.given].label].fill_null(1).to_numpy()
            found[task] = (label > given) & ~counted
            counted |= found[task]
    return found


def name_of(task: Task) -> str:
    """Under which such rows are counted."""
    return f"{task.name} without {task.given}"


def reason(task: Task, tasks: Sequence[Task]) -> str:
    """Why such a row is refused, and what to do."""
    given = next(other for other in tasks if other.name == task.given)
    return (
        f"{task.label} is 1 and {given.label} is 0, but task '{task.name}' is given '{given.name}': set "
        "dataset.contradictions=drop to leave such rows out, or keep to take them as they are"
    )
