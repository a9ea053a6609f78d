"""MPA, Figs. 9 to 12: effect of embedding width, epochs, depth and perspectives on the metrics on Ali-CCP."""

from collections.abc import Sequence
from itertools import pairwise
from statistics import fmean

from mtlbench.report.figure import Bars, Curve, Lines, Panel, Series
from mtlbench.report.result import Claim, TableColumn
from mtlbench.reproduce import statistics
from mtlbench.reproduce.figure_runs import FigureContent, FigureRuns
from mtlbench.reproduce.figures.curves import by_epoch, mean_curve
from mtlbench.reproduce.values import value_of
from mtlbench.tracking.journal import Journal

CHOSEN_WIDTH, CHOSEN_EPOCHS, CHOSEN_LAYERS = 32, 5, 3


def widths(runs: FigureRuns) -> FigureContent:
    """Fig. 9: AUC by embedding width, the label of a row."""
    (dataset,) = runs.figure.datasets
    curves = [curve for task in runs.tasks(dataset) if (curve := _by_row(runs, dataset, task)) is not None]
    if not curves:
        return FigureContent()
    mean = _mean(curves)
    best, span = max(mean, key=lambda x: mean[x]), max(mean.values()) - min(mean.values())
    panel = Lines(title="AUC", x_name="embedding width", y_name="AUC", curves=tuple(curves), log_x=True)
    return FigureContent(
        panels=(panel,),
        findings=(
            f"The paper: the width matters little, and {CHOSEN_WIDTH} is chosen. Here the tasks' mean AUC is largest "
            f"at {best:.0f} and differs by {span:.4f} between all widths that were run.",
        ),
    )


def epochs(runs: FigureRuns) -> FigureContent:
    """Fig. 10: validation AUC by epoch, a panel for each task."""
    (dataset,) = runs.figure.datasets
    panels: list[Panel] = []
    bests: dict[str, list[Curve]] = {}
    for task in runs.tasks(dataset):
        curves: list[Curve] = []
        for row in [spec.label for spec in runs.figure.rows]:
            journals = [Journal(folder).read() for folder in runs.folders(row, dataset)]
            if curve := mean_curve(row, [by_epoch(lines, f"valid/{task}/auc") for lines in journals]):
                curves.append(curve)
                bests.setdefault(row, []).append(curve)
        if curves:
            panels.append(Lines(title=task, x_name="epoch", y_name="validation AUC", curves=tuple(curves)))
    bests_by_row = []
    for row, curves in bests.items():
        mean = _mean(curves)
        best = max(mean, key=lambda x: mean[x])
        bests_by_row.append(f"{row} is best after epoch {best:.0f} of {max(mean):.0f}, with {mean[best]:.4f}")
    finding = f"The paper: {CHOSEN_EPOCHS} epochs are chosen. Here, by the tasks' mean AUC, {'; '.join(bests_by_row)}."
    return FigureContent(panels=tuple(panels), findings=(finding,) if bests_by_row else ())


def layers(runs: FigureRuns) -> FigureContent:
    """Fig. 11: AUC and weighted log loss by the number of layers, the label of a row."""
    (dataset,) = runs.figure.datasets
    curves = [curve for task in runs.tasks(dataset) if (curve := _by_row(runs, dataset, task)) is not None]
    loss = _weighted_loss(runs, dataset)
    if not curves or loss is None:
        return FigureContent()
    mean = _mean(curves)
    rises = _is_hill([mean[x] for x in sorted(mean)])
    falls = _is_hill([-y for y in loss.y])
    best, least = max(mean, key=lambda x: mean[x]), loss.x[loss.y.index(min(loss.y))]
    return FigureContent(
        panels=(
            Lines(title="AUC", x_name="layers", y_name="AUC", curves=tuple(curves)),
            Lines(title="log loss", x_name="layers", y_name="weighted log loss", curves=(loss,)),
        ),
        claims=(
            Claim(
                text=f"With more layers the AUC first rises and then falls, and the log loss does the opposite; "
                f"{CHOSEN_LAYERS} layers are chosen.",
                verdict="holds" if rises and falls else "fails",
                evidence=(
                    f"the tasks' mean AUC is largest at {best:.0f} layers and "
                    f"{'rises, then falls' if rises else 'does not rise and then fall'}",
                    f"the weighted log loss is least at {least:.0f} and "
                    f"{'falls, then rises' if falls else 'does not fall and then rise'}",
                ),
            ),
        ),
    )


