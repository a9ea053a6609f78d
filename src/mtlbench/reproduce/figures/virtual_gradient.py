"""DEPHN, section IV-C: the eight coefficient functions (Fig. 4), and their effect on the AUC (Fig. 5)."""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING

from mtlbench.metrics.names import metric
from mtlbench.report.figure import Bars, HeatMap, Panel, Series
from mtlbench.report.result import Claim
from mtlbench.reproduce import statistics
from mtlbench.reproduce.figure import label
from mtlbench.reproduce.figure_runs import FigureContent, FigureRuns

if TYPE_CHECKING:
    import torch

    from mtlbench.nn.virtual_gradient import Interaction, Shape

DRAWN, MEASURED = 11, 101
"""Grid points per side of the unit square, for heat maps and for claims."""

NAMES: "dict[Interaction, str]" = {"mul": "multiplicity", "add": "additive"}

SHAPES: "tuple[Shape, ...]" = ("abs", "cos", "square", "sqrt")

BySeed = Mapping[int, float]


def coefficients(runs: FigureRuns) -> FigureContent:
    """Fig. 4: gamma over relevance x and gate difference y, multiplicative functions first, as printed."""
    assert not runs.members, "the functions need no runs"
    panels = tuple(_map(interaction, shape) for interaction in NAMES for shape in SHAPES)
    return FigureContent(panels=panels, claims=_coefficient_claims())


def _map(interaction: "Interaction", shape: "Shape") -> HeatMap:
    names = tuple(f"{position:g}" for position in _axis(DRAWN).tolist())
    return HeatMap(
        title=f"{NAMES[interaction]}, {shape}",
        x_name="relevance x",
        y_name="gate difference y",
        value_name="coefficient",
        x=names,
        y=names[::-1],  # upwards, as printed
        values=tuple(map(tuple, _gamma(interaction, shape, DRAWN).flip(0).tolist())),
        centre=1.0,
    )


def _axis(points: int) -> "torch.Tensor":
    import torch  # not needed for planning

    return torch.linspace(0, 1, points)


def _square(points: int) -> "tuple[torch.Tensor, torch.Tensor]":
    """Coordinates y and x ``[Y, X]`` of grid points in the unit square."""
    along = _axis(points)
    return along[:, None].expand(points, points), along[None, :].expand(points, points)


def _gamma(interaction: "Interaction", shape: "Shape", points: int) -> "torch.Tensor":
    """Coefficients ``[Y, X]`` over the unit square."""
    from mtlbench.nn.virtual_gradient import VirtualGradient

    y_YX, x_YX = _square(points)
    return VirtualGradient(interaction=interaction, shape=shape).gamma(x_YX, y_YX)


def _coefficient_claims() -> tuple[Claim, ...]:
    y_YX, x_YX = _square(MEASURED)
    multiplied, added = (_gamma(interaction, "abs", MEASURED) < 1 for interaction in NAMES)
    corner, off = float((x_YX + y_YX)[multiplied].min()), float((x_YX + y_YX - 1).abs()[added].max())
    square, line, root = (
        fmean(float(_gamma(interaction, shape, MEASURED).mean()) for interaction in NAMES)
        for shape in ("square", "abs", "sqrt")
    )
    return (
        Claim(
            text="Multiplicative functions act on the gradient in the upper right, additive ones reduce it along the "
            "diagonal.",
            verdict="holds" if corner > 1 and off < 0.5 else "fails",
            evidence=(
                f"multiplicity (absolute value) reduces it only where x + y is {corner:.2f} or more, on "
                f"{multiplied.double().mean():.0%} of the square",
                f"addition only within {off:.2f} of x + y = 1, on {added.double().mean():.0%} of the square",
            ),
        ),
        Claim(
            text="The square makes coefficients smaller and the square root larger.",
            verdict="holds" if square < line < root else "fails",
            evidence=(
                f"means over the unit square: {square:.3f} (square), {line:.3f} (absolute value), {root:.3f} (square "
                "root)",
            ),
        ),
    )


def gains(runs: FigureRuns) -> FigureContent:
    """Fig. 5: change of AUC by each function and measure of relevance, by data set and model.

    A bar is the mean over tasks and seeds; the sweep's axes are model, function and measure, and the row of a model
    without a virtual gradient is ``<model>/none``.
    """
    models, functions, measures = runs.figure.sweep
    panels: list[Panel] = []
    claims: list[Claim] = []
    findings: list[str] = []
    for dataset in runs.figure.datasets:
        for model in models:
            changes = {
                (function, measure): _changes(runs, dataset, model, label(model, function, measure))
                for function in functions
                for measure in measures
            }
            series = tuple(_series(name, [changes[function, name] for function in functions]) for name in measures)
            if any(changes.values()):
                panels.append(
                    Bars(
                        title=f"{dataset}, {model}",
                        y_name="change of AUC, mean of tasks",
                        groups=functions,
                        series=series,
                    )
                )
                claims.append(improvement_claim(f"{dataset}, {model}", list(changes.values())))
                findings += _of_gains(f"{dataset}, {model}", changes)
    return FigureContent(panels=tuple(panels), claims=tuple(claims), findings=tuple(findings))


