"""Measures a figure on its finished runs: panels, tested claims, findings, and the notes that a reader needs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mtlbench.report.figure import FigureResult, Panel
from mtlbench.report.result import Claim
from mtlbench.reproduce.converged import convergence_notes, without_verdict
from mtlbench.reproduce.figure import Figure
from mtlbench.reproduce.finished import Finished, banners, carried_over, checkpoint_rules, listed, origins
from mtlbench.reproduce.gather import gather
from mtlbench.reproduce.plan import PlannedRun
from mtlbench.tracking.find import RemoteResult

NAMED = 6
"""Missing rows that are listed by name; the rest is counted."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FigureRun:
    """A finished run of a figure; ``folder`` is ``None`` if only its result was fetched from another machine."""

    run: Finished
    folder: Path | None


@dataclass(frozen=True, kw_only=True, slots=True)
class FigureRuns:
    """A figure's finished runs, with the lookups that the functions in `mtlbench.reproduce.figures` need."""

    figure: Figure
    members: tuple[FigureRun, ...]

    def of(self, row: str, dataset: str) -> list[FigureRun]:
        """Runs of a row on a data set, by seed."""
        found = [member for member in self.members if (member.run.row, member.run.dataset) == (row, dataset)]
        return sorted(found, key=lambda member: member.run.seed)

    def folders(self, row: str, dataset: str) -> list[Path]:
        """Folders of the runs of a row that are on this machine, by seed."""
        return [member.folder for member in self.of(row, dataset) if member.folder is not None]

    def values(self, row: str, dataset: str, metric: str) -> dict[int, float]:
        """A test metric, ``<task>/<name>``, of every run of a row that defines it, by seed."""
        results = {member.run.seed: member.run.result.test.values for member in self.of(row, dataset)}
        return {seed: metrics[metric] for seed, metrics in results.items() if metric in metrics}

    def tasks(self, dataset: str) -> list[str]:
        """Tasks of a data set in their order; none where nothing was run."""
        return next((member.run.result.tasks for member in self.members if member.run.dataset == dataset), [])


@dataclass(frozen=True, kw_only=True, slots=True)
class FigureContent:
    """What a figure's function measures on the runs; see `FigureResult`."""

    panels: tuple[Panel, ...] = ()
    claims: tuple[Claim, ...] = ()
    findings: tuple[str, ...] = ()


def figure_runs(figure: Figure, plan: Sequence[PlannedRun], elsewhere: Mapping[str, RemoteResult]) -> FigureRuns:
    """The finished ones among a figure's planned runs.

    Args:
        figure: the figure.
        plan: its runs.
        elsewhere: results of runs that other machines finished, by identity.
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
    except (OSError, ValueError) as error:  # data that were moved, a journal that is damaged: the other figures go on
        missing = (*missing, f"nothing could be drawn: {error}")
    away = sum(member.folder is None for member in runs.members)
    if away and not content.panels:
        missing = (*missing, f"{away} runs are on other machines, which sent no more than their results")
    unconverged, unknown = convergence_notes(finished)
    notes = (*carried_over(finished), *unconverged, *unknown)
    on_top = banners(finished, scale, settings) if figure.rows else ()
    # The marks as a condition of claims, in the words of a table's: simulated, scaled, own settings.
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
