"""What a measured number says about a printed one, at the edge of the tolerance."""

from dataclasses import replace

import pytest

from mtlbench.report.result import Measured, TableColumn
from mtlbench.reproduce.estimate import Sampling
from mtlbench.reproduce.statistics import spread
from mtlbench.reproduce.table import Printed
from mtlbench.reproduce.verdict import cell_verdict, tolerance_text


@pytest.mark.parametrize(
    ("value", "verdict"), [(0.955, "within"), (0.945, "within"), (0.95501, "above"), (0.94499, "below")]
)
def test_a_number_at_the_edge_of_the_tolerance_is_within(value: float, verdict: str) -> None:
    """0.955 - 0.95 is more than 0.005 by one rounding; seeds that are all alike are compared as they are."""
    column = TableColumn(dataset="d", task="click", metric="auc")
    printed = Printed(text="0.95", bold=False, target=True, note="")
    measured = spread({0: value, 1: value}, column.about)
    assert cell_verdict(column, printed, measured, {"auc": 0.005}, None, ran=True) == verdict


@pytest.mark.parametrize(
    ("metric", "value", "target", "tolerance", "verdict"),
    [
        ("logloss", 0.5625, "0.5", 0.125, "within"),  # exact in binary: a share of the printed value
        ("logloss", 0.57, "0.5", 0.125, "above"),
        ("ece", 0.625, "0.5", 0.125, "within"),  # absolute
        ("ece", 0.63, "0.5", 0.125, "above"),
        ("parameters", 112.5, "100", 0.125, "within"),
        ("parameters", 87.0, "100", 0.125, "below"),
        ("logloss_constant", 0.5625, "0.5", 0.125, "within"),
        ("auc", 0.5, "0.5", 0.0, "within"),
        ("auc", 0.0, "0", 0.0, "within"),  # no rounding is allowed between zeros: the limit itself is within
        ("pcoc", 0.4, "0.5", 0.125, "within"),
        ("pcoc", 0.3, "0.5", 0.125, "below"),
    ],
)
def test_tolerances_are_absolute_or_relative_by_the_metric(
    metric: str, value: float, target: str, tolerance: float, verdict: str
) -> None:
    column = TableColumn(dataset="d", task="click", metric=metric)
    printed = Printed(text=target, bold=None, note="")
    measured = spread({0: value, 1: value}, column.about)
    assert cell_verdict(column, printed, measured, {metric: tolerance}, None, ran=True) == verdict


COLUMN = TableColumn(dataset="d", task="click", metric="auc")
OURS = spread({0: 0.5, 1: 0.5})


@pytest.mark.parametrize(
    ("printed", "measured", "ran", "verdict"),
    [
        (Printed(text="0.9", bold=None, note=""), None, False, "not run"),
        (Printed(text="0.9", bold=None, note=""), None, True, "undefined"),
        (Printed(text="", bold=None, note=""), None, True, "nothing printed"),
        (None, None, True, "nothing printed"),
        (None, None, False, "not run"),
        (None, OURS, True, "nothing printed"),
        (Printed(text="", bold=None, note=""), OURS, True, "nothing printed"),
        (Printed(text="0.9", bold=None, note="", target=False), OURS, True, "not comparable: no target"),
        (Printed(text="0.5", bold=None, note=""), OURS, True, "within"),
        (Printed(text="0.9", bold=None, note=""), OURS, True, "below"),
    ],
)
def test_cells_without_a_pair_of_numbers(
    printed: Printed | None, measured: Measured | None, ran: bool, verdict: str
) -> None:
    assert cell_verdict(COLUMN, printed, measured, {}, None, ran=ran) == verdict
    if measured is not None:
        obstacle = cell_verdict(COLUMN, printed, measured, {}, "not comparable: scaled", ran=ran)
        assert obstacle == "not comparable: scaled"


def test_the_best_is_held_against_a_printed_best() -> None:
    several = spread({0: 0.5, 1: 0.9}, COLUMN.about)
    printed = Printed(text="0.9", bold=None, note="")
    assert cell_verdict(COLUMN, printed, several, {}, None, ran=True) == "undecided"
    assert cell_verdict(replace(COLUMN, statistic="best"), printed, several, {}, None, ran=True) == "within"


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        ((0.7, 0.701, 0.702), "within"),  # (0.7110 - 0.7010) / 0.000577 = 17.3, p = 0.0017
        ((0.7, 0.71, 0.72), "undecided"),  # as near, and a standard error of 0.0058
        ((0.72, 0.725, 0.73), "above"),  # (0.7250 - 0.7110) / 0.00289 = 4.85, p = 0.020
        ((0.705, 0.715, 0.725), "undecided"),  # beyond the tolerance in the mean alone
        ((0.68, 0.681, 0.682), "below"),
        ((0.701,), "undecided"),  # one seed tests nothing
    ],
)
def test_a_number_with_spread_is_tested(values: tuple[float, ...], verdict: str) -> None:
    """Two degrees of freedom: p = (1 - t / sqrt(t^2 + 2)) / 2; the printed number is 0.701, the tolerance 0.01."""
    printed = Printed(text="0.701", bold=None, note="")
    measured = spread(dict(enumerate(values)), COLUMN.about)
    assert cell_verdict(COLUMN, printed, measured, {"auc": 0.01}, None, ran=True) == verdict


def test_a_small_test_split_leaves_a_number_undecided() -> None:
    printed, measured = Printed(text="0.701", bold=None, note=""), spread({0: 0.7, 1: 0.701, 2: 0.702}, COLUMN.about)
    for variance, verdict in ((1e-6, "within"), (1e-4, "undecided")):
        sampling = Sampling(variance=variance, degrees=999, units="100 test rows")
        found = cell_verdict(COLUMN, printed, measured, {"auc": 0.01}, None, ran=True, sampling=sampling)
        assert found == verdict


def test_counts_are_compared_as_they_are_with_one_seed_too() -> None:
    column = replace(COLUMN, metric="parameters")
    printed, measured = Printed(text="100", bold=None, note=""), spread({0: 101.0}, column.about)
    assert cell_verdict(column, printed, measured, {"parameters": 0.02}, None, ran=True) == "within"


def test_tolerances_in_words() -> None:
    text = tolerance_text({"auc": 0.005, "logloss": 0.02, "ece": 0.1})
    assert text.startswith("within: at most 0.005 (auc), 2 % (logloss), 0.1 (ece) from the printed number, p <= 0.05")
