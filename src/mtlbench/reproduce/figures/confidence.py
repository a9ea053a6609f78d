"""DEPHN, Fig. 7: predictions of MMoE and DEPHN against the confidences from which Criteo-UR's labels are made."""

from statistics import fmean
from typing import TYPE_CHECKING

import numpy as np
import scipy

from mtlbench.report.figure import Curve, Lines, Panel
from mtlbench.reproduce.figure_runs import FigureContent, FigureRuns

if TYPE_CHECKING:
    from mtlbench.experiment.evaluation import TrainedRun

BINS = 30
LEAST = 20
"""Minimum number of rows of a drawn bin: below, 10 % quantiles would be noise."""

END = 0.1
"""Fraction of rows, of lowest and of highest confidence, at each end."""


def bands(runs: FigureRuns) -> FigureContent:
    """A panel per model: each task's predicted probabilities (mean, 10 % to 90 %) against the base confidence, and as
    references the sigmoid of the confidences minus their labels' thresholds."""
    from mtlbench.experiment.diagnose import predict  # imports torch, not needed for planning
    from mtlbench.experiment.evaluation import load_run

    (dataset,) = runs.figure.datasets
    panels: list[Panel] = []
    orders: dict[str, dict[str, float]] = {}
    ends: dict[str, dict[str, float]] = {}
    for row in [spec.label for spec in runs.figure.rows]:
        opened = [load_run(folder) for folder in runs.folders(row, dataset)]
        if not opened:
            continue
        confidence_NT = _confidences(opened[0])
        predicted_SNT = np.stack([predict(run).numpy() for run in opened])
        tasks = [task.name for task in opened[0].store.schema.tasks]
        panels.append(_panel(row, tasks, confidence_NT, predicted_SNT))
        orders[row], ends[row] = {}, {}
        for t, task in enumerate(tasks):
            pairs = [(confidence_NT[:, t], p_N) for p_N in predicted_SNT[:, :, t]]
            orders[row][task] = fmean(float(scipy.stats.spearmanr(*two).statistic) for two in pairs)  # pyright: ignore[reportAttributeAccessIssue]
            ends[row][task] = fmean(_between_ends(*two) for two in pairs)
    return FigureContent(panels=tuple(panels), findings=(*_compared(orders, ends),))


def _confidences(run: "TrainedRun") -> np.ndarray:
    """Confidences of the test rows minus the thresholds above which labels are positive, ``[N, T]``."""
    thresholds = run.store.manifest["relabel"]["thresholds"]
    return np.load(run.store.folder / "confidences" / "test.npy") - np.array(
        [thresholds[task.name] for task in run.store.schema.tasks]
    )


def _panel(row: str, tasks: list[str], confidence_NT: np.ndarray, predicted_SNT: np.ndarray) -> Lines:
    import torch

    base = confidence_NT[:, 0]
    edges = np.linspace(base.min(), base.max(), BINS + 1)
    bin_N = np.clip(np.digitize(base, edges) - 1, 0, BINS - 1)
    chosen = [rows for at in range(BINS) if len(rows := np.flatnonzero(bin_N == at)) >= LEAST]
    x = tuple(float(base[rows].mean()) for rows in chosen)
    curves: list[Curve] = []
    for t, task in enumerate(tasks):
        within = [predicted_SNT[:, rows, t].ravel() for rows in chosen]
        curves.append(
            Curve(
                label=task,
                x=x,
                y=tuple(float(p.mean()) for p in within),
                low=tuple(float(np.quantile(p, 0.1)) for p in within),
                high=tuple(float(np.quantile(p, 0.9)) for p in within),
            )
        )
        through = torch.from_numpy(confidence_NT[:, t]).sigmoid().numpy()
        y = tuple(float(through[rows].mean()) for rows in chosen)
        curves.append(Curve(label=f"confidence of {task}", x=x, y=y, reference=True))
    return Lines(
        title=row, x_name="base confidence above its threshold", y_name="predicted probability", curves=tuple(curves)
    )


def _between_ends(confidence_N: np.ndarray, p_N: np.ndarray) -> float:
    """Mean prediction of the rows of highest confidence minus that of the rows of lowest."""
    low, high = np.quantile(confidence_N, [END, 1 - END])
    return float(p_N[confidence_N >= high].mean() - p_N[confidence_N <= low].mean())


def _compared(orders: dict[str, dict[str, float]], ends: dict[str, dict[str, float]]) -> list[str]:
    if len(orders) != 2:
        return []
    (one, first), (two, second) = orders.items()
    smoother = sum(second[task] > first[task] for task in first)
    wider = sum(ends[two][task] > ends[one][task] for task in first)
    correlations = ", ".join(f"{first[task]:.3f} and {second[task]:.3f} ({task})" for task in first)
    apart = ", ".join(f"{ends[one][task]:.3f} and {ends[two][task]:.3f} ({task})" for task in first)
    return [
        f"The paper: {two} relates activations to the confidence more smoothly than {one}. Here the rank correlations "
        f"of prediction and confidence are {correlations} under {one} and {two}: higher under {two} on {smoother} of "
        f"{len(first)} tasks.",
        f"The paper: {two} separates the confidences at both ends better. Here predictions for the highest tenth lie "
        f"above those for the lowest by {apart} under {one} and {two}: further under {two} on {wider} of "
        f"{len(first)} tasks.",
    ]
