"""From finished runs to a table: every number where it belongs, every verdict by the rule."""

from dataclasses import replace
from typing import Any, get_args

import numpy as np
import pytest

from mtlbench.report.result import Cell, TableColumn, TableResult
from mtlbench.reproduce.assemble import assemble
from mtlbench.reproduce.converged import compared_runs
from mtlbench.reproduce.finished import KEPT, Finished
from mtlbench.reproduce.sampling import Resampled
from mtlbench.reproduce.table import ClaimSpec, Paper, Printed, RowSpec, Table
from mtlbench.result import CheckpointRule, Metrics, Parameters
from runs import RESULT

AUC = TableColumn(dataset="D", task="click", metric="auc")
BEST = TableColumn(dataset="D", task="click", metric="auc", statistic="best")
LOSS = TableColumn(dataset="D", task="all", metric="logloss_sum")
WEIGHTED = TableColumn(dataset="D", task="all", metric="logloss_weighted")
SIZE = TableColumn(dataset="D", task="all", metric="parameters", digits=0)
GAIN = TableColumn(dataset="D", task="click", metric="auc_gain", digits=2)

TABLE = Table(
    name="t",
    title="A table",
    paper=Paper(name="P", title="A paper", venue="V"),
    place="Table 1",
    profile="default",
    seeds=3,
    seeds_note="ours",
    datasets={"D": ["dataset=census"]},
    rows=(
        RowSpec(label="single", overrides=[]),
        RowSpec(label="old", overrides=[]),
        RowSpec(label="new", overrides=[]),
        RowSpec(label="never run", overrides=[]),
    ),
    columns=(AUC, BEST, LOSS, WEIGHTED, SIZE, GAIN),
    printed={
        ("single", AUC): Printed(text="0.7000", bold=False, note=""),
        ("old", AUC): Printed(text="0.7100", bold=None, note="identical to another row"),
        ("new", AUC): Printed(text="0.7200", bold=True, note=""),
        ("new", LOSS): Printed(text="0.500", bold=None, note=""),
        ("new", BEST): Printed(text="", bold=None, note=""),
    },
    tolerance={"auc": 0.005, "logloss_sum": 0.02},
    claims=(ClaimSpec(text="new beats all", better=["new"], than=["single", "old"], metric="auc"),),
    twins={"default": "single"},
    baselines=("single", "old"),
    notes=("A remark.",),
)


def run(row: str, seed: int, area: float, losses: tuple[float, float] = (0.3, 0.2), **changed: Any) -> Finished:
    result = replace(
        RESULT,
        identity=f"{row}{seed}",
        code="1",
        origin="real",
        metrics={"test/click/auc": area, "test/click/logloss": losses[0], "test/buy/logloss": losses[1]},
        parameters=Parameters(dense=30, embedding=12),
        peak_memory_mb=100.0 + seed,
        seconds=10.0,
        steps=50,
        best_step={"click": 25},
    )
    weights = {"click": 1.0, "buy": 0.02}
    return Finished(
        row=row, dataset="D", seed=seed, choice="census", result=replace(result, **changed), weights=weights
    )


AREAS = {"single": (0.701, 0.702, 0.706), "old": (0.69, 0.70, 0.695), "new": (0.751, 0.7525, 0.7555)}
RUNS = [run(row, seed, area) for row, areas in AREAS.items() for seed, area in enumerate(areas)]


def assembled(runs: list[Finished] = RUNS, **changed: Any) -> TableResult:
    options: dict[str, Any] = {"scale": None, "settings": (), "private": ("xiaomi",), **changed}
    return assemble(TABLE, runs, **options)


def cell(result: TableResult, label: str, column: TableColumn) -> Cell:
    row = next(row for row in result.rows if row.label == label)
    return row.cells[result.columns.index(column)]


def test_numbers_stand_where_they_belong() -> None:
    result = assembled()
    new = cell(result, "new", AUC)
    assert new.measured is not None
    assert (new.printed, new.bold, new.measured.values) == ("0.7200", True, AREAS["new"])
    sums, weighted, size = (cell(result, "new", column).measured for column in (LOSS, WEIGHTED, SIZE))
    assert sums is not None
    assert weighted is not None
    assert size is not None
    assert (sums.mean, weighted.mean, size.mean) == (0.5, pytest.approx(0.3 + 0.02 * 0.2), 42)
    assert cell(result, "never run", AUC).measured is None


