"""The figure of a measured table: learning curves per data set, and a scatter plot of its first two tasks."""

from collections.abc import Mapping, Sequence
from statistics import fmean

from mtlbench.report.figure import Curve, FigureResult, Lines, Panel, Point, Scatter
from mtlbench.report.result import Measured, TableColumn, TableResult

CAPTION = (
    "Learning curves: mean over tasks and seeds, as far as all seeds ran. Two tasks: mean and standard deviation over "
    "seeds; filled and joined: not beaten on both tasks (Pareto front)."
)


def table_figure(result: TableResult) -> FigureResult | None:
    """The figure, or ``None`` if nothing ran. It repeats the table's marks, since it may be copied separately."""
    panels: list[Panel] = []
    for dataset in dict.fromkeys(column.dataset for column in result.columns):
        panels += _learning_curves(result, dataset)
        columns = [c for c in result.columns if (c.dataset, c.metric, c.statistic) == (dataset, "auc", "mean")]
        if len(columns) >= 2:
            panels += _plane(result, columns[0], columns[1])
    if not panels:
        return None
    return FigureResult(
        name=f"{result.name}-figure",
        title=result.title,
        paper=result.paper,
        place=result.place,
        panels=tuple(panels),
        marks=result.marks,
    )


def mean_curves(result: TableResult, dataset: str) -> dict[str, tuple[float, ...]]:
    """Mean curve of each row's runs, up to the last common epoch, by label of the row."""
    curves = {}
    for row in result.rows:
        curves_of_row = [run.curve for run in row.runs if run.dataset == dataset and run.curve]
        if curves_of_row:
            curves[row.label] = tuple(fmean(values) for values in zip(*curves_of_row, strict=False))
    return curves


def pareto_front(points: Mapping[str, tuple[float, float]]) -> list[str]:
    """Keys of the points on the Pareto front, left to right; equal points do not dominate each other."""
    best = [
        key
        for key, (x, y) in points.items()
        if not any(u >= x and v >= y and (u, v) != (x, y) for u, v in points.values())
    ]
    return sorted(best, key=lambda key: points[key])


def _learning_curves(result: TableResult, dataset: str) -> Sequence[Panel]:
    curves = tuple(
        Curve(label=label, x=tuple(range(1, len(values) + 1)), y=values)
        for label, values in mean_curves(result, dataset).items()
    )
    title = f"{dataset}: learning curves"
    return [Lines(title=title, x_name="epoch", y_name="mean validation AUC", curves=curves)] if curves else []


def _plane(result: TableResult, across: TableColumn, up: TableColumn) -> Sequence[Panel]:
    pairs: dict[str, tuple[Measured, Measured]] = {}
    for row in result.rows:
        x, y = (row.cells[result.columns.index(column)].measured for column in (across, up))
        if x is not None and y is not None:
            pairs[row.label] = (x, y)
    points = tuple(
        Point(label=label, x=x.mean, y=y.mean, x_error=x.deviation, y_error=y.deviation)
        for label, (x, y) in pairs.items()
    )
    if not points:
        return []
    return [
        Scatter(
            title=f"{across.dataset}: {across.task} against {up.task}",
            x_name=f"AUC of {across.task}",
            y_name=f"AUC of {up.task}",
            points=points,
            front=tuple(pareto_front({label: (x.mean, y.mean) for label, (x, y) in pairs.items()})),
        )
    ]