def _changes(runs: FigureRuns, dataset: str, model: str, row: str) -> dict[str, BySeed]:
    """By task and common seed: AUC of a row minus that of its model without a virtual gradient."""
    by_task: dict[str, BySeed] = {}
    for task in runs.tasks(dataset):
        ours = runs.values(row, dataset, f"{task}/auc")
        without = runs.values(label(model, "none"), dataset, f"{task}/auc")
        if common := {seed: value - without[seed] for seed, value in ours.items() if seed in without}:
            by_task[task] = common
    return by_task


def _series(measure: str, changes: list[dict[str, BySeed]]) -> Series:
    means = [_mean_by_seed(by_task) for by_task in changes]
    spreads = [statistics.spread(by_seed) if by_seed else None for by_seed in means]
    return Series(
        label=measure,
        values=tuple(None if spread is None else spread.mean for spread in spreads),
        errors=tuple(None if spread is None else spread.deviation for spread in spreads),
    )


def _mean_by_seed(by_task: Mapping[str, BySeed]) -> dict[int, float]:
    seeds = set.intersection(*(set(by_seed) for by_seed in by_task.values())) if by_task else set()
    return {seed: fmean(by_seed[seed] for by_seed in by_task.values()) for seed in sorted(seeds)}


def _of_gains(where: str, changes: Mapping[tuple[str, str], Mapping[str, BySeed]]) -> list[str]:
    gains = {key: {task: fmean(s.values()) for task, s in tasks.items()} for key, tasks in changes.items() if tasks}
    findings: list[str] = []
    apart = {key: max(by_task.values()) - min(by_task.values()) for key, by_task in gains.items()}
    skews = {
        measure: fmean(distance for key, distance in apart.items() if key[1] == measure)
        for measure in dict.fromkeys(measure for _, measure in gains)
    }
    if len(skews) == 2 and {"cosine", "pearson"} == set(skews):
        findings.append(
            f"{where}. Distance between the changes of the two tasks, the mean over functions: {skews['cosine']:.4f} "
            f"(cosine), {skews['pearson']:.4f} (Pearson). The paper sees more skew under cosine on related tasks, and "
            "no difference on unrelated ones."
        )
    if (chosen := ("add_sqrt", "pearson")) in gains:
        worst = sorted(gains, key=lambda key: -min(gains[key].values()))
        findings.append(
            f"{where}. The paper: Pearson with the additive square root is the most stable. Here its worse task "
            f"changes by {min(gains[chosen].values()):+.4f}, rank {worst.index(chosen) + 1} of {len(worst)}."
        )
    return findings


def improvement_claim(where: str, changes: Sequence[Mapping[str, BySeed]]) -> Claim:
    """Claim that most functions improve the model: holds if most do so significantly, fails if most worsen it so."""
    gains = [by_seed for by_task in changes if (by_seed := _mean_by_seed(by_task))]
    gains = [  # differences of AUCs, which are of size 1
        {seed: change if abs(change) > statistics.ROUNDING else 0.0 for seed, change in by_seed.items()}
        for by_seed in gains
    ]
    pairs = [statistics.Pair(ours=by_seed, theirs=dict.fromkeys(by_seed, 0.0)) for by_seed in gains]
    differences = statistics.compare(metric("auc"), [[pair] for pair in pairs])
    better = sum(difference.mean > 0 for difference in differences)
    clear = [difference.mean > 0 for difference in differences if difference.significant]
    significantly_better, significantly_worse = sum(clear), len(clear) - sum(clear)
    tested = (
        f"{significantly_better} are significantly better and {significantly_worse} worse (paired t-test, Holm)"
        if any(difference.t_test is not None for difference in differences)
        else "too few seeds to test any"
    )
    return Claim(
        text=f"{where}: most functions improve the model.",
        verdict="holds"
        if 2 * significantly_better > len(gains)
        else "fails"
        if 2 * significantly_worse > len(gains)
        else "undecided",
        evidence=(f"{better} of {len(gains)} have the higher AUC, in the mean of tasks and seeds", tested),
    )