def test_gain_over_the_mean_of_the_baselines() -> None:
    measured = cell(assembled(), "new", GAIN).measured
    assert measured is not None
    first = 100 * (0.751 / ((0.701 + 0.69) / 2) - 1)
    assert measured.values[0] == pytest.approx(first)
    assert cell(assembled(), "old", GAIN).measured is None


def test_verdicts_follow_the_rule() -> None:
    result = assembled()
    assert cell(result, "single", AUC).verdict == "undecided"  # 0.7030 +- 0.0015 against 0.7000 +- 0.005: p = 0.16
    assert cell(result, "old", AUC).verdict == "below"  # 0.6950 +- 0.0029 against 0.7050: p = 0.037
    assert cell(result, "new", AUC).verdict == "above"
    assert cell(result, "new", LOSS).verdict == "within"
    assert cell(result, "old", LOSS).verdict == "nothing printed"
    assert cell(result, "new", BEST).verdict == "nothing printed"
    assert cell(result, "never run", AUC).verdict == "not run"
    assert result.summary == "18 of 24 cells were run; 1 of 4 are within tolerance of the paper, 1 undecided"


@pytest.mark.parametrize(
    ("changed", "scale", "verdict", "mark"),
    [
        ({"origin": "simulated"}, None, "not comparable: simulated", "SIMULATED DATA: D"),
        ({}, 0.01, "not comparable: scaled", "SCALED: 0.01 of the published rows, at least 20,000"),
        ({"origin": "simulated"}, 0.01, "not comparable: simulated", "SIMULATED DATA: D"),
    ],
)
def test_what_cannot_be_compared_says_so(changed: dict, scale: float | None, verdict: str, mark: str) -> None:
    runs = [replace(one, result=replace(one.result, **changed)) for one in RUNS]
    result = assembled(runs, scale=scale)
    assert {cell(result, label, AUC).verdict for label in AREAS} == {verdict}
    assert mark in result.marks


def test_settings_that_are_not_the_tables_stand_on_top() -> None:
    assert assembled().marks == ()
    own = assembled(settings=["trainer.epochs=1", "trainer.precision=bf16"])
    assert own.marks == ("OWN SETTINGS: trainer.epochs=1, trainer.precision=bf16",)


def test_private_and_mixed_data() -> None:
    private = [replace(one, choice="xiaomi", result=replace(one.result, origin="simulated")) for one in RUNS]
    assert cell(assembled(private), "new", AUC).verdict == "not comparable: private data"
    mixed = [*RUNS[:-1], replace(RUNS[-1], result=replace(RUNS[-1].result, data="other", code="2"))]
    result = assembled(mixed)
    assert cell(result, "new", AUC).verdict == "not comparable: mixed data"
    where = "(d: single, old, new; other: new)"
    assert f"D: runs saw different data {where}; their numbers are not comparable" in result.footnotes
    assert "D: runs were made by 2 versions of the code (1: single, old, new; 2: new)" in result.footnotes
    assert not [text for text in assembled().footnotes if "versions of the code" in text or "different data" in text]


def test_rows_that_read_other_inputs_are_compared_on_the_same_test_rows() -> None:
    def read(data: str, one: Finished, positives: int, deviation: float = 2.0) -> Finished:
        counts = {"test/click/rows": 9.0, "test/click/positives": positives, "test/click/groups": 4.0}
        counts |= {"test/watch/rows": 9.0, "test/watch/rmse_constant": deviation}
        return replace(one, result=replace(one.result, data=data, metrics={**one.result.metrics, **counts}))

    table = replace(TABLE, inputs_differ=True)
    more = [read("more" if one.row == "new" else "d", one, 3) for one in RUNS]
    result = assemble(table, more, scale=None, settings=(), private=())
    assert (result.claims[0].verdict, result.claims[0].condition) == ("holds", "")
    assert "D: runs read different inputs of the same test rows (d: single, old; more: new)" in result.footnotes
    rounded = [*more[:-1], read("more", more[-1], 3, 2.000001)]
    assert assemble(table, rounded, scale=None, settings=(), private=()).claims[0].verdict == "holds"
    other_rows = [*more[:-1], read("more", more[-1], 5)]
    other_labels = [*more[:-1], read("more", more[-1], 3, 2.001)]
    for runs in (other_rows, other_labels, [replace(one, result=replace(one.result, data=one.row)) for one in RUNS]):
        (claim,) = assemble(table, runs, scale=None, settings=(), private=()).claims
        assert (claim.verdict, claim.condition) == ("not run", "mixed data")
    assert assembled(more).claims[0].verdict == "not run", "a table does not say so by itself"


