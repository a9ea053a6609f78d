"""Learning curves of a run, one picture per family of metrics, drawn from its journal."""

from collections.abc import Sequence
from pathlib import Path

from mtlbench.tracking.journal import Line

FAMILIES = {"loss": "loss (nats)", "logloss": "log loss (nats)", "auc": "AUC"}
"""Last part of a metric's name, and what stands at the axis."""


PANELS_PER_ROW = 3


def draw_curves(lines: Sequence[Line], folder: Path, title: str) -> list[Path]:
    """Write ``<family>.png`` for every family of which some metric was measured at two steps or more.

    Each task has a panel with a scale of its own: the log loss of a rare task is a hundredth of a common one's.

    Returns:
        The pictures, in the order of `FAMILIES`.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    pictures = []
    for family, axis_label in FAMILIES.items():
        panels = _panels(lines, family)
        if not panels:
            continue
        columns = min(len(panels), PANELS_PER_ROW)
        rows = -(-len(panels) // columns)
        # Objects instead of pyplot: no window, no figure that lives on, nothing shared with the caller.
        figure = Figure(figsize=(4.2 * columns, 3.4 * rows), dpi=120, layout="constrained")
        FigureCanvasAgg(figure)
        figure.suptitle(title)
        for number, (task, curves) in enumerate(panels.items(), start=1):
            axes = figure.add_subplot(rows, columns, number)
            for split, points in curves.items():
                steps, values = zip(*points, strict=True)
                marker = "o" if len(points) <= 40 else None
                axes.plot(steps, values, marker=marker, markersize=3, linewidth=1.3, label=split)
            axes.set(title=task, xlabel="optimizer steps", ylabel=axis_label)
            axes.grid(alpha=0.3)
            axes.legend(fontsize="small", frameon=False)
        folder.mkdir(parents=True, exist_ok=True)
        figure.savefig(folder / f"{family}.png")
        pictures.append(folder / f"{family}.png")
    return pictures


def _panels(lines: Sequence[Line], family: str) -> dict[str, dict[str, list[tuple[int, float]]]]:
    """Points (step, value) of a family's metrics ``<split>/<task>/<family>``, by task and by split."""
    panels: dict[str, dict[str, list[tuple[int, float]]]] = {}
    for line in lines:
        for name, value in line.values.items():
            match name.split("/"):
                case [split, task, last] if last == family:
                    panels.setdefault(task, {}).setdefault(split, []).append((line.step, value))
    curves = {task: {s: points for s, points in panel.items() if len(points) > 1} for task, panel in panels.items()}
    return {task: panel for task, panel in curves.items() if panel}
