"""Finished runs become figures: numbers and findings against numbers worked out by hand."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mtlbench.cli.search_path import conf_folder
from mtlbench.report.figure import Bars, Curve, FigureResult, HeatMap, Lines
from mtlbench.reproduce.figure import Figure, read_figure
from mtlbench.reproduce.figures import confidence, curves, selection, sparsity
from mtlbench.reproduce.figures.virtual_gradient import improvement_claim
from mtlbench.reproduce.finished import Finished
from mtlbench.reproduce.illustrate import FigureContent, FigureRun, FigureRuns, measure_figure
from mtlbench.tracking.journal import Journal
from runs import RESULT


def figure(name: str) -> Figure:
    return read_figure(conf_folder() / "figure", name)


def member(
    row: str, dataset: str, metrics: Mapping[str, float], *, seed: int = 0, folder: Path | None = None, **changed: str
) -> FigureRun:
    """A finished run with metrics ``<task>/<name>``; tasks are those with a log loss, which is 0.5 where not given."""
    named = {f"test/{name}": value for name, value in metrics.items()}
    tasks = {name.split("/")[0] for name in metrics if "/" in name}
    losses = {f"test/{task}/logloss": 0.5 for task in sorted(tasks)}
    result = replace(RESULT, identity=f"{row} {seed}", code="1", metrics=losses | named, best_step={"model": 9})
    weights = dict.fromkeys(sorted(tasks), 1.0)
    run = Finished(row=row, dataset=dataset, seed=seed, choice="x", result=replace(result, **changed), weights=weights)
    return FigureRun(run=run, folder=folder)


def drawn(name: str, members: list[FigureRun], scale: float | None = None) -> FigureResult:
    return measure_figure(FigureRuns(figure=figure(name), members=tuple(members)), scale=scale, settings=())


def journal(folder: Path, values: Mapping[str, list[float]]) -> Path:
    """A run folder whose journal has a line per epoch, ten steps each."""
    folder.mkdir()
    for epoch in range(len(next(iter(values.values())))):
        line = {name: several[epoch] for name, several in values.items()}
        Journal(folder).append(step=10 * (epoch + 1), epoch=epoch + 1, values=line)
    return folder


def test_eight_coefficients_are_those_of_the_equations() -> None:
    result = drawn("dephn_fig4", [])
    assert [panel.title for panel in result.panels] == [
        f"{way}, {shape}" for way in ("multiplicity", "additive") for shape in ("abs", "cos", "square", "sqrt")
    ]
    maps = [panel for panel in result.panels if isinstance(panel, HeatMap)]
    corner = {panel.title: panel.values[0][-1] for panel in maps}  # x = y = 1
    assert all(value == pytest.approx(2) for value in corner.values())
    x, y = 0.3, 0.9  # third column from the left after 0, second row from the top
    at = {panel.title: panel.values[1][3] for panel in maps}
    assert at["additive, abs"] == pytest.approx(2 * abs(x + y - 1), abs=1e-6)
    assert at["additive, cos"] == pytest.approx(np.cos(np.pi * (x + y)) + 1, abs=1e-6)
    assert at["multiplicity, square"] == pytest.approx(2 * (2 * x * y - 1) ** 2, abs=1e-6)
    assert at["multiplicity, sqrt"] == pytest.approx(2 * abs(2 * x * y - 1) ** 0.5, abs=1e-6)
    assert (maps[0].x[3], maps[0].y[1]) == ("0.3", "0.9")
    assert [claim.verdict for claim in result.claims] == ["holds", "holds"]
    upper_right, along = result.claims[0].evidence
    assert "only where x + y is 1.01 or more, on 37% of the square" in upper_right
    assert "only within 0.49 of x + y = 1, on 74% of the square" in along
    assert not result.missing
    assert not result.marks
    assert not drawn("dephn_fig4", [], scale=0.01).marks, "what needs no runs is not made smaller"


def gains_members(changes: Mapping[str, float], *, seeds: int = 1) -> list[FigureRun]:
    """MMoE on Criteo-R: without (AUC 0.7 and 0.8), and rows that change the one by so much and the other by twice."""
    members = []
    for seed in range(seeds):
        for row, change in {"MMoE/none": 0.0, **changes}.items():
            auc = {"base/auc": 0.7 + change * (seed + 1), "related/auc": 0.8 + 2 * change * (seed + 1)}
            members.append(member(row, "Criteo-R", auc, seed=seed))
    return members


def test_a_gain_is_the_auc_with_less_the_auc_without_seed_by_seed() -> None:
    changes = {"MMoE/add_sqrt/pearson": 0.01, "MMoE/mul_cos/cosine": -0.02}
    [panel] = drawn("dephn_fig5", gains_members(changes, seeds=2)).panels
    assert isinstance(panel, Bars)
    assert panel.title == "Criteo-R, MMoE"
    cosine, pearson = panel.series
    at = panel.groups.index("add_sqrt")
    assert pearson.values[at] == pytest.approx(0.015 * 1.5)  # of two tasks 0.01 and 0.02, of two seeds once and twice
    assert pearson.errors[at] == pytest.approx(0.015 / 2**0.5)
    assert cosine.values[panel.groups.index("mul_cos")] == pytest.approx(-0.03 * 1.5)
    assert cosine.values[at] is None
    assert sum(value is not None for series in panel.series for value in series.values) == 2


def test_findings_of_gains_count_and_rank() -> None:
    changes = {"MMoE/add_sqrt/pearson": 0.01, "MMoE/mul_cos/cosine": 0.02, "MMoE/mul_abs/cosine": -0.01}
    result = drawn("dephn_fig5", gains_members(changes))
    [most], (skew, stable) = result.claims, result.findings
    assert most.text == "Criteo-R, MMoE: most functions improve the model."
    assert (most.verdict, most.condition) == ("undecided", "simulated")
    assert most.evidence == (
        "2 of 3 have the higher AUC, in the mean of tasks and seeds",
        "too few seeds to test any",
    )
    assert "0.0150 (cosine), 0.0100 (Pearson)" in skew  # the second task changes by twice as much
    assert "changes by +0.0100, rank 2 of 3" in stable
    changes["MMoE/mul_cos/cosine"] = -0.02
    assert drawn("dephn_fig5", gains_members(changes)).claims[0].evidence[0].startswith("1 of 3 have the higher AUC")


def test_a_gain_counts_where_a_test_by_seed_says_so() -> None:
    better = {"click": {0: 0.010, 1: 0.011, 2: 0.012}, "buy": {0: 0.010, 1: 0.011, 2: 0.012}}
    either = {"click": {0: 0.010, 1: -0.011, 2: 0.012}}
    worse = {"click": {0: -0.010, 1: -0.011, 2: -0.0102}}
    claim = improvement_claim("here", [better, either, worse, {}])
    assert claim.verdict == "undecided"
    higher, tested = claim.evidence
    assert higher.startswith("2 of 3 have the higher AUC")
    assert tested == "1 are significantly better and 1 worse (paired t-test, Holm)"
    assert improvement_claim("here", [better, worse, better]).verdict == "holds"
    assert improvement_claim("here", [worse, better, worse]).verdict == "fails"
    assert improvement_claim("here", [worse, better]).verdict == "undecided", "half are not most"
    assert improvement_claim("here", [{"click": {0: 0.01}}]).evidence[1] == "too few seeds to test any"


def test_losses_are_read_from_journals(tmp_path: Path) -> None:
    tvg, mg, other = [4.0, 3.0, 2.0, 1.0, 2.0, 1.0], [4.0, 3.0, 2.0, 1.9, 1.8, 1.6], [4.0, 3.0, 2.0, 2.2, 2.3, 2.7]
    losses = {
        "TVG": {"train/base/loss": tvg, "train/related/loss": tvg},
        "MG": {"train/base/loss": mg, "train/related/loss": other},
    }
    members = [
        member(kind, "Criteo-R", {"base/auc": 0.7, "related/auc": 0.7}, folder=journal(tmp_path / kind, values))
        for kind, values in losses.items()
    ]
    result = drawn("dephn_fig6", members)
    base, related = result.panels
    assert isinstance(base, Lines)
    assert base.curves[0] == Curve(label="TVG", x=(10, 20, 30, 40, 50, 60), y=(4, 3, 2, 1, 2, 1))
    assert related.title == "Criteo-R, related"
    ends, others = result.findings
    assert "end at 1.0000 (TVG, step 60), 1.6000 (MG, step 60)" in ends
    assert "deviate by 1.0000 (TVG), 0.0500 (MG)" in ends  # moves of the second half: 1, -1 and -0.1, -0.2
    assert others.startswith("Criteo-R, related. ")  # and nothing of a correlation, which two moves do not have
    assert result.missing == ("Criteo-UR: TVG, MG of 2 rows",)


def test_a_curve_of_several_seeds_ends_where_the_first_of_them_ends() -> None:
    curve = curves.mean_curve("a", [{1.0: 1.0, 2.0: 2.0, 3.0: 9.0}, {1.0: 3.0, 2.0: 2.0}])
    assert curve == Curve(label="a", x=(1, 2), y=(2, 2), low=(1, 2), high=(3, 2))
    assert curves.mean_curve("a", [{1.0: 1.0}, {2.0: 1.0}]) is None
    assert curves.mean_curve("a", []) is None


def ali(row: str, click: float, conversion: float, **other: float) -> FigureRun:
    named = {name.replace("__", "/"): value for name, value in other.items()}
    return member(row, "Ali-CCP", {"click/auc": click, "conversion/auc": conversion, **named})


def test_errors_on_related_tasks_are_compared_run_by_run() -> None:
    """Shares of the best constant's squared error, the mean of two tasks; seeds share their data."""

    def of(row: str, p: str, seed: int, first: float, second: float) -> FigureRun:
        errors = {"first/rmse": first, "first/rmse_constant": 2.0, "second/rmse": second, "second/rmse_constant": 1.0}
        return member(row, p, errors, seed=seed)

    members = [
        run
        for seed in range(5)
        for run in (
            of("Shared-Bottom", "p = 0.5", seed, 0.8 + seed / 100, 0.4),
            of("MMoE", "p = 0.5", seed, 0.4 + seed / 100, 0.2 + seed / 1000),
            of("MMoE", "p = 1", seed, 0.2, 0.1 + seed / 10),
        )
    ]
    result = drawn("mmoe_fig4", members)
    (panel,) = result.panels
    assert isinstance(panel, Lines)
    bottom, gates = panel.curves
    assert (bottom.label, bottom.x, bottom.y) == ("Shared-Bottom", (0.5,), (pytest.approx((0.41**2 + 0.16) / 2),))
    assert (gates.label, gates.x) == ("MMoE", (0.5, 1.0))
    assert gates.y[1] == pytest.approx((0.01 + 0.3**2) / 2)
    assert gates.high is not None
    assert gates.high[1] == pytest.approx((0.01 + 0.4**2) / 2), "the third quartile"
    assert any(text.startswith("p = 1, MMoE: quantiles 10%, 25%, 50%, 75%, 90%") for text in result.findings)
    below, beside = result.claims
    assert (below.verdict, beside.verdict) == ("holds", "not run")
    assert "over 5 runs (p = " in below.evidence[0]