def test_a_footnote_is_there_for_every_checkpoint_rule() -> None:
    assert set(KEPT) == set(get_args(CheckpointRule))


def test_a_metric_that_no_run_has_is_named_with_those_that_are_there() -> None:
    column = replace(AUC, metric="uauc")
    table = replace(TABLE, columns=(AUC, column))
    result = assemble(table, RUNS, scale=None, settings=(), private=())
    said = [result.footnotes[number] for number in cell(result, "new", column).footnotes]
    again = "Where the metric is newer than the runs, run.fresh=true trains them again"
    assert said == [f"D: runs have no test/click/uauc; they have test/click/auc, test/click/logloss. {again}"]
    lost = [replace(one, result=replace(one.result, metrics={"test/buy/logloss": 0.5})) for one in RUNS]
    result = assemble(table, lost, scale=None, settings=(), private=())
    said = [result.footnotes[number] for number in cell(result, "new", column).footnotes]
    assert said == [f"D: runs have no test/click/uauc; they have test/buy/logloss. {again}"]
    assert cell(result, "never run", column).footnotes == ()
    reason = {"undefined": {"test/click/uauc": "no user has both labels"}}
    undefined = [replace(one, result=replace(one.result, **reason)) for one in RUNS]
    result = assemble(table, undefined, scale=None, settings=(), private=())
    said = [result.footnotes[number] for number in cell(result, "new", column).footnotes]
    assert said == ["test/click/uauc is undefined on D: no user has both labels"]


def test_negative_transfer_is_tested_where_it_can_be() -> None:
    """Row `old` against its twin `single`, seed by seed: -0.011, -0.002, -0.011 has p = 0.12."""
    assert not cell(assembled(), "old", AUC).negative_transfer
    clear = [one if one.row != "old" else run("old", one.seed, AREAS["single"][one.seed] - 0.01) for one in RUNS]
    clear[3] = run("old", 0, AREAS["single"][0] - 0.0101)  # differences that are all alike could not be tested
    result = assembled(clear)
    assert cell(result, "old", AUC).negative_transfer
    assert not cell(result, "old", SIZE).negative_transfer
    assert any("negative transfer: worse than the single-task twin, p <= 0.05" in text for text in result.footnotes)
    assert not [text for text in assembled().footnotes if "negative transfer" in text]
    one_seed = [one for one in RUNS if one.seed == 0]
    assert not cell(assembled(one_seed), "old", AUC).negative_transfer, "one seed tests nothing"


def test_negative_transfer_is_corrected_for_the_rows_that_could_have_shown_it() -> None:
    """Differences from the twin of -0.01, -0.012, -0.018 have p = 0.032; with a second row, Holm doubles that."""
    worse = [0.701 - 0.01, 0.702 - 0.012, 0.706 - 0.018]
    runs = [one if one.row != "old" else run("old", one.seed, worse[one.seed]) for one in RUNS]
    alone = [one for one in runs if one.row != "new"]
    assert cell(assembled(alone), "old", AUC).negative_transfer
    undecided = [one if one.row != "new" else run("new", one.seed, (0.70, 0.71, 0.70)[one.seed]) for one in runs]
    assert not cell(assembled(undecided), "old", AUC).negative_transfer


def test_new_rows_are_compared_with_the_best_baseline() -> None:
    comparison = cell(assembled(), "new", AUC).comparison
    assert comparison is not None
    assert (comparison.against, comparison.better) == ("single", True)
    assert comparison.difference == pytest.approx((0.05 + 0.0505 + 0.0495) / 3)
    assert comparison.t_test is not None
    assert comparison.t_test < 0.001
    assert comparison.wilcoxon is None
    assert cell(assembled(), "old", AUC).comparison is None


def test_the_best_baseline_is_chosen_on_validation() -> None:
    """`single` is the best baseline on test (0.703), `old` on validation: the row is compared with `old`."""
    by_score = [
        replace(one, result=replace(one.result, best_valid={"model": 0.8 if one.row == "old" else 0.7})) for one in RUNS
    ]
    by_metric = [replace(one, valid=Metrics(values={"click/auc": 0.8 if one.row == "old" else 0.7})) for one in RUNS]
    for runs in (by_score, by_metric):
        comparison = cell(assembled(runs), "new", AUC).comparison
        assert comparison is not None
        assert comparison.against == "old"


