"""MMoE, Fig. 4: the final error of each model on two regression tasks, over runs each with its own data."""

from statistics import fmean, median

import numpy as np

from mtlbench.metrics.names import metric
from mtlbench.report.figure import Curve, Lines
from mtlbench.report.result import Claim
from mtlbench.reproduce import statistics
from mtlbench.reproduce.figure_runs import FigureContent, FigureRuns

QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)
BOTTOM, ONE_GATE, GATES = "Shared-Bottom", "OMoE", "MMoE"
LEAST_RELATED = "p = 0.5"


def errors(runs: FigureRuns) -> FigureContent:
    """Median error by correlation, with a band from the first to the third quartile; all quantiles as findings."""
    by_seed_of = {
        (row.label, dataset): by_seed
        for row in runs.figure.rows
        for dataset in runs.figure.datasets
        if (by_seed := _errors(runs, row.label, dataset))
    }
    curves = [curve for row in runs.figure.rows if (curve := _curve(row.label, by_seed_of)) is not None]
    if not curves:
        return FigureContent()
    panel = Lines(
        title="final error on test rows", x_name="correlation p", y_name="squared error", curves=tuple(curves)
    )
    texts = [
        f"{dataset}, {row}: quantiles {', '.join(f'{q:.0%}' for q in QUANTILES)} of the error are "
        f"{', '.join(f'{value:.5f}' for value in np.quantile(list(by_seed.values()), QUANTILES))} ({len(by_seed)} runs)"
        for (row, dataset), by_seed in by_seed_of.items()
    ]
    claims = [
        _lower(f"At {LEAST_RELATED}, the error of {GATES} is below that of {other}.", by_seed_of, other)
        for other in (BOTTOM, ONE_GATE)
    ]
    return FigureContent(panels=(panel,), claims=tuple(claims), findings=tuple(texts))


def _errors(runs: FigureRuns, row: str, dataset: str) -> dict[int, float]:
    """By seed: mean squared error relative to that of the best constant, averaged over tasks."""
    shares = []
    for task in runs.tasks(dataset):
        constants = runs.values(row, dataset, f"{task}/rmse_constant")
        shares.append({s: (e / constants[s]) ** 2 for s, e in runs.values(row, dataset, f"{task}/rmse").items()})
    seeds = set.intersection(*map(set, shares)) if shares else set()
    return {seed: fmean(by_seed[seed] for by_seed in shares) for seed in sorted(seeds)}


def _curve(row: str, found: dict[tuple[str, str], dict[int, float]]) -> Curve | None:
    by_correlation = {
        float(dataset.rpartition(" ")[2]): list(errors.values())
        for (label, dataset), errors in found.items()
        if label == row
    }
    if not by_correlation:
        return None
    x = sorted(by_correlation)
    low, high = (tuple(float(np.quantile(by_correlation[p], q)) for p in x) for q in (0.25, 0.75))
    return Curve(label=row, x=tuple(x), y=tuple(median(by_correlation[p]) for p in x), low=low, high=high)


def _lower(text: str, found: dict[tuple[str, str], dict[int, float]], other: str) -> Claim:
    """Runs of one seed have the same data, so errors are compared seed by seed, by a paired t-test."""
    ours, theirs = (found.get((row, LEAST_RELATED), {}) for row in (GATES, other))
    if not ours.keys() & theirs.keys():
        return Claim(text=text, verdict="not run", evidence=())
    test = statistics.difference(metric("rmse"), [statistics.Pair(ours=ours, theirs=theirs)])
    clear = "holds" if test.mean < 0 else "fails"
    p = "too few runs to test" if test.t_test is None else f"p = {test.t_test:.2g}, paired t-test"
    return Claim(
        text=text,
        verdict=clear if test.significant else "undecided",
        evidence=(f"the mean difference is {test.mean:+.5f} over {len(ours.keys() & theirs.keys())} runs ({p})",),
    )
