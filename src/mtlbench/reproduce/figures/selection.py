"""DEPHN, Fig. 3: input selection of MT-PHN's structures, and contributions of public and private parts."""

from statistics import fmean
from typing import TYPE_CHECKING

from mtlbench.report.figure import Bars, HeatMap, Panel, Series
from mtlbench.reproduce import statistics
from mtlbench.reproduce.figure_runs import FigureContent, FigureRuns

if TYPE_CHECKING:
    from torch import Tensor

    from mtlbench.experiment.diagnose import Shown

STRUCTURES = {"cross": "Cross", "field": "Field", "deep": "DNN"}


def shares(runs: FigureRuns) -> FigureContent:
    """(a): G of each structure, of the first seed only, since components are not comparable between seeds; (b): mean
    absolute public and private part of each task's log-odds on test rows, as fractions of their sum."""
    from mtlbench.experiment.diagnose import average_diagnostics  # imports torch, not needed for planning
    from mtlbench.experiment.evaluation import load_run

    (row,), (dataset,) = [spec.label for spec in runs.figure.rows], runs.figure.datasets
    panels: list[Panel] = []
    public: dict[str, dict[int, float]] = {}
    findings: list[str] = []
    for at, folder in enumerate(runs.folders(row, dataset)):
        run = load_run(folder)
        shown = average_diagnostics(run, _measured)
        if at == 0:
            fields = tuple(field.name for field in run.store.schema.fields)
            panels += [_map(name, fields, shown[f"selection/{structure}"]) for structure, name in STRUCTURES.items()]
            findings.append(_of_maps({name: shown[f"selection/{key}"] for key, name in STRUCTURES.items()}))
        share_T = shown["public"] / (shown["public"] + shown["private"])
        for task, share in zip(run.store.schema.tasks, share_T.tolist(), strict=True):
            public.setdefault(task.name, {})[run.facts.seed] = share
    if public:
        panels.append(_bars(public))
        findings.append(_of_shares(public))
    return FigureContent(panels=tuple(panels), findings=tuple(findings))


def _measured(shown: "Shown") -> "dict[str, Tensor]":
    selections = {f"selection/{structure}": shown[f"selection/{structure}"][0] for structure in STRUCTURES}
    return selections | {part: shown[f"{part}_logits"].abs().mean(dim=0) for part in ("public", "private")}


def _map(name: str, fields: tuple[str, ...], share_FD: "Tensor") -> HeatMap:
    return HeatMap(
        title=f"(a) {name}",
        x_name="component of the embedding",
        y_name="field",
        value_name="share of attended fields",
        x=tuple(str(at) for at in range(share_FD.shape[1])),
        y=fields,
        values=tuple(map(tuple, share_FD.tolist())),
    )


def _bars(public: dict[str, dict[int, float]]) -> Bars:
    spreads = [statistics.spread(by_seed) for by_seed in public.values()]
    errors = tuple(spread.deviation for spread in spreads)
    return Bars(
        title="(b) parts of the activation",
        y_name="share of the mean absolute activation",
        groups=tuple(public),
        series=(
            Series(label="public", values=tuple(spread.mean for spread in spreads), errors=errors),
            Series(label="private", values=tuple(1 - spread.mean for spread in spreads), errors=errors),
        ),
    )


def _of_maps(maps: "dict[str, Tensor]") -> str:
    names = list(maps)
    pairs = [(one, two) for at, one in enumerate(names) for two in names[at + 1 :]]
    apart = {f"{one} and {two}": float((maps[one] - maps[two]).abs().mean()) for one, two in pairs}
    within = fmean(float((share - share.mean()).abs().mean()) for share in maps.values())
    values = ", ".join(f"{value:.3f} between {pair}" for pair, value in apart.items())
    return (
        "The paper: the three structures select different components. Here the mean absolute difference of their "
        f"shares is {values}; within a map, shares differ from their mean by {within:.3f}."
    )


def _of_shares(public: dict[str, dict[int, float]]) -> str:
    means = {task: fmean(by_seed.values()) for task, by_seed in public.items()}
    most = sum(share > 0.5 for share in means.values())
    values = ", ".join(f"{share:.0%} of {task}" for task, share in means.items())
    return (
        "The paper: public modules give most of the activation. Here they give "
        f"{values}: more than half on {most} of {len(means)} tasks."
    )