def test_a_row_that_lacks_a_run_is_out_of_the_ranking() -> None:
    """Two of the three seeds of `new` are the best of all; its third run failed."""
    result = assembled([one for one in RUNS if (one.row, one.seed) != ("new", 0)])
    assert result.ranks == {"single": 1.0, "old": 2.0}
    assert "out of the average rank, for want of runs: new (D: 2 of 3)" in result.footnotes
    assert not [text for text in assembled().footnotes if "out of the average rank" in text]


def test_a_best_of_few_runs_is_no_best_of_many() -> None:
    """A best of 400 runs says nothing about the best of 3; one of 2 is compared with the expected best of 2."""
    printed = {**TABLE.printed, ("new", BEST): Printed(text="0.7540", bold=None, note="")}
    for best_of, verdict in ((400, "not comparable: fewer runs"), (2, "within"), (None, "above")):
        table = replace(TABLE, printed=printed, best_of=best_of, tolerance={"auc": 0.001})
        result = assemble(table, RUNS, scale=None, settings=(), private=())
        assert cell(result, "new", BEST).verdict == verdict, "2: (0.7525 + 2 * 0.7555) / 3 = 0.7545; 3: 0.7555"


def test_a_gain_of_bests_is_over_as_many_runs() -> None:
    """The best two of `single`'s three subsets of two are 0.706, of the third 0.702; `old` has two runs."""
    result = assembled([one for one in RUNS if (one.row, one.seed) != ("old", 2)])
    assert cell(result, "old", BEST).gain == pytest.approx(100 * (0.70 / ((2 * 0.706 + 0.702) / 3) - 1))


def test_tests_count_the_drawing_of_test_users_where_scores_were_kept() -> None:
    def kept(one: Finished, spread: float) -> Finished:
        wide = 1.0 if one.row == "new" else 0.0
        areas = one.result.metrics["test/click/auc"] + wide * spread * np.array([-1.0, 1.0] * 50)
        return replace(one, resampled=Resampled(aucs={"click": areas}, units=500, kind="groups"))

    narrow, wide = (assembled([kept(one, spread) for one in RUNS]) for spread in (0.001, 0.1))
    for result, verdict in ((narrow, "holds"), (wide, "undecided")):
        assert result.claims[0].verdict == verdict
        assert "(3 seeds, 500 test groups, p = " in result.claims[0].evidence[0]
        assert "tests of AUCs count the spread over D: seeds and 500 test groups" in result.footnotes
    assert "the test split is too small" in wide.claims[0].evidence[-1]
    assert cell(wide, "new", AUC).verdict == "undecided"
    assert "tests of AUCs count the spread over D: seeds only" in assembled().footnotes


def test_a_loss_is_better_where_it_is_lower() -> None:
    worse = [one if one.row != "new" else run("new", one.seed, 0.75, (0.9, 0.9)) for one in RUNS]
    comparison = cell(assembled(worse), "new", LOSS).comparison
    assert comparison is not None
    assert (comparison.difference, comparison.better) == (pytest.approx(1.3), False)
    assert cell(assembled(worse), "new", LOSS).gain == pytest.approx(-260)


def test_a_gain_is_between_the_numbers_that_are_shown() -> None:
    """0.7030 and 0.6950 in the mean; the best are 0.706 and 0.700."""
    assert cell(assembled(), "old", AUC).gain == pytest.approx(100 * (0.695 / 0.703 - 1))
    assert cell(assembled(), "old", BEST).gain == pytest.approx(100 * (0.700 / 0.706 - 1))
    assert assembled([]).summary == "none of 24 cells was run"


