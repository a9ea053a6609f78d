"""Values of a table's columns, computed from the results of finished runs."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from mtlbench.report.result import TableColumn
from mtlbench.reproduce.finished import Finished
from mtlbench.reproduce.sampling import Resampled
from mtlbench.reproduce.table import Table
from mtlbench.result import metric_name

SUMS = ("logloss_sum", "logloss_weighted")
"""Metrics summed over the tasks of a run."""

Values = dict[tuple[str, TableColumn], dict[int, float]]
"""By row label and column: the value of every seed for which the metric is defined."""

Draws = Mapping[tuple[str, TableColumn], Mapping[int, Resampled]]
"""By row label and column: the bootstrap draws of every seed that has them."""


def measured_values(table: Table, runs: Sequence[Finished]) -> Values:
    """The value of every run in every column of its data set."""
    values: Values = {(spec.label, column): {} for spec in table.rows for column in table.columns}
    for column in table.columns:
        measured = replace(column, metric="auc") if column.metric == "auc_gain" else column  # for gains
        for run in runs:
            if run.dataset == column.dataset and (value := value_of(run, measured)) is not None:
                values[run.row, column][run.seed] = value
        if column.metric == "auc_gain":
            _fill_gains(table, column, values)
    return values


def resampled_runs(table: Table, runs: Sequence[Finished]) -> Draws:
    """The bootstrap draws of runs, in the columns of a task's AUC."""
    return {
        (spec.label, column): {
            run.seed: run.resampled
            for run in runs
            if (run.row, run.dataset) == (spec.label, column.dataset) and run.resampled is not None
        }
        for spec in table.rows
        for column in table.columns
        if column.metric == "auc"
    }


def value_of(run: Finished, column: TableColumn) -> float | None:
    """A run's value for a column, or ``None`` if it is undefined."""
    if column.metric == "parameters":
        return float(run.result.parameters.embedding + run.result.parameters.dense)
    if column.metric in SUMS:
        total = 0.0
        for task, weight in run.weights.items():
            if (loss := run.result.test.value("logloss", task)) is None:
                return None  # a partial sum would look like the whole
            total += (weight if column.metric == "logloss_weighted" else 1.0) * loss
        return total
    return run.result.test.value(column.metric, column.only_task)


def missing_reason(runs: Sequence[Finished], column: TableColumn) -> str | None:
    """Why finished runs have no value for a column: the metric is undefined, or was not measured."""
    if not runs or column.metric in ("parameters", "auc_gain"):
        return None
    metrics, name = runs[0].result.test, metric_name(column.metric, column.only_task)
    if column.metric in SUMS:
        name = next(f"{task}/logloss" for task in runs[0].weights if metrics.value("logloss", task) is None)
    if reason := metrics.undefined.get(name):
        return f"test/{name} is undefined on {column.dataset}: {reason}"
    every = sorted(metrics.prefixed("test").values)
    of_task = [known for known in every if known.startswith(f"test/{column.only_task}/")]
    return (
        f"{column.dataset}: runs have no test/{name}; they have {', '.join(of_task or every)}. Where the metric is "
        "newer than the runs, run.fresh=true trains them again"
    )


def _fill_gains(table: Table, column: TableColumn, values: Values) -> None:
    """Replace AUCs by the values of MPA's Table 3: AUC over the baselines' mean AUC, in per cent, seed by seed."""
    baselines = [values[label, column] for label in table.baselines]
    complete = set.intersection(*map(set, baselines)) if baselines else set()
    for spec in table.rows:
        areas = {} if spec.label in table.baselines else values[spec.label, column]
        values[spec.label, column] = {
            seed: 100 * (area / (sum(by_seed[seed] for by_seed in baselines) / len(baselines)) - 1)
            for seed, area in areas.items()
            if seed in complete
        }
