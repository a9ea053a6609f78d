"""Renders a table as text, printed beside measured numbers: Markdown for reading, CSV for other programs."""

import csv
import io
from collections.abc import Sequence

from mtlbench.report.result import ALPHA, COMPARED, Cell, Claim, Row, TableColumn, TableResult

NOTHING = "-"
INCOMPARABLE = "†"
"""Mark of a number that is not comparable with the printed one beside it."""
UNCONVERGED = "‡"
"""Mark of a number from runs that did not converge."""
HEADER = (
    "row,group,dataset,task,metric,statistic,printed,mean,deviation,low,high,best,seeds,verdict,against,difference,"
    "p_t,p_wilcoxon,gain_percent,marks"
)
MARKDOWN = str.maketrans({"\\": r"\\", "|": r"\|", "\n": " "})
"""Escapes for Markdown table cells: a bar would end the cell, a line break the row."""


def markdown(result: TableResult) -> str:
    """The whole result as Markdown: marks, the table (paper / ours), claims, agreement, footnotes."""
    lines = [f"# {result.name}: {result.title}", "", f"{result.paper}. {result.place}.", ""]
    lines += [f"**{mark}**" for mark in result.marks] + [""] * bool(result.marks)
    lines += [result.summary + ".", ""]
    heads = ["", *(_md(column.name) for column in result.columns), "average rank"]
    lines += ["| " + " | ".join(heads) + " |", "|" + "|".join(["---"] + ["---:"] * (len(heads) - 1)) + "|"]
    for row in result.rows:
        cells = [
            _md(_cell(cell, column, f", {cell.verdict}" * (cell.verdict in COMPARED), result.is_printed(column)))
            for cell, column in zip(row.cells, result.columns, strict=True)
        ]
        rank = result.ranks.get(row.label)
        lines.append("| " + " | ".join([_md(row.label), *cells, NOTHING if rank is None else f"{rank:.2f}"]) + " |")
    held_against = ("the paper's number / ours, ", ", what they say") if result.anything_printed else ("", "")
    lines += ["", "Every cell: {}mean and standard deviation over seeds{}.".format(*held_against), ""]
    lines += ["## Claims", "", *claim_lines(result.claims), ""] if result.claims else []
    lines += _agreement(result) + _footnotes(result)
    return "\n".join(lines).rstrip() + "\n"


def comma_separated(result: TableResult) -> str:
    """The result as CSV, one line per cell, with numbers in full precision."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(HEADER.split(","))
    for row in result.rows:
        for cell, column in zip(row.cells, result.columns, strict=True):
            writer.writerow([*_place(row, column), *_numbers(cell), "; ".join(result.marks)])
    return out.getvalue()


def value_text(cell: Cell, column: TableColumn) -> str:
    """Our number: best, or mean and standard deviation; a dash if nothing was run."""
    measured = cell.measured
    if measured is None:
        return NOTHING
    text = f"{measured.for_column(column):.{column.digits}f}"
    spread = column.statistic == "mean" and measured.deviation is not None
    return f"{text} ± {measured.deviation:.{column.digits}f}" if spread else text


def signs(cell: Cell) -> str:
    """Signs after our number: not comparable with the printed one, not converged, significantly better than the best
    baseline."""
    comparison = cell.comparison
    p = comparison.t_test if comparison is not None and comparison.better else None
    significant = p is not None and p <= ALPHA
    incomparable = INCOMPARABLE * cell.verdict.startswith("not comparable")
    return incomparable + UNCONVERGED * (cell.converged is False) + "*" * significant


def claim_lines(claims: Sequence[Claim]) -> list[str]:
    """A Markdown list of claims: verdict and text, with the evidence below."""
    lines = []
    for claim in claims:
        condition = f" ({claim.condition})" * bool(claim.condition)
        lines += [f"- **{claim.verdict}**{condition}: {claim.text}", *(f"  - {text}" for text in claim.evidence)]
    return lines


def _cell(cell: Cell, column: TableColumn, verdict: str, printed: bool) -> str:
    """Our number, after the paper's in a column with printed numbers."""
    theirs = f"{NOTHING if cell.printed is None else cell.printed} / " * printed
    ours = value_text(cell, column) + signs(cell) + verdict + " (negative transfer)" * cell.negative_transfer
    notes = "".join(f"[{number + 1}]" for number in cell.footnotes)
    return f"{theirs}{ours} {notes}".strip()


def _agreement(result: TableResult) -> list[str]:
    defined = {name: tau for name, tau in result.agreement.items() if tau is not None}
    if not defined:
        return []
    return [
        "## Order of methods, ours against the paper's (Kendall's tau)",
        "",
        *(f"- {name}: {tau:+.2f}" for name, tau in defined.items()),
        "",
    ]


def _footnotes(result: TableResult) -> list[str]:
    lines = [f"{number}. {text}" for number, text in enumerate(result.footnotes, start=1)]
    signs = [f"\\* better than the best baseline, p <= {ALPHA} (paired t-test, Holm)"]
    reasons = {cell.verdict for row in result.rows for cell in row.cells if cell.verdict.startswith("not comparable")}
    signs += [f"{INCOMPARABLE} {reason}" for reason in sorted(reasons)]
    if any(cell.converged is False for row in result.rows for cell in row.cells):
        signs.append(f"{UNCONVERGED} not converged: validation still improved when a run's budget ended")
    return ["## Notes", "", *(f"{sign}  " for sign in signs), "", *lines]


def _place(row: Row, column: TableColumn) -> list[str]:
    return [row.label, row.group, column.dataset, column.task, column.metric, column.statistic]


def _numbers(cell: Cell) -> list[object]:
    measured, comparison = cell.measured, cell.comparison
    ours: list[object] = [""] * 6
    if measured is not None:
        low, high = measured.interval or ("", "")
        ours = [measured.mean, _or_blank(measured.deviation), low, high, _or_blank(measured.best), len(measured.values)]
    theirs: list[object] = [""] * 4
    if comparison is not None:
        theirs = [comparison.against, comparison.difference, _or_blank(comparison.t_test)]
        theirs.append(_or_blank(comparison.wilcoxon))
    return [cell.printed or "", *ours, cell.verdict, *theirs, _or_blank(cell.gain)]


def _or_blank(value: float | None) -> object:
    return "" if value is None else value


def _md(text: str) -> str:
    return text.translate(MARKDOWN)