def test_claims() -> None:
    (claim,) = assembled().claims
    assert claim.verdict == "holds"
    assert len(claim.evidence) == 4
    assert claim.evidence[2].startswith("a difference of 0.011 would be found with a probability of 0.8")
    assert claim.evidence[3].startswith("seeds only: ")
    assert "new - single, D: click auc: +0.0500 (3 seeds, p = " in claim.evidence[0]
    close = [one if one.row != "new" else run("new", one.seed, AREAS["single"][one.seed] + 1e-5) for one in RUNS]
    assert "new - single, D: click auc: +1.0e-05 (" in assembled(close).claims[0].evidence[0]
    one_seed = [one for one in RUNS if one.seed == 0]
    (claim,) = assembled(one_seed).claims
    assert claim.verdict == "undecided"
    assert "1 seed, n too small to test" in claim.evidence[0]
    lower = [
        run(row, seed, area - 0.1 * (row == "new")) for row, areas in AREAS.items() for seed, area in enumerate(areas)
    ]
    assert assembled(lower).claims[0].verdict == "fails"
    (claim,) = assembled([one for one in RUNS if one.row != "old"]).claims
    assert (claim.verdict, claim.evidence[1]) == ("not run", "D: not run: old")
    apart = [one for one in RUNS if (one.row == "new") == (one.seed == 0)]
    assert assembled(apart).claims[0].evidence == ("D: no seed in common: new and single, new and old",)


def test_a_claim_says_on_what_it_was_judged() -> None:
    assert assembled().claims[0].condition == ""
    simulated = [replace(one, result=replace(one.result, origin="simulated")) for one in RUNS]
    (claim,) = assembled(simulated).claims
    assert (claim.verdict, claim.condition) == ("holds", "simulated")
    mixed = [*RUNS[:-1], replace(RUNS[-1], result=replace(RUNS[-1].result, data="other"))]
    (claim,) = assembled(mixed).claims
    assert (claim.verdict, claim.condition) == ("not run", "mixed data")
    assert claim.evidence == ("D: runs saw different data: new and single, new and old",)


@pytest.mark.parametrize(("dense", "verdict"), [(12, "holds"), (30, "undecided"), (31, "fails")])
def test_counts_are_compared_as_they_are(dense: int, verdict: str) -> None:
    """With one seed as with many: a number of parameters has no spread."""
    claim = ClaimSpec(text="new is smaller", better=["new"], than=["single"], metric="parameters")
    size = {"parameters": Parameters(dense=dense, embedding=12)}
    runs = [run(row, 0, 0.7, **(size if row == "new" else {})) for row in AREAS]
    result = assemble(replace(TABLE, claims=(claim,)), runs, scale=None, settings=(), private=())
    assert result.claims[0].verdict == verdict
    assert result.claims[0].evidence == (f"new - single, D: parameters: {dense - 30:+,}",)


def test_a_number_that_is_no_target_is_shown_and_not_held_against_ours() -> None:
    printed = {key: replace(value, target=key != ("old", AUC)) for key, value in TABLE.printed.items()}
    result = assemble(replace(TABLE, printed=printed), RUNS, scale=None, settings=(), private=())
    assert cell(result, "old", AUC).verdict == "not comparable: no target"
    assert cell(result, "old", AUC).printed == "0.7100"
    assert cell(result, "new", AUC).verdict == "above"
    assert result.summary == "18 of 24 cells were run; 1 of 3 are within tolerance of the paper, 1 undecided"


def test_a_sum_of_losses_needs_them_all() -> None:
    lacking = {"metrics": {"test/click/auc": 0.7, "test/click/logloss": 0.3}}
    undefined = {"undefined": {"test/buy/logloss": "no observed rows"}}
    runs = [one if one.row != "new" else run("new", one.seed, 0.7, **lacking, **undefined) for one in RUNS]
    for column in (LOSS, WEIGHTED):
        found = cell(assembled(runs), "new", column)
        assert found.measured is None
        notes = [assembled(runs).footnotes[number] for number in found.footnotes]
        assert notes == ["test/buy/logloss is undefined on D: no observed rows"]
    assert cell(assembled(runs), "new", LOSS).verdict == "undefined", "the paper prints one"
    assert cell(assembled(runs), "new", WEIGHTED).verdict == "nothing printed"


def test_the_best_and_the_mean_of_one_metric_are_one_rank() -> None:
    """`single` is best at click once and worst at buy; were click counted twice, it would lead."""
    buy = replace(AUC, task="buy")
    areas = {"single": (0.9, 0.5), "old": (0.8, 0.9), "new": (0.7, 0.8)}
    runs = [
        run(row, 0, 0.0, metrics={"test/click/auc": click, "test/buy/auc": other})
        for row, (click, other) in areas.items()
    ]
    table = replace(TABLE, columns=(BEST, AUC, buy), claims=())
    result = assemble(table, runs, scale=None, settings=(), private=())
    assert result.ranks == {"single": 2.0, "old": 1.5, "new": 2.5}


