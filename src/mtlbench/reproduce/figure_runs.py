"""Input of a figure's function (finished runs) and its output.

Separate from reading runs, which imports torch, so that figures can be read and planned without it.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mtlbench.report.figure import Panel
from mtlbench.report.result import Claim

if TYPE_CHECKING:
    from mtlbench.reproduce.figure import Figure
    from mtlbench.reproduce.finished import Finished


@dataclass(frozen=True, kw_only=True, slots=True)
class FigureRun:
    """A finished run of a figure; ``folder`` is ``None`` for a result fetched from another machine."""

    run: "Finished"
    folder: Path | None


@dataclass(frozen=True, kw_only=True, slots=True)
class FigureRuns:
    """A figure's finished runs, with the lookups that the functions in `mtlbench.reproduce.figures` need."""

    figure: "Figure"
    members: tuple[FigureRun, ...]

    def of(self, row: str, dataset: str) -> list[FigureRun]:
        """Runs of a row on a data set, by seed."""
        members = [member for member in self.members if (member.run.row, member.run.dataset) == (row, dataset)]
        return sorted(members, key=lambda member: member.run.seed)

    def folders(self, row: str, dataset: str) -> list[Path]:
        """Folders of the runs of a row that are on this machine, by seed."""
        return [member.folder for member in self.of(row, dataset) if member.folder is not None]

    def values(self, row: str, dataset: str, metric: str) -> dict[int, float]:
        """A test metric, ``<task>/<name>``, of the runs of a row for which it is defined, by seed."""
        results = {member.run.seed: member.run.result.test.values for member in self.of(row, dataset)}
        return {seed: metrics[metric] for seed, metrics in results.items() if metric in metrics}

    def tasks(self, dataset: str) -> list[str]:
        """Tasks of a data set, in order; empty if nothing was run."""
        return next((member.run.result.tasks for member in self.members if member.run.dataset == dataset), [])


@dataclass(frozen=True, kw_only=True, slots=True)
class FigureContent:
    """Result of a figure's function; see `FigureResult`."""

    panels: tuple[Panel, ...] = ()
    claims: tuple[Claim, ...] = ()
    findings: tuple[str, ...] = ()
