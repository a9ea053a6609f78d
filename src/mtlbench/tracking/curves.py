"""Learning curves of a run, one picture per family of metrics, drawn from its journal."""

from collections.abc import Sequence
from pathlib import Path

from mtlbench.tracking.journal import Line

FAMILIES = {"loss": "loss (nats)", "logloss": "log loss (nats)", "auc": "AUC"}
"""Last part of a metric's name, and what stands at the axis."""


def draw_curves(lines: Sequence[Line], folder: Path, title: str) -> list[Path]:
    """Write ``<family>.png`` for every family of which some metric was measured at two steps or more.

    Returns:
        The pictures, in the order of `FAMILIES`.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    pictures = []
    for family, axis_label in FAMILIES.items():
        curves = {name: points for name, points in _curves(lines, family).items() if len(points) > 1}
        if not curves:
            continue
        # Objects instead of pyplot: no window, no figure that lives on, nothing shared with the caller.
        figure = Figure(figsize=(7, 4.2), dpi=120, layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        for name, points in curves.items():
            steps, values = zip(*points, strict=True)
            axes.plot(steps, values, marker="o" if len(points) <= 40 else None, markersize=3, linewidth=1.3, label=name)
        axes.set(xlabel="optimizer steps", ylabel=axis_label, title=title)
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small", frameon=False)
        folder.mkdir(parents=True, exist_ok=True)
        figure.savefig(folder / f"{family}.png")
        pictures.append(folder / f"{family}.png")
    return pictures


def _curves(lines: Sequence[Line], family: str) -> dict[str, list[tuple[int, float]]]:
    """Points (step, value) of every metric of a family, in the order in which the metrics first appear."""
    curves: dict[str, list[tuple[int, float]]] = {}
    for line in lines:
        for name, value in line.values.items():
            if name.rpartition("/")[2] == family:
                curves.setdefault(name.rpartition("/")[0] or name, []).append((line.step, value))
    return curves
