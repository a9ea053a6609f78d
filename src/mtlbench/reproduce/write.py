"""A measured table or figure as files, and in MLflow beside the runs that it is made of."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from mtlbench.report import draw, text
from mtlbench.report.figure import FigureResult
from mtlbench.report.result import TableResult
from mtlbench.report.stored import stored_text
from mtlbench.tracking.tables import send_rendered

FORMS = {"md": text.markdown, "tex": text.latex, "csv": text.comma_separated, "json": stored_text}
"""Of a table; a figure is a drawing, and its numbers as JSON."""


def write(result: TableResult | FigureResult, folder: Path) -> list[Path]:
    """The result in all forms of its kind, ``<folder>/<name>.<form>``; what was there is replaced."""
    folder.mkdir(parents=True, exist_ok=True)
    if isinstance(result, FigureResult):
        return draw.write(result, folder)
    files: list[Path] = []
    for ending, render in FORMS.items():
        files.append(folder / f"{result.name}.{ending}")
        files[-1].write_text(render(result), encoding="utf-8")
    return files


def told(result: TableResult | FigureResult) -> str:
    """The result as text for a terminal: a table as it is, a figure by what was found in it and what it lacks."""
    if isinstance(result, TableResult):
        return text.markdown(result)
    lines = [f"# {result.name}: {result.title}", *(f"**{mark}**" for mark in result.marks)]
    lines += [f"- {finding}" for finding in result.findings]
    lines += [f"- missing: {gap}" for gap in result.missing]
    return "\n".join(lines) + "\n"


def send(
    result: TableResult | FigureResult, uri: str, experiment: str, members: Mapping[Path, str], files: Sequence[Path]
) -> None:
    """Show the result in MLflow.

    Args:
        result: what is shown.
        uri: tracking URI.
        experiment: name of the MLflow experiment of the runs.
        members: by folder of a finished run: the label of the row that it belongs to.
        files: that `write` wrote.

    Raises:
        TrackingError: the server could not be reached or refused; sending again goes on from there.
    """
    tags = {"paper": result.paper, "place": result.place, "marks": "; ".join(result.marks)}
    if isinstance(result, TableResult):
        send_rendered(uri, experiment, "table", result.name, members, files, {**tags, "summary": result.summary})
    else:
        found = {"findings": "\n".join(result.findings), "missing": "; ".join(result.missing)}
        send_rendered(uri, experiment, "figure", result.name, members, files, {**tags, **found})