def test_widths_are_places_on_a_logarithmic_axis() -> None:
    result = drawn("mpa_fig9", [ali("8", 0.6, 0.6), ali("32", 0.62, 0.66), ali("1024", 0.61, 0.63)])
    [panel] = result.panels
    assert isinstance(panel, Lines)
    assert panel.log_x
    assert panel.curves[1] == Curve(label="conversion", x=(8, 32, 1024), y=(0.6, 0.66, 0.63))
    assert "largest at 32 and differs by 0.0400" in result.findings[0]
    assert result.missing == ("Ali-CCP: 16, 64, 128, 256, 512 of 8 rows",)


@pytest.mark.parametrize(
    ("areas", "losses", "best", "least", "words"),
    [
        ([0.6, 0.7, 0.65], [0.4, 0.3, 0.35], 2, 2, ("rises, then falls", "falls, then rises")),
        ([0.6, 0.7, 0.8], [0.4, 0.3, 0.35], 3, 2, ("does not rise and then fall", "falls, then rises")),
        ([0.6, 0.7, 0.65], [0.3, 0.4, 0.5], 2, 1, ("rises, then falls", "does not fall and then rise")),
    ],
)
def test_layers_rise_and_fall(
    areas: list[float], losses: list[float], best: int, least: int, words: tuple[str, str]
) -> None:
    members = [
        ali(str(at + 1), area, area, click__logloss=loss, conversion__logloss=loss)
        for at, (area, loss) in enumerate(zip(areas, losses, strict=True))
    ]
    result = drawn("mpa_fig11", members)
    assert isinstance(result.panels[1], Lines)
    assert result.panels[1].curves[0].y == tuple(pytest.approx(2 * loss) for loss in losses)
    [claim] = result.claims
    area, loss = claim.evidence
    assert area.endswith(f"largest at {best} layers and {words[0]}")
    assert loss.endswith(f"least at {least} and {words[1]}")
    assert claim.verdict == ("fails" if any("does not" in word for word in words) else "holds")


