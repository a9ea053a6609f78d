"""Writes a measured table or figure as files, and sends it to MLflow with its runs."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from mtlbench.files import write_beside
from mtlbench.report import draw, text
from mtlbench.report.figure import FigureResult
from mtlbench.report.latex import latex
from mtlbench.report.result import TableResult
from mtlbench.report.stored import stored_text
from mtlbench.tracking.tables import send_rendered


def write(result: TableResult | FigureResult, folder: Path) -> list[Path]:
    """Write the result in all formats of its kind, ``<folder>/<name>.<format>``, replacing files atomically."""
    folder.mkdir(parents=True, exist_ok=True)
    files: list[Path] = []
    for ending, content in _forms(result).items():
        files.append(folder / f"{result.name}.{ending}")
        write_beside(files[-1], content if isinstance(content, bytes) else content.encode())
    return files


def _forms(result: TableResult | FigureResult) -> dict[str, str | bytes]:
    """Contents by file extension."""
    if isinstance(result, FigureResult):
        return {
            "png": draw.png(result),
            "svg": draw.svg(result),
            "pdf": draw.pdf(result),
            "json": stored_text(result),
        }
    return {
        "md": text.markdown(result),
        "tex": latex(result),
        "csv": text.comma_separated(result),
        "json": stored_text(result),
    }


def terminal_text(result: TableResult | FigureResult) -> str:
    """The result as text for a terminal; of a figure, its claims and findings, and what is missing."""
    if isinstance(result, TableResult):
        return text.markdown(result)
    lines = [f"# {result.name}: {result.title}", *(f"**{mark}**" for mark in result.marks)]
    lines += text.claim_lines(result.claims)
    lines += [f"- {finding}" for finding in result.findings]
    lines += [f"- missing: {gap}" for gap in result.missing]
    return "\n".join(lines) + "\n"


def send(
    result: TableResult | FigureResult,
    uri: str,
    experiment: str,
    members: Mapping[Path, str],
    others: Mapping[str, tuple[str, str]],
    files: Sequence[Path],
) -> None:
    """Send the result to MLflow.

    Args:
        result: the table or figure.
        uri: tracking URI.
        experiment: name of the MLflow experiment of the runs.
        members, others: see `send_rendered`.
        files: the files written by `write`.

    Raises:
        TrackingError: the server could not be reached or rejected a request; sending again resumes from there.
    """
    tags = {"paper": result.paper, "place": result.place, "marks": "; ".join(result.marks)}
    if isinstance(result, TableResult):
        send_rendered(
            uri, experiment, "table", result.name, members, others, files, {**tags, "summary": result.summary}
        )
    else:
        counts = {
            "findings": "\n".join([*text.claim_lines(result.claims), *result.findings]),
            "missing": "; ".join(result.missing),
        }
        send_rendered(uri, experiment, "figure", result.name, members, others, files, {**tags, **counts})
