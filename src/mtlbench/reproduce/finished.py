"""Finished runs of a table or figure, and banners and footnotes about a set of them."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from mtlbench.experiment.code_version import code_version
from mtlbench.metrics.names import metric
from mtlbench.report.result import Run
from mtlbench.reproduce.carry_over import FEWER
from mtlbench.reproduce.plan import SMALLEST
from mtlbench.reproduce.sampling import Resampled
from mtlbench.result import CheckpointRule, Metrics, Result

KEPT: dict[CheckpointRule, str] = {
    "run": "one step for all tasks, the best by validation (trainer.checkpoint=run)",
    "task": "each task's own best step by validation (trainer.checkpoint=task)",
}
"""Which weights each rule keeps, for the footnotes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Finished:
    """A finished run of a table or a figure.

    Attributes:
        row, dataset, seed: its cell.
        choice: name of the data set's configuration.
        result: the run's result.
        code: the current code version for this run.
        weights: weights of the tasks in the training loss, for the weighted log loss.
        link, curve: see `Run`.
        paper_steps, carried_over: see `PlannedRun`.
        valid: validation metrics of the selected weights, if the journal is on this machine.
        resampled: its AUCs on bootstrap draws of the test users, if it has stored its scores.
    """

    row: str
    dataset: str
    seed: int
    choice: str
    result: Result
    weights: Mapping[str, float]
    code: str = field(default_factory=code_version)
    link: str | None = None
    curve: tuple[float, ...] = ()
    paper_steps: int | None = None
    carried_over: tuple[str, ...] = ()
    valid: Metrics = field(default_factory=Metrics)
    resampled: Resampled | None = None

    def validation_score(self, metric_name: str, task: str | None) -> float:
        """Validation score of the selected weights for a metric and task, higher is better.

        If that was not measured on validation data, the score by which weights were selected.
        """
        value = self.valid.value(metric_name, task)
        if value is not None:
            return metric(metric_name).score(value)
        scores = self.result.best_valid
        return scores.get(task or "", self.result.validation_score)


def listed(run: Finished) -> Run:
    """The run's entry in a report."""
    return Run(
        identity=run.result.identity,
        seed=run.seed,
        dataset=run.dataset,
        origin=run.result.origin,
        link=run.link,
        curve=run.curve,
    )


def banners(runs: Sequence[Finished], scale: float | None, settings: Sequence[str]) -> tuple[str, ...]:
    """Banners for results from these runs: simulated, scaled, fewer steps, or with the user's own settings.

    Args:
        runs: finished runs.
        scale: requested fraction of the published rows, if not all.
        settings: the user's overrides, in addition to those of the table or figure.
    """
    simulated = sorted({run.dataset for run in runs if run.result.origin == "simulated"})
    first = [f"SIMULATED DATA: {', '.join(simulated)}"] if simulated else []
    scaled = [f"SCALED: {scale:g} of the published rows, at least {SMALLEST:,}"] if scale is not None else []
    return (*first, *scaled, *_fewer_steps(runs), *([f"OWN SETTINGS: {', '.join(settings)}"] if settings else []))


def _fewer_steps(runs: Sequence[Finished]) -> list[str]:
    """A banner if budgets in epochs give fewer steps than on the paper's rows."""
    texts: dict[str, str] = {}
    for run in runs:
        if run.paper_steps is not None and run.result.steps < FEWER * run.paper_steps:
            texts.setdefault(run.dataset, f"{run.dataset} {run.result.steps:,} for the paper's {run.paper_steps:,}")
    return [f"FEWER STEPS: {', '.join(texts.values())}"] if texts else []


def carried_over(runs: Sequence[Finished]) -> list[str]:
    """Footnotes on settings that were adapted to other data than the paper's."""
    return list(dict.fromkeys(f"{run.dataset}: {note}" for run in runs for note in run.carried_over))


def checkpoint_rules(runs: Sequence[Finished]) -> list[str]:
    """A footnote on how the weights were selected."""
    rows: dict[CheckpointRule, list[str]] = {}
    for run in runs:
        rows.setdefault(run.result.selected_by, []).append(run.row)
    texts = [
        KEPT[by] + (f": {', '.join(dict.fromkeys(row_labels))}" if len(rows) > 1 else "")
        for by, row_labels in rows.items()
    ]
    return [f"weights are those of {'; of '.join(texts)}"] if texts else []


def same_test_rows(runs: Sequence[Finished]) -> bool:
    """Whether the test splits of runs agree in their results, by task.

    What must agree: rows, positives, groups, and the deviation of a regression task's labels up to rounding, since
    labels are standardised by training rows.
    """
    facts = [
        {name: value for name, value in run.result.metrics.items() if name.startswith("test/") and _compared(name)}
        for run in runs
    ]
    return bool(facts[0]) and all(
        each.keys() == facts[0].keys()
        and all(math.isclose(value, facts[0][name], rel_tol=_tolerance(name)) for name, value in each.items())
        for each in facts
    )


def _compared(metric_name: str) -> bool:
    return metric_name.rpartition("/")[2] in ("rows", "positives", "groups", "rmse_constant")


def _tolerance(metric_name: str) -> float:
    return 1e-5 if metric_name.endswith("/rmse_constant") else 0.0


def origins(runs: Sequence[Finished], *, inputs_differ: bool = False) -> list[str]:
    """Footnotes on data sets whose runs differ in code version or data, or were made by another code version.

    Args:
        runs: finished runs of a table or figure.
        inputs_differ: see `TableKeys`.
    """
    notes: list[str] = []
    for dataset in dict.fromkeys(run.dataset for run in runs):
        dataset_runs = [run for run in runs if run.dataset == dataset]
        if len(codes := _rows_by(dataset_runs, lambda result: result.code)) > 1:
            notes.append(f"{dataset}: runs were made by {len(codes)} versions of the code ({_listed(codes)})")
        elif codes.keys() != {here := dataset_runs[0].code}:
            notes.append(f"{dataset}: runs were made by other code ({', '.join(codes)}) than this ({here})")
        if len(data := _rows_by(dataset_runs, lambda result: result.data)) > 1:
            if inputs_differ and same_test_rows(dataset_runs):
                notes.append(f"{dataset}: runs read different inputs of the same test rows ({_listed(data)})")
            else:
                notes.append(f"{dataset}: runs saw different data ({_listed(data)}); their numbers are not comparable")
    return notes


def _listed(rows_by: Mapping[str, Sequence[str]]) -> str:
    return "; ".join(f"{key}: {', '.join(rows)}" for key, rows in rows_by.items())


def _rows_by(runs: Sequence[Finished], key: Callable[[Result], str]) -> dict[str, list[str]]:
    """Labels of rows by a value of their runs; a row whose runs differ is listed under each value."""
    values = sorted({key(run.result) for run in runs})
    return {each: list(dict.fromkeys(run.row for run in runs if key(run.result) == each)) for each in values}
