"""Checks that the tasks of a table's columns exist, before any missing run is trained."""

from collections.abc import Sequence

from mtlbench.experiment.errors import ConfigError
from mtlbench.reproduce.plan import PlannedRun, Study
from mtlbench.reproduce.table import Table


def check_tasks(studies: Sequence[Study], plans: Sequence[Sequence[PlannedRun]]) -> None:
    """Check that some run of a column's data set has the column's task.

    Raises:
        ConfigError: none has it, so that cells would stay empty and claims undecided.
    """
    for study, planned in zip(studies, plans, strict=True):
        if not isinstance(study, Table):
            continue
        for column in study.columns:
            tasks = {task for run in planned if run.dataset == column.dataset for task in run.data.tasks}
            if column.only_task and column.task not in tasks:
                raise ConfigError(
                    f"{study.name}: column {column.metric} names task {column.task}, but the runs on {column.dataset} "
                    f"have {', '.join(sorted(tasks))}. Give columns of different data sets different tasks: "
                    "{metric: ..., datasets: [...], tasks: [...]}"
                )
