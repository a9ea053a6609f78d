"""Measures a figure on its finished runs: panels, tested claims, findings and notes."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from mtlbench.report.figure import FigureResult
from mtlbench.reproduce.converged import convergence_notes, without_verdict
from mtlbench.reproduce.figure import Figure
from mtlbench.reproduce.figure_runs import FigureContent, FigureRun, FigureRuns
from mtlbench.reproduce.finished import banners, carried_over, checkpoint_rules, listed, origins
from mtlbench.reproduce.gather import gather
from mtlbench.reproduce.plan import PlannedRun
from mtlbench.tracking.find import RemoteResult

NAMED = 6
"""Maximum number of missing rows that are listed by name; the rest are counted."""


def figure_runs(figure: Figure, plan: Sequence[PlannedRun], elsewhere: Mapping[str, RemoteResult]) -> FigureRuns:
    """The finished runs among a figure's planned runs.

    Args:
        figure: the figure.
        plan: its runs.
        elsewhere: results of runs finished on other machines, by identity.
    """
    members = [
        FigureRun(run=finished, folder=run.folder if run.finished else None)
        for run in plan
        for finished in gather([run], elsewhere)
    ]
    return FigureRuns(figure=figure, members=tuple(members))


def measure_figure(runs: FigureRuns, *, scale: float | None, settings: Sequence[str]) -> FigureResult:
    """Measure the figure on its finished runs.

    Args:
        runs: see `FigureRuns`.
        scale, settings: see `banners`.
    """
    figure, finished = runs.figure, [member.run for member in runs.members]
    missing = _missing(runs)
    content = FigureContent()
    try:
        if finished or not figure.rows:
            content = figure.draws(runs)
    except (OSError, ValueError) as error:  # such as moved data or a damaged journal; other figures continue
        missing = (*missing, f"nothing could be drawn: {error}")
    away = sum(member.folder is None for member in runs.members)
    if away and not content.panels:
        missing = (*missing, f"{away} runs are on other machines, which sent no more than their results")
    unconverged, unknown = convergence_notes(finished)
    notes = (*carried_over(finished), *unconverged, *unknown)
    on_top = banners(finished, scale, settings) if figure.rows else ()
    # The marks as a condition of claims, worded as in tables: simulated, scaled, own settings.
    condition = ", ".join(mark.partition(":")[0].lower().removesuffix(" data") for mark in on_top)
    return FigureResult(
        name=figure.name,
        title=figure.title,
        paper=f"{figure.paper.name}: {figure.paper.title}, {figure.paper.venue}",
        place=figure.place,
        panels=content.panels,
        claims=tuple(without_verdict(replace(claim, condition=condition), finished) for claim in content.claims),
        findings=content.findings,
        footnotes=(*_seeds_note(runs), *figure.notes, *checkpoint_rules(finished), *origins(finished), *notes),
        marks=on_top,
        runs=tuple(map(listed, finished)),
        missing=missing,
    )


def _seeds_note(runs: FigureRuns) -> list[str]:
    figure = runs.figure
    if not figure.rows:
        return []
    cells = [(row.label, dataset) for row in figure.rows for dataset in figure.datasets]
    counts = sorted({count for cell in cells if 0 < (count := len(runs.of(*cell))) < figure.seeds})
    fewer = f"; some have {' or '.join(map(str, counts))} only" if counts else ""
    return [f"{figure.seeds} seeds per row and data set: {figure.seeds_note}{fewer}"]


def _missing(runs: FigureRuns) -> tuple[str, ...]:
    texts: list[str] = []
    for dataset in runs.figure.datasets:
        absent = [row.label for row in runs.figure.rows if not runs.of(row.label, dataset)]
        if not absent:
            continue
        rest = f" and {len(absent) - NAMED} others" if len(absent) > NAMED else ""
        texts.append(f"{dataset}: {', '.join(absent[:NAMED])}{rest} of {len(runs.figure.rows)} rows")
    return tuple(texts)
