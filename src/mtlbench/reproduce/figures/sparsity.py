"""MSSM, Fig. 3: weights of the field masks, and the fraction of cells that close in training."""

from statistics import fmean
from typing import TYPE_CHECKING

from mtlbench.report.figure import HeatMap, Lines, Panel
from mtlbench.report.result import Claim
from mtlbench.reproduce.figure_runs import FigureContent, FigureRuns
from mtlbench.reproduce.figures.curves import by_epoch, level, mean_curve
from mtlbench.tracking.journal import Journal

if TYPE_CHECKING:
    from torch import Tensor

    from mtlbench.experiment.diagnose import Shown

PRINTED = 0.6
"""Fraction of closed cells that the paper exceeds as the model converges (3.5.2)."""


def masks(runs: FigureRuns) -> FigureContent:
    """(a): mean mask of each field and reader over test rows, of the first seed; (b): fraction of cells at 0, by epoch
    (from runs with ``trainer.diagnostics``)."""
    from mtlbench.experiment.diagnose import average_diagnostics  # imports torch, not needed for planning
    from mtlbench.experiment.evaluation import load_run

    (row,), (dataset,) = [spec.label for spec in runs.figure.rows], runs.figure.datasets
    folders = runs.folders(row, dataset)
    if not folders:
        return FigureContent()
    run = load_run(folders[0])
    shown = average_diagnostics(run, _measured)
    tasks = [task.name for task in run.store.schema.tasks]
    readers = [*tasks, *["shared"] * (len(shown["mask"]) - len(tasks))]
    fields = [field.name for field in run.store.schema.fields]
    panels: list[Panel] = [_map(fields, readers, shown["mask"])]
    findings = (_of_masks(fields, readers, shown),)
    closed = [by_epoch(Journal(folder).read(), "diagnostics/gate_closed") for folder in folders]
    if curve := mean_curve(row, closed):
        printed = level("the paper, at convergence: above", curve.x, PRINTED)
        panels.append(Lines(title="(b) CSSM", x_name="epoch", y_name="share of closed cells", curves=(curve, printed)))
        last = fmean(shares[max(shares)] for shares in closed)
        claim = Claim(
            text=f"As the model converges, more than {PRINTED:.0%} of the cells are closed.",
            verdict="holds" if last > PRINTED else "fails",
            evidence=(f"{last:.0%} are closed after the last epoch, {curve.y[0]:.0%} after the first",),
        )
        return FigureContent(panels=tuple(panels), claims=(claim,), findings=findings)
    return FigureContent(panels=tuple(panels), findings=findings)


def _measured(shown: "Shown") -> "dict[str, Tensor]":
    return {name: shown[name] for name in ("mask", "mask_closed")}


def _map(fields: list[str], readers: list[str], mask_NF: "Tensor") -> HeatMap:
    return HeatMap(
        title="(a) FSCM",
        x_name="sub-network",
        y_name="field",
        value_name="mean mask weight",
        x=tuple(readers),
        y=tuple(fields),
        values=tuple(map(tuple, mask_NF.T.tolist())),
    )


def _of_masks(fields: list[str], readers: list[str], shown: "Shown") -> str:
    shut = [
        f"{field} for {reader}"
        for n, reader in enumerate(readers)
        for f, field in enumerate(fields)
        if shown["mask_closed"][n, f] == 1
    ]
    names = f": {', '.join(shut)}" if shut else ""
    return (
        f"The paper: some mask weights are 0 (3 are named). Here {len(shut)} of {shown['mask'].numel()} are 0 on every "
        f"row{names}; the mean share of rows at 0 is {float(shown['mask_closed'].mean()):.0%}."
    )
