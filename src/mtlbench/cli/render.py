"""Results as text for a terminal."""

import shlex
import textwrap
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mtlbench.metrics.names import metric, ordered_names
from mtlbench.report.terminal import table, visible
from mtlbench.result import Metrics, Result
from mtlbench.tracking.credentials import without_password

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from mtlbench.experiment.run import Outcome
    from mtlbench.report.figure import NumberTable
    from mtlbench.tracking.folder import Attempt, RunInfo

WIDTH = 80
"""Width of the output, in characters."""

SHORTEST_NAME = 8
"""Maximum width of a row's name; longer names are shortened."""


def outcome_text(outcome: "Outcome", config: "DictConfig") -> str:
    """A run's test metrics per task, its cost and its folder."""
    result = outcome.result
    head = head_text(result.model, result.dataset, result.seed, "test", result.origin)
    trained = f"{result.epochs} epochs, {result.steps:,} steps, {kept_text(result.best_step)}"
    return "\n".join(
        [
            "",
            head,
            "",
            metrics_text(result.test),
            "",
            *_paragraph(_cost(result)),
            *_paragraph("already finished; nothing was trained" if outcome.reused else trained),
            *convergence_lines(result),
            *(line for text in result.warnings for line in _paragraph(text, "! ")),
            f"  run     {outcome.folder}",
            "  compare " + ui_command(config.run.tracker, outcome.folder.parent),
            "",
        ]
    )


def facts_text(folder: Path, facts: "RunInfo", attempt: "Attempt", result: Result | None) -> str:
    """A run's facts and cost, one line for each that is known."""
    began = datetime.fromtimestamp(attempt.began / 1000, UTC)
    tags = ", ".join(f"{name}={value}".removesuffix("=true") for name, value in facts.tags.items())
    lines = {
        "folder": str(folder),
        "name": facts.name,
        "tags": tags,
        "notes": facts.notes,
        "chosen": shlex.join(facts.overrides),
        "paper": facts.paper,
        "data": f"{facts.origin}, {facts.data}",
        "code": facts.commit,
        "processes": facts.ranks,
        "began": f"{began:%Y-%m-%d %H:%M} UTC",
        "took": result and f"{result.seconds:,.0f} s, {_cost(result)}",
    }
    indent = 2 + max(map(len, lines)) + 2
    shown = [
        textwrap.fill(
            f"{f'  {name}':{indent}}{visible(text)}", WIDTH, subsequent_indent=" " * indent, break_long_words=False,
            break_on_hyphens=False,
        )
        for name, text in lines.items()
        if text
    ]  # fmt: skip
    return "\n".join(shown)


def _cost(result: Result) -> str:
    parameters = result.parameters
    return (
        f"{result.rows_per_second:,.0f} rows/s in training, {parameters.dense:,} dense and {parameters.embedding:,} "
        f"embedding parameters, peak memory of the process {result.peak_memory_mb:,.0f} MB"
    )


def convergence_lines(result: Result) -> list[str]:
    """Lines that say whether a run converged; none if that is unknown."""
    if result.convergence is None:
        return []
    return _paragraph(result.convergence.text, "" if result.convergence.converged else "! ")


def kept_text(best_step: dict[str, int]) -> str:
    """The step whose weights a run has kept, of the whole model or per task."""
    if set(best_step) == {"model"}:
        return f"weights of step {best_step['model']:,} for all tasks"
    return "weights of each task's own step: " + ", ".join(f"{task} {step:,}" for task, step in best_step.items())


def metrics_text(metrics: Metrics) -> str:
    """A split's metrics: a table by task, metrics over all tasks, and why metrics are undefined.

    The table has one row per task or, if that is wider than the terminal, one row per metric.
    """
    known = {name: metric(name) for name in ordered_names(metrics.names)}
    shown = {name: entry for name, entry in known.items() if entry.per_task and entry.summary}
    cells = [[_number(metrics, name, task) for name in shown] for task in metrics.tasks]
    by_task = table(
        ["task", *(entry.title for entry in shown.values())],
        [[task, *task_cells] for task, task_cells in zip(metrics.tasks, cells, strict=True)],
    )
    if max(map(len, by_task.splitlines())) > WIDTH:
        by_task = _by_metric([entry.title for entry in shown.values()], metrics.tasks, cells)
    overall = [
        f"  {entry.title}: {entry.text(value)}"
        for name, entry in known.items()
        if not entry.per_task and (value := metrics.value(name)) is not None
    ]
    reasons = [f"  undefined: {name}: {reason}" for name, reason in metrics.undefined.items()]
    return "\n".join([by_task, *overall, *reasons])


def _by_metric(titles: Sequence[str], tasks: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    """One row per metric and one column per task, split into tables that fit the width of a terminal."""
    fitting = len(tasks)
    while True:
        blocks = [range(start, min(start + fitting, len(tasks))) for start in range(0, len(tasks), fitting)]
        tables = [
            table(
                ["metric", *(tasks[at] for at in block)],
                [[title, *(cells[at][row] for at in block)] for row, title in enumerate(titles)],
            )
            for block in blocks
        ]
        if fitting == 1 or max(len(line) for text in tables for line in text.splitlines()) <= WIDTH:
            return "\n\n".join(tables)
        fitting -= 1


def numbers_text(numbers: "NumberTable") -> str:
    """A table that fits the width of a terminal: the middle of long row names is elided, notes are wrapped."""
    widths = [max(len(row[at]) for row in (numbers.head, *numbers.rows)) + 2 for at in range(1, len(numbers.head))]
    room = max(WIDTH - 2 - sum(widths), SHORTEST_NAME)
    rows = [[_shortened(row[0], room), *row[1:]] for row in numbers.rows]
    notes = [line for note in numbers.notes for line in _paragraph(note)]
    return "\n".join([f"  {numbers.title}", "", table(numbers.head, rows), *notes])


def _shortened(name: str, room: int) -> str:
    kept = room - 1
    return name if len(name) <= room else f"{name[: kept - kept // 2]}…{name[len(name) - kept // 2 :]}"


def _paragraph(text: str, mark: str = "") -> list[str]:
    """A text wrapped to the width of a terminal and indented; the mark begins each line."""
    indent = f"  {mark}"
    return textwrap.wrap(
        text, WIDTH, initial_indent=indent, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


def head_text(model: str, dataset: str, seed: int, split: str, origin: str) -> str:
    """The title of a table of metrics; simulated data are marked."""
    return f"{model} on {dataset}, seed {seed}, {split} split" + ("  SIMULATED DATA" if origin == "simulated" else "")


def counts_text(counts: Mapping[str, int]) -> str:
    """``user 1,200, item 7``."""
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())


def ui_command(tracker: Any, runs: Path) -> str:
    """The command, or the address, for the MLflow page of these runs."""
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
