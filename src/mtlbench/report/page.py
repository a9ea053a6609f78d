"""Renders tables and figures as one self-contained HTML page."""

import base64
import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from importlib.resources import files
from typing import Any, get_args
from urllib.parse import urlsplit

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from mtlbench.report.figure import FigureResult
from mtlbench.report.inline import inline_svg
from mtlbench.report.result import ALPHA, Cell, ClaimVerdict, Run, TableColumn, TableResult
from mtlbench.report.table_figure import CAPTION, table_figure
from mtlbench.report.text import INCOMPARABLE, NOTHING, UNCONVERGED, signs, value_text

DIRECTIONS = {
    "higher": "↑ higher is better",
    "lower": "↓ lower is better",
    "near one": "near 1 is better",
    None: "describes the data",
}
"""Hints of column headings, by `Metric.better`."""


def page(results: Sequence[TableResult | FigureResult], *, of_papers: bool = True) -> str:
    """The page of these results, in the given order. Every text of a table or figure is escaped.

    Results are reproductions of papers or, with ``of_papers=False``, analyses of runs.

    The content security policy blocks all loading of resources and all scripts but the page's own, so that a page made
    from untrusted stored tables is safe to open.
    """
    environment = Environment(
        loader=FunctionLoader(_part), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    helpers: dict[str, Any] = {
        "badge": badge,
        "caption": CAPTION,
        "claim_counts": claim_counts,
        "contents": contents,
        "counts": counts,
        "groups": groups,
        "inline": lambda result: Markup(inline_svg(result)),
        "is_figure": lambda result: isinstance(result, FigureResult),
        "is_link": is_link,
        "directions": DIRECTIONS,
        "level": ALPHA,
        "nothing": NOTHING,
        "remarks": remarks,
        "runs": runs,
        "several": _several,
        "signs": signs,
        "sort_value": sort_value,
        "table_figure": table_figure,
        "value_text": value_text,
    }
    environment.globals.update(helpers)
    style, script = _part("page.css"), _part("page.js")
    return environment.get_template("page.html").render(
        results=results,
        of_papers=of_papers,
        title="Tables and figures, measured" if of_papers else "Runs, looked at closely",
        incomparable=INCOMPARABLE,
        unconverged=UNCONVERGED,
        marked=sum(bool(result.marks) for result in results),
        style=Markup(style),
        script=Markup(script),
        policy=f"default-src 'none'; style-src {_digest(style)}; script-src {_digest(script)}",
    )


def badge(cell: Cell, column: TableColumn) -> tuple[str, str]:
    """A cell's verdict as CSS class and as text; better or worse by the metric's direction."""
    if cell.verdict in ("above", "below") and column.about.better is not None:
        assert cell.measured is not None
        assert cell.printed is not None
        ours, printed = map(column.about.score, (cell.measured.for_column(column), float(cell.printed)))
        kind = "better" if ours > printed else "worse"
        return kind, f"{cell.verdict}: {kind}"
    if cell.verdict.startswith("not comparable: "):
        return "incomparable", cell.verdict.removeprefix("not comparable: ")
    kinds = {"within": "within", "undecided": "undecided", "not run": "absent", "undefined": "absent"}
    return kinds.get(cell.verdict, "plain"), cell.verdict


def remarks(cell: Cell, column: TableColumn) -> list[str]:
    """Details of a cell, one per line: interval, seeds, comparison with the best baseline, gain."""
    lines: list[str] = []
    if (measured := cell.measured) is not None:
        if measured.interval is not None:
            low, high = measured.interval
            lines.append(f"95 %: {low:.{column.digits}f} to {high:.{column.digits}f}")
        seeds = _several(len(measured.values), "seed")
        lines.append(seeds if measured.best is None else f"best {measured.best:.{column.digits}f} of {seeds}")
    if (comparison := cell.comparison) is not None:
        lines.append(f"{comparison.difference:+.{max(column.digits, 4)}f} against {comparison.against}")
        tests = (("paired t-test", comparison.t_test), ("Wilcoxon", comparison.wilcoxon))
        lines += [f"{name}: p = {p:.3g}" for name, p in tests if p is not None]
    if cell.gain is not None:
        lines.append(f"{cell.gain:+.2f} % against its single-task twin")
    return lines


def sort_value(cell: Cell, column: TableColumn) -> str:
    """Our number in full precision, for sorting; empty if nothing was run."""
    if cell.measured is None:
        return ""
    return repr(cell.measured.for_column(column))


def groups(columns: Iterable[TableColumn]) -> list[tuple[str, int]]:
    """Column groups: each data set, and the number of columns that it spans."""
    spans: list[tuple[str, int]] = []
    for column in columns:
        if spans and spans[-1][0] == column.dataset:
            spans[-1] = (column.dataset, spans[-1][1] + 1)
        else:
            spans.append((column.dataset, 1))
    return spans


def counts(result: TableResult) -> dict[str, str]:
    """Overview of a table: how many cells ran, and their verdicts."""
    pairs = [pair for row in result.rows for pair in zip(row.cells, result.columns, strict=True)]
    kinds = Counter(badge(cell, column)[0] for cell, column in pairs)
    ran = sum(cell.verdict != "not run" for cell, _ in pairs)
    verdicts = [f"{kinds[kind]} {kind}" for kind in ("within", "better", "worse", "undecided") if kinds[kind]]
    none = "none comparable" if ran and result.anything_printed else NOTHING
    return {"cells": f"{ran} of {len(pairs)}", "verdicts": ", ".join(verdicts) or none}


def claim_counts(result: TableResult | FigureResult) -> str:
    """Number of claims by verdict."""
    counts = Counter(claim.verdict for claim in result.claims)
    return ", ".join(f"{counts[kind]} {kind}" for kind in get_args(ClaimVerdict) if counts[kind]) or NOTHING


def contents(result: FigureResult) -> str:
    """Overview of a figure: numbers of panels, runs, findings and gaps."""
    parts = [_several(len(result.panels), "panel"), _several(len(result.runs), "run")]
    parts += [_several(len(result.findings), "finding")] if result.findings else []
    parts += [f"{len(result.missing)} not drawn"] if result.missing else []
    return ", ".join(parts)


def counted(results: Sequence[TableResult | FigureResult]) -> str:
    """The number of tables and figures, as text."""
    figures_ = sum(isinstance(result, FigureResult) for result in results)
    kinds = ((len(results) - figures_, "table"), (figures_, "figure"))
    return " and ".join(_several(count, kind) for count, kind in kinds if count)


def runs(result: TableResult | FigureResult) -> list[tuple[str, Run]]:
    """Finished runs with the label of their table row; runs of figures have no label."""
    if isinstance(result, FigureResult):
        return [("", run) for run in result.runs]
    return [(row.label, run) for row in result.rows for run in row.runs]


def is_link(address: str | None) -> bool:
    """Whether an address is safe as a link: http(s) only, never a script."""
    return address is not None and urlsplit(address).scheme in ("http", "https")


def _several(count: int, name: str) -> str:
    return f"{count} {name}{'s' * (count != 1)}"


def _part(name: str) -> str:
    return (files("mtlbench.report") / name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
