"""DEPHN, Fig. 6: training losses with gates that are trained values (TVG) or mapped from inputs (MG)."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from statistics import correlation, pstdev

from mtlbench.report.figure import Lines, Panel
from mtlbench.reproduce.figure_runs import FigureContent, FigureRuns
from mtlbench.reproduce.figures.curves import by_step, mean_curve
from mtlbench.tracking.journal import Journal

KINDS = ("TVG", "MG")


def losses(runs: FigureRuns) -> FigureContent:
    """A panel per data set and task; the loss at a step is the mean since the previous line of the journal."""
    panels: list[Panel] = []
    findings: list[str] = []
    for dataset in runs.figure.datasets:
        journals = {kind: [Journal(folder).read() for folder in runs.folders(kind, dataset)] for kind in KINDS}
        moves: dict[str, list[list[float]]] = {kind: [] for kind in KINDS}
        for task in runs.tasks(dataset):
            of_task = {
                kind: [by_step(lines, f"train/{task}/loss") for lines in runs_lines]
                for kind, runs_lines in journals.items()
            }
            curves = [curve for kind in KINDS if (curve := mean_curve(kind, of_task[kind])) is not None]
            if not curves:
                continue
            panels.append(
                Lines(title=f"{dataset}, {task}", x_name="step", y_name="training loss", curves=tuple(curves))
            )
            for curve in curves:
                moves[curve.label].append(_late_moves(curve.y))
            ends = ", ".join(f"{curve.y[-1]:.4f} ({curve.label}, step {curve.x[-1]:.0f})" for curve in curves)
            findings.append(
                f"{dataset}, {task}. The paper: MG fluctuates less late in training, TVG ends lower. Here the losses "
                f"end at {ends}; {_late_text({curve.label: moves[curve.label][-1] for curve in curves})}."
            )
        findings += _together(dataset, moves)
    return FigureContent(panels=tuple(panels), findings=tuple(findings))


def _late_moves(y: Sequence[float]) -> list[float]:
    """Changes from point to point in the second half."""
    late = y[len(y) // 2 :]
    return [after - before for before, after in pairwise(late)]


def _late_text(moves: Mapping[str, Sequence[float]]) -> str:
    """Fluctuation of losses late in training, as text, if the journal has enough lines."""
    if any(len(changes) < 2 for changes in moves.values()):
        return "the journal has too few lines to measure how much they fluctuate (trainer.log_steps)"
    sizes = ", ".join(f"{_size(changes):.4f} ({kind})" for kind, changes in moves.items())
    return f"late moves from line to line deviate by {sizes}"


def _size(moves: Sequence[float]) -> float:
    return pstdev(moves) if len(moves) > 1 else 0.0


def _together(dataset: str, moves: dict[str, list[list[float]]]) -> list[str]:
    """Correlation of the late changes of two tasks' losses, as text, if the journal has enough lines."""
    correlations = {
        kind: correlation(*two)
        for kind, two in moves.items()
        if len(two) == 2 and len(two[0]) > 2 and all(_size(one) > 0 for one in two)
    }
    if not correlations:
        return []
    values = ", ".join(f"{value:.2f} ({kind})" for kind, value in correlations.items())
    return [
        f"{dataset}. The paper: TVG links the optimisation of the tasks. Here the late moves of the two losses "
        f"correlate at {values}, over {min(len(two[0]) for two in moves.values() if two)} moves."
    ]