def test_epochs_are_those_of_the_validation_rows(tmp_path: Path) -> None:
    values = {"valid/click/auc": [0.5, 0.7, 0.6], "valid/conversion/auc": [0.5, 0.6, 0.8]}
    one = member("MMoE", "Ali-CCP", {"click/auc": 0.1, "conversion/auc": 0.1}, folder=journal(tmp_path / "one", values))
    result = drawn("mpa_fig10", [one])
    assert [panel.title for panel in result.panels] == ["click", "conversion"]
    assert isinstance(result.panels[0], Lines)
    assert result.panels[0].curves[0].y == (0.5, 0.7, 0.6)
    assert "MMoE is best after epoch 3 of 3, with 0.7000" in result.findings[0]


def test_hits_among_the_two_best_are_those_of_the_table() -> None:
    hits = {"MMoE": (0.2, 0.1), "Fine gate": (0.4, 0.1), "Combined": (0.3, 0.2)}
    members = [
        ali(row, 0.6, 0.6, click__precision_at_2_export=click, conversion__precision_at_2_export=order)
        for row, (click, order) in hits.items()
    ]
    result = drawn("mpa_fig12", members)
    [panel] = result.panels
    assert isinstance(panel, Bars)
    click, order = panel.series
    assert click.values == tuple(hits[row][0] if row in hits else None for row in panel.groups)
    assert order.values[panel.groups.index("Combined")] == 0.2
    assert "has 0.3000, rank 2 of 3; the largest is 0.4000 of Fine gate" in result.findings[0]
    assert "rank 1 of 3" in result.findings[1]


