"""Results as text for a terminal."""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mtlbench.metrics.names import metric, ordered_names
from mtlbench.report.terminal import table
from mtlbench.result import Metrics
from mtlbench.tracking.credentials import without_password

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from mtlbench.experiment.run import Outcome


def outcome_text(outcome: "Outcome", config: "DictConfig") -> str:
    """A run's test metrics per task, its cost, and where it is kept."""
    result = outcome.result
    head = head_text(result.model, result.dataset, result.seed, "test", result.origin)
    state = (
        "finished before, nothing was trained"
        if outcome.reused
        else (f"{result.epochs} epochs, {result.steps:,} steps, {kept_text(result.best_step)}")
    )
    return "\n".join(
        [
            "",
            head,
            "",
            metrics_text(result.test),
            "",
            f"  {result.rows_per_second:,.0f} rows/s in training, {result.parameters.dense:,} dense and "
            f"{result.parameters.embedding:,} embedding parameters, peak memory of the process "
            f"{result.peak_memory_mb:,.0f} MB",
            f"  {state}",
            *(f"  ! {text}" for text in result.warnings),
            f"  run     {outcome.folder}",
            "  compare " + ui_command(config.run.tracker, outcome.folder.parent),
            "",
        ]
    )


def kept_text(best_step: dict[str, int]) -> str:
    """Which weights a run has kept."""
    if set(best_step) == {"model"}:
        return f"weights of step {best_step['model']:,} for all tasks"
    return "weights of each task's own step: " + ", ".join(f"{task} {step:,}" for task, step in best_step.items())


def metrics_text(metrics: Metrics) -> str:
    """A split's metrics: a table with a line per task, those of all tasks, and why others are undefined."""
    known = {name: metric(name) for name in ordered_names(metrics.names)}
    shown = {name: entry for name, entry in known.items() if entry.per_task and entry.summary}
    rows = [[task, *(_number(metrics, name, task) for name in shown)] for task in metrics.tasks]
    overall = [
        f"  {entry.title}: {entry.text(value)}"
        for name, entry in known.items()
        if not entry.per_task and (value := metrics.value(name)) is not None
    ]
    reasons = [f"  undefined: {name}: {reason}" for name, reason in metrics.undefined.items()]
    return "\n".join([table(["task", *(entry.title for entry in shown.values())], rows), *overall, *reasons])


def head_text(model: str, dataset: str, seed: int, split: str, origin: str) -> str:
    """What a table of metrics is about; simulated data are marked."""
    return f"{model} on {dataset}, seed {seed}, {split} split" + ("  SIMULATED DATA" if origin == "simulated" else "")


def counts_text(counts: Mapping[str, int]) -> str:
    """``user 1,200, item 7``."""
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())


def ui_command(tracker: Any, runs: Path) -> str:
    """The command, or the address, that opens the MLflow page of these runs."""
    if tracker.get("uri"):
        uri = without_password(tracker.uri)
        return uri if uri.startswith("http") else shlex.join(["mtlbench", "ui", f"run.tracker.uri={uri}"])
    if tracker.get("experiment") is None:
        return "is off (tracker=none); `mtlbench sync` sends runs later"
    return shlex.join(["mtlbench", "ui", *([] if str(runs) == "runs" else [f"run.folder={runs}"])])


def _number(metrics: Metrics, name: str, task: str) -> str:
    value = metrics.value(name, task)
    if value is None:
        return "undefined" if metrics.reason(name, task) else ""
    return metric(name).text(value)