def test_the_rule_of_the_verdicts_is_a_footnote() -> None:
    rule = "within: at most 0.005 (auc), 2 % (logloss_sum) from the printed number, p <= 0.05 (two one-sided tests); "
    assert any(text.startswith(rule) for text in assembled().footnotes)


def test_ranks_agreement_costs_and_footnotes() -> None:
    result = assembled()
    assert result.ranks == {"new": 1.0, "single": 2.0, "old": 3.0}
    assert result.agreement[AUC.name] == pytest.approx(1 / 3)  # paper: single, old, new; ours: old, single, new
    (cost,) = next(row for row in result.rows if row.label == "new").costs
    assert (cost.parameters, cost.peak_memory_mb, cost.seconds_to_best) == (30, 101.0, 5.0)
    assert result.footnotes[cell(result, "old", AUC).footnotes[0]] == "identical to another row"
    assert "A remark." in result.footnotes
    fewer = assembled([one for one in RUNS if one.seed < 2])
    assert "2 of 3 seeds" in [fewer.footnotes[number] for number in cell(fewer, "single", AUC).footnotes]


def test_no_row_is_better_in_what_describes_the_data() -> None:
    """The log loss of a constant and a ceiling are shown; the table compares, ranks and tests nothing by them."""
    columns = (replace(AUC, metric="logloss_constant"), replace(AUC, metric="ceiling_auc"))
    table = replace(TABLE, columns=columns, printed={}, claims=())
    runs = [
        run(row, seed, 0.0, metrics={"test/click/logloss_constant": area, "test/click/ceiling_auc": area})
        for row, areas in AREAS.items()
        for seed, area in enumerate(areas)
    ]
    result = assemble(table, runs, scale=None, settings=(), private=())
    for column in columns:
        found = cell(result, "new", column)
        assert found.measured is not None
        assert (found.measured.mean, found.measured.best) == (pytest.approx(0.753), None)
        assert (found.comparison, found.gain, found.negative_transfer) == (None, None, False)
    assert result.ranks == {}
    assert not [text for text in result.footnotes if "is better" in text]


def test_pcoc_is_best_where_it_is_nearest_to_one() -> None:
    column = replace(AUC, metric="pcoc")
    values = {"single": (0.8, 0.79, 0.81), "old": (1.5, 1.4, 1.45), "new": (1.1, 1.09, 1.12)}
    runs = [
        run(row, seed, 0.0, metrics={"test/click/pcoc": value})
        for row, several in values.items()
        for seed, value in enumerate(several)
    ]
    table = replace(TABLE, columns=(column,), printed={}, claims=())
    result = assemble(table, runs, scale=None, settings=(), private=())
    new, old = cell(result, "new", column), cell(result, "old", column)
    assert new.comparison is not None
    assert (new.comparison.against, new.comparison.better) == ("single", True)
    assert new.comparison.difference == pytest.approx(-0.29 / 3)
    assert new.measured is not None
    assert new.measured.best == 1.09
    assert new.gain == pytest.approx(100 * (0.2 - 0.31 / 3) / 0.2)
    assert (new.negative_transfer, old.negative_transfer) == (False, True)
    assert result.ranks == {"new": 1.0, "single": 2.0, "old": 3.0}
    assert "near 1 is better; distances are compared: pcoc" in result.footnotes


def test_a_gain_over_nothing_is_none() -> None:
    """An ECE of 0 cannot be improved by a share of itself."""
    column = replace(AUC, metric="ece")
    runs = [run(row, 0, 0.0, metrics={"test/click/ece": value}) for row, value in (("single", 0.0), ("new", 0.1))]
    result = assemble(
        replace(TABLE, columns=(column,), printed={}, claims=()), runs, scale=None, settings=(), private=()
    )
    assert cell(result, "new", column).gain is None


def test_a_claim_compares_the_runs_of_all_worlds_of_a_data_set() -> None:
    """Those that did not converge withhold it, whichever world they are of."""
    table = replace(TABLE, worlds={"a": [], "b": []})
    runs = [replace(run("new", 0, 0.7), dataset=name) for name in ("D, a", "D, b", "E, a")]
    claim = replace(TABLE.claims[0], datasets=["D"])
    assert [one.dataset for one in compared_runs(claim, table, runs)] == ["D, a", "D, b"]
    assert [one.dataset for one in compared_runs(replace(claim, datasets=["D, b"]), table, runs)] == ["D, b"]