def test_bands_lie_between_the_tenths_of_a_bin() -> None:
    confidence_NT = np.repeat([[-1.0, 2.0], [1.0, -2.0]], 100, axis=0)
    p_N = np.tile(np.linspace(0, 0.99, 100), 2)
    predicted_SNT = np.stack([p_N, 1 - p_N], axis=1)[None]
    panel = confidence._panel("DEPHN", ["base", "unrelated"], confidence_NT, predicted_SNT)
    base, planted, unrelated, _ = panel.curves
    assert base.x == (-1, 1)
    assert base.y == (pytest.approx(0.495), pytest.approx(0.495))
    assert base.low == (pytest.approx(0.099), pytest.approx(0.099))
    assert base.high == (pytest.approx(0.891), pytest.approx(0.891))
    assert unrelated.low == (pytest.approx(0.109), pytest.approx(0.109))
    assert planted.reference
    assert planted.y == (pytest.approx(1 / (1 + np.e)), pytest.approx(1 / (1 + np.exp(-1))))
    assert confidence._between_ends(np.arange(100.0), np.arange(100.0)) == pytest.approx(90)
    orders = {"MMoE": {"a": 0.5, "b": 0.9}, "DEPHN": {"a": 0.6, "b": 0.8}}
    smooth, ends = confidence._compared(orders, {"MMoE": {"a": 0, "b": 0}, "DEPHN": {"a": 1, "b": 1}})
    assert "higher under DEPHN on 1 of 2 tasks" in smooth
    assert "further under DEPHN on 2 of 2 tasks" in ends


