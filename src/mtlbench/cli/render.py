"""Results as text for a terminal."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mtlbench.tracking.credentials import public

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from mtlbench.experiment.run import Outcome

METRICS = {
    "ceiling_auc": "its ceiling",
    "excess_auc_share": "share of the excess",
    "logloss": "log loss",
    "logloss_constant": "of a constant",
    "ceiling_logloss": "its floor",
    "pcoc": "PCOC",
    "ece": "ECE",
    "positives": "positives",
    "rows": "rows",
}


def outcome_text(outcome: "Outcome", config: "DictConfig") -> str:
    """A run's test metrics per task, its cost, and where it is kept."""
    result = outcome.result
    head = head_text(result["model"], result["dataset"], result["seed"], "test", result["origin"])
    parameters = result["parameters"]
    state = (
        "finished before, nothing was trained"
        if outcome.reused
        else (f"{result['epochs']} epochs, {result['steps']:,} steps, {kept_text(result['best_step'])}")
    )
    return "\n".join(
        [
            "",
            head,
            "",
            metrics_text(result["metrics"], result["undefined"], "test"),
            "",
            f"  {result['rows_per_second']:,.0f} rows/s in training, {parameters['dense']:,} dense and "
            f"{parameters['embedding']:,} embedding parameters, peak memory of the process "
            f"{result['peak_memory_mb']:,.0f} MB",
            f"  {state}",
            *(f"  ! {text}" for text in result.get("warnings", [])),
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


def metrics_text(metrics: dict[str, float], undefined: dict[str, str], split: str) -> str:
    """A table with a line per task, and the reasons of what is undefined."""
    names = [name.split("/") for name in [*metrics, *undefined] if name.startswith(f"{split}/")]
    tasks, found = (list(dict.fromkeys(parts[i] for parts in names if len(parts) == 3)) for i in (1, 2))
    named_by_data = {key: _title(key) for key in sorted(found) if key.startswith(("auc_on_", "precision_at_"))}
    shown = {"auc": "AUC", "gauc": "gAUC", **named_by_data, **METRICS}
    shown = {key: text for key, text in shown.items() if key in found}
    rows = [
        [
            task,
            *(
                _number(metrics.get(f"{split}/{task}/{key}"), key, f"{split}/{task}/{key}" in undefined)
                for key in shown
            ),
        ]
        for task in tasks
    ]
    overall = [f"  {name}: {value:.4f}" for name, value in metrics.items() if name.count("/") == 1]
    reasons = [f"  undefined: {name}: {reason}" for name, reason in undefined.items()]
    return "\n".join([table(["task", *shown.values()], rows), *overall, *reasons])


def comparison(outcomes: "Sequence[Outcome]") -> str:
    """Test AUC of several runs, a line each."""
    tasks = list(dict.fromkeys(n.split("/")[1] for o in outcomes for n in o.result["metrics"] if n.count("/") == 2))
    rows = [
        [
            o.result["model"],
            o.result["dataset"],
            o.result["origin"],
            str(o.result["seed"]),
            *(_number(o.result["metrics"].get(f"test/{task}/auc"), "auc", True) for task in tasks),
            f"{o.result['rows_per_second']:,.0f}",
            o.folder.name,
        ]
        for o in outcomes
    ]
    return "\n" + table(
        ["model", "data set", "origin", "seed", *(f"{task} AUC" for task in tasks), "rows/s", "run"], rows
    )


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Aligned columns: the first to the left, the others to the right."""
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    lines = [
        "  "
        + "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in [head, *rows]
    ]
    return "\n".join(line.rstrip() for line in [lines[0], "  " + "-" * (len(lines[0]) - 2), *lines[1:]])


def head_text(model: str, dataset: str, seed: int, split: str, origin: str) -> str:
    """What a table of metrics is about; simulated data are marked."""
    return f"{model} on {dataset}, seed {seed}, {split} split" + ("  SIMULATED DATA" if origin == "simulated" else "")


def counted(counts: Mapping[str, int]) -> str:
    """``user 1,200, item 7``."""
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())


def ui_command(tracker: Any, runs: Path) -> str:
    """The command, or the address, that opens the MLflow page of these runs."""
    if tracker.get("uri"):
        uri = public(tracker.uri)
        return uri if uri.startswith("http") else shlex.join(["mtlbench", "ui", f"run.tracker.uri={uri}"])
    if tracker.get("experiment") is None:
        return "is off (tracker=none); `mtlbench sync` sends runs later"
    return shlex.join(["mtlbench", "ui", *([] if str(runs) == "runs" else [f"run.folder={runs}"])])


def _title(metric: str) -> str:
    """``AUC on clicks`` for ``auc_on_clicks``, ``P@2 export`` for ``precision_at_2_export``."""
    return metric.replace("auc_on_", "AUC on ").replace("precision_at_", "P@").replace("_", " ")


def _number(value: float | None, metric: str, undefined: bool) -> str:
    if value is None:
        return "undefined" if undefined else ""
    if metric in ("positives", "rows"):
        return f"{value:,.0f}"
    if metric == "excess_auc_share":
        return f"{value:.1%}"
    return f"{value:.5f}" if "logloss" in metric else f"{value:.4f}"
