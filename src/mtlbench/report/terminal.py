"""Tables for a terminal: aligned columns, and the comparison at the end of a sweep."""

import shutil
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, stdev

from mtlbench.metrics.names import metric
from mtlbench.result import Result


def table(head: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> str:
    """Aligned columns of `visible` cells; the first columns are left-aligned, the others right-aligned."""
    head, rows = [*map(visible, head)], [[*map(visible, row)] for row in rows]
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    lines = [
        "  "
        + "  ".join(
            cell.ljust(width) if column < left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in [head, *rows]
    ]
    return "\n".join(line.rstrip() for line in [lines[0], "  " + "-" * (len(lines[0]) - 2), *lines[1:]])


def visible(text: str) -> str:
    """A text with control characters escaped, since names of runs may be untrusted."""
    return text if text.isprintable() else "".join(x if x.isprintable() else repr(x)[1:-1] for x in text)


@dataclass(frozen=True, slots=True)
class _Row:
    """Runs of one configuration: the values of its distinguishing keys, and the result of each seed, if finished."""

    labels: dict[str, str]
    results: list[Result | None]

    @property
    def finished(self) -> list[Result]:
        return [result for result in self.results if result is not None]

    @property
    def facts(self) -> dict[str, str]:
        """The number of seeds, or the identity of a single run, and the speed."""
        finished, count = self.finished, len(self.results)
        seeds = f"{len(finished)} of {count}" if len(finished) < count else str(count)
        run = {"seeds": seeds} if count > 1 else {"run": finished[0].identity if finished else ""}
        speed = f"{mean(result.rows_per_second for result in finished):,.0f}" if finished else ""
        return run | {"converged": self.converged, "rows/s": speed}

    @property
    def converged(self) -> str:
        """``yes``, ``no``, or a count of converged runs; empty if unknown."""
        states = [result.convergence.converged for result in self.finished if result.convergence is not None]
        fraction = f"{sum(states)} of {len(states)}"
        return "" if not states else "yes" if all(states) else fraction if any(states) else "no"

    def values(self, name: str, task: str) -> list[float]:
        """A metric of every seed; empty if any seed has no value."""
        values = [result.test.value(name, task) for result in self.finished]
        return [value for value in values if value is not None] if None not in values else []

    def cell(self, name: str, task: str) -> str:
        if values := self.values(name, task):
            deviation = f" ± {metric(name).text(stdev(values))}" if len(values) > 1 else ""
            return metric(name).text(mean(values)) + deviation
        undefined = any(result.test.reason(name, task) for result in self.finished)
        return "failed" if not self.finished else "undefined" if undefined else ""


def comparison(
    labels: Sequence[Mapping[str, str]], results: Sequence[Result | None], names: Sequence[str], width: int = 0
) -> str:
    """Test metrics of the configurations of a sweep.

    Args:
        labels: for each run, the values of the keys that differ, including ``seed``.
        results: for each run; ``None`` if it failed.
        names: names of the metrics to show; regression tasks use the counterparts.
        width: width of the terminal in characters, detected by default; if it is exceeded, tasks become rows.
    """
    rows = _rows(labels, results)
    finished = [result for result in results if result is not None]
    tasks = list(dict.fromkeys(task for result in finished for task in result.tasks))
    cells = {
        (name, task): _marked(rows, name, task)
        for task in tasks
        for name in _with_counterparts(names)
        if any(row.values(name, task) for row in rows)
    }
    facts = [row.facts for row in rows]
    early = [result for result in finished if result.convergence is not None and not result.convergence.converged]
    if not early:
        for each in facts:
            del each["converged"]
    heads = [*rows[0].labels, *(f"{task} {metric(name).title}" for name, task in cells), *facts[0]]
    wide = [
        [*row.labels.values(), *(column[at] for column in cells.values()), *facts[at].values()]
        for at, row in enumerate(rows)
    ]
    text = table(heads, wide, left=len(rows[0].labels))
    width = width or shutil.get_terminal_size().columns
    if max(map(len, text.splitlines())) > width:
        text = _by_task(rows, facts, tasks, cells, width)
    simulated = sorted({result.dataset for result in finished if result.origin == "simulated"})
    caption = "test split" + f"  SIMULATED DATA: {', '.join(simulated)}" * bool(simulated)
    notes = ["* best configuration"] * (len(rows) > 1)
    notes += ["mean ± standard deviation over seeds"] * any(len(row.finished) > 1 for row in rows)
    lines = [f"  {'; '.join(notes)}"] * bool(notes)
    if early:
        lines += textwrap.wrap(
            f"NOT CONVERGED: {len(early)} of {len(finished)} runs. Their validation scores might still rise: train "
            "longer (trainer.epochs, trainer.patience) before you compare them",
            width,
            initial_indent="  ! ",
            subsequent_indent="  ! ",
        )
    return "\n".join(["", caption, "", text, *lines])


def _with_counterparts(names: Sequence[str]) -> list[str]:
    return [each for name in names for each in (name, metric(name).counterpart) if each is not None]


def _rows(labels: Sequence[Mapping[str, str]], results: Sequence[Result | None]) -> list[_Row]:
    rows: dict[tuple[str, ...], _Row] = {}
    for label, result in zip(labels, results, strict=True):
        key_values = {key: value for key, value in label.items() if key != "seed"}
        rows.setdefault(tuple(key_values.values()), _Row(key_values, [])).results.append(result)
    return list(rows.values())


def _marked(rows: Sequence[_Row], name: str, task: str) -> list[str]:
    """The cells of a column; the best of several means, by the metric's direction, gets an asterisk."""
    scores = [metric(name).score(mean(values)) if (values := row.values(name, task)) else None for row in rows]
    best = max((score for score in scores if score is not None), default=None)
    return [
        row.cell(name, task) + ("" if len(rows) == 1 else "*" if score is not None and score == best else " ")
        for row, score in zip(rows, scores, strict=True)
    ]


def _by_task(
    rows: Sequence[_Row],
    facts: Sequence[Mapping[str, str]],
    tasks: Sequence[str],
    cells: Mapping[tuple[str, str], list[str]],
    width: int,
) -> str:
    """The comparison with tasks as rows, below a paragraph per configuration."""
    names = list(dict.fromkeys(name for name, _ in cells))
    body = [
        [f"  {task}", *(cells[name, task][at] if (name, task) in cells else "" for name in names)]
        for at in range(len(rows))
        for task in tasks
    ]
    head, rule, *lines = table(["task", *(metric(name).title for name in names)], body).splitlines()
    text = [head, rule]
    for at, row in enumerate(rows):
        labels = " ".join(f"{key}={value}" for key, value in row.labels.items())
        facts_text = ", ".join(f"{name} {value}" for name, value in facts[at].items() if value)
        text += textwrap.wrap(
            f"{labels} ({facts_text})", width, initial_indent="  ", subsequent_indent="  ", break_on_hyphens=False
        )
        text += lines[at * len(tasks) : (at + 1) * len(tasks)]
    return "\n".join(text)