def test_shares_of_parts_are_given_by_task() -> None:
    panel = selection._bars({"click": {0: 0.6, 1: 0.8}, "order": {0: 0.2, 1: 0.2}})
    public, private = panel.series
    assert public.values == (pytest.approx(0.7), pytest.approx(0.2))
    assert private.values == (pytest.approx(0.3), pytest.approx(0.8))
    assert private.errors == public.errors
    text = selection._of_shares({"click": {0: 0.6, 1: 0.8}, "order": {0: 0.2, 1: 0.2}})
    assert text.endswith("70% of click, 20% of order: more than half on 1 of 2 tasks.")
    maps = {"Cross": torch.tensor([[0.0, 1.0]]), "DNN": torch.tensor([[1.0, 1.0]])}
    text = selection._of_maps(maps)
    assert "0.500 between Cross and DNN; within a map, shares differ from their mean by 0.250" in text


def test_masks_at_zero_are_named() -> None:
    shown = {"mask": torch.tensor([[0.0, 0.5]]), "mask_closed": torch.tensor([[1.0, 0.5]])}
    text = sparsity._of_masks(["age", "brand"], ["favourite"], shown)
    assert "Here 1 of 2 are 0 on every row: age for favourite; the mean share of rows at 0 is 75%." in text


def test_what_a_figure_lacks_and_where_it_comes_from_is_said() -> None:
    members = [ali("8", 0.6, 0.6), ali("16", 0.6, 0.6)]
    members[1] = replace(members[1], run=replace(members[1].run, result=replace(members[1].run.result, code="2")))
    result = drawn("mpa_fig9", members, scale=0.01)
    assert result.marks == ("SIMULATED DATA: Ali-CCP", "SCALED: 0.01 of the published rows, at least 20,000")
    assert result.footnotes[0] == "5 seeds per row and data set: as the paper's tables; some have 1 only"
    assert any("runs were made by 2 versions of the code" in text for text in result.footnotes)
    assert [run.identity for run in result.runs] == ["8 0", "16 0"]
    assert result.paper.startswith("MPA: A Multitask Learning Model")


def test_where_nothing_ran_nothing_is_drawn() -> None:
    result = drawn("dephn_fig5", [])
    assert not result.panels
    assert not result.claims
    assert not result.findings
    assert result.missing[0].startswith("Criteo-R: MMoE/none, DEPHN/none, MMoE/mul_abs/cosine, ")
    assert result.missing[0].endswith("MMoE/mul_cos/pearson and 28 others of 34 rows")


def test_a_run_that_cannot_be_opened_leaves_a_gap(tmp_path: Path) -> None:
    """Weights that are gone, or a damaged journal, say so in the figure and stop no other."""
    result = drawn("dephn_fig3", [member("MT-PHN Dpub_CFpri", "Ali-CCP", {"click/auc": 0.6}, folder=tmp_path)])
    [gap] = result.missing
    assert gap.startswith(f"nothing could be drawn: {tmp_path} holds no trained run")
    assert not result.panels
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    (damaged / "metrics.jsonl").write_text(json.dumps({"step": 1}) + "\n")
    result = drawn("dephn_fig6", [member("TVG", "Criteo-R", {"base/auc": 0.6}, folder=damaged)])
    assert "metrics.jsonl, line 1" in result.missing[-1]


def test_a_run_on_another_machine_has_a_result_and_nothing_else() -> None:
    metrics = {"click/auc": 0.6, "conversion/auc": 0.6}
    result = drawn("mpa_fig10", [member("MMoE", "Ali-CCP", metrics), member("Combined", "Ali-CCP", metrics)])
    assert not result.panels
    assert result.missing == ("2 runs are on other machines, which sent no more than their results",)
    assert drawn("mpa_fig9", [member("8", "Ali-CCP", metrics)]).panels


def test_a_mistake_of_ours_is_not_hidden() -> None:
    def broken(_: FigureRuns) -> FigureContent:
        raise AssertionError("a mistake")

    runs = FigureRuns(figure=replace(figure("mpa_fig9"), draws=broken), members=(ali("8", 0.6, 0.6),))
    with pytest.raises(AssertionError, match="a mistake"):
        measure_figure(runs, scale=None, settings=())