def best_two(runs: FigureRuns) -> FigureContent:
    """Fig. 12: hit rate among each user's top two, by perspective, from the runs of Table 4."""
    assert runs.figure.table is not None, "the figure uses the runs of a table"
    (dataset,) = runs.figure.datasets
    rows = [spec.label for spec in runs.figure.rows]
    columns = runs.figure.table.columns
    series: list[Series] = []
    findings: list[str] = []
    for column in columns:
        by_row = {row: runs.values(row, dataset, f"{column.task}/{column.metric}") for row in rows}
        spreads = {row: statistics.spread(s) for row, s in by_row.items() if s}
        if not spreads:
            continue
        means = {row: spread.mean for row, spread in spreads.items()}
        errors = {row: spread.deviation for row, spread in spreads.items()}
        name = f"{column.task}@2"
        series.append(Series(label=name, values=tuple(map(means.get, rows)), errors=tuple(map(errors.get, rows))))
        if "Combined" in means:
            order = sorted(means, key=lambda row: -means[row])
            findings.append(
                f"The paper: the combination has the largest {name}. Here it has {means['Combined']:.4f}, rank "
                f"{order.index('Combined') + 1} of {len(order)}; the largest is {means[order[0]]:.4f} of {order[0]}."
            )
    panels = (Bars(title="Hits among the two best", y_name="share of hits", groups=tuple(rows), series=tuple(series)),)
    return FigureContent(panels=panels if series else (), findings=tuple(findings))


def _by_row(runs: FigureRuns, dataset: str, task: str) -> Curve | None:
    """Test AUC of a task, by the number in the label of the row."""
    rows = [spec.label for spec in runs.figure.rows]
    return _over_seeds(task, {float(row): runs.values(row, dataset, f"{task}/auc") for row in rows})


def _weighted_loss(runs: FigureRuns, dataset: str) -> Curve | None:
    column = TableColumn(dataset=dataset, task="all", metric="logloss_weighted")
    by_row: dict[float, dict[int, float]] = {}
    for row in [spec.label for spec in runs.figure.rows]:
        values = {member.run.seed: value_of(member.run, column) for member in runs.of(row, dataset)}
        by_row[float(row)] = {seed: value for seed, value in values.items() if value is not None}
    return _over_seeds("both tasks", by_row)


def _over_seeds(name: str, values: dict[float, dict[int, float]]) -> Curve | None:
    """Mean over seeds at every position with values, with a band of one standard deviation if all have several."""
    spreads = {x: statistics.spread(s) for x, s in sorted(values.items()) if s}
    if not spreads:
        return None
    has_band = all(spread.deviation is not None for spread in spreads.values())
    return Curve(
        label=name,
        x=tuple(spreads),
        y=tuple(spread.mean for spread in spreads.values()),
        low=tuple(s.mean - (s.deviation or 0) for s in spreads.values()) if has_band else None,
        high=tuple(s.mean + (s.deviation or 0) for s in spreads.values()) if has_band else None,
    )


def _mean(curves: Sequence[Curve]) -> dict[float, float]:
    """Mean over curves at their common positions."""
    points = [dict(zip(curve.x, curve.y, strict=True)) for curve in curves]
    return {x: fmean(point[x] for point in points) for x in points[0] if all(x in point for point in points)}


def _is_hill(y: Sequence[float]) -> bool:
    """Whether numbers rise to an inner maximum and then fall, by more than rounding at each step."""
    top = y.index(max(y))
    rising = all(b - a > statistics.rounding(a, b) for a, b in pairwise(y[: top + 1]))
    falling = all(a - b > statistics.rounding(a, b) for a, b in pairwise(y[top:]))
    return 0 < top < len(y) - 1 and rising and falling
