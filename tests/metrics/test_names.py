"""What is known of each metric: every measured one has an entry, and every entry is measured."""

import re
import subprocess
import sys

import numpy as np
import pytest

from mtlbench.metrics.evaluate import evaluate
from mtlbench.metrics.names import METRICS, find_metric, metric, ordered_names, selectable
from mtlbench.metrics.ranking import Ranking, Top
from mtlbench.schema import Task

TASKS = (
    Task(name="click", label="click"),
    Task(name="buy", label="buy", given="click"),
    Task(name="watch", label="seconds", kind="regression"),
)


def everything() -> set[str]:
    """Names of all metrics that a split with groups, true probabilities and ranking settings has."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, (60, 3))
    names: set[str] = set()
    for lists in ("group", "sampled"):
        top = Top(n=2, weights={"click": 1.0}, lists=lists, size=10)
        measured = evaluate(
            rng.normal(size=(60, 3)).astype(np.float32), labels, None, TASKS, np.full((60, 3), 0.5),
            group=rng.integers(0, 6, 60), ranking=Ranking(uauc_weights={"click": 1.0}, top=top),
        )  # fmt: skip
        names |= {name.rpartition("/")[2] for name in (*measured.values, *measured.undefined)}
    return names


def test_every_measured_metric_has_an_entry_and_every_entry_is_measured() -> None:
    names = everything()
    assert [name for name in names if find_metric(name) is None] == []
    measured = {pattern for pattern in METRICS for name in names if name == pattern or re.fullmatch(pattern, name)}
    assert measured == {pattern for pattern, entry in METRICS.items() if entry.measured != "table"}


@pytest.mark.parametrize(
    ("name", "better"),
    [
        ("auc", "higher"),
        ("auc_on_clicks", "higher"),
        ("precision_at_2_of_10_own", "higher"),
        ("excess_auc_share", "higher"),
        ("logloss", "lower"),
        ("logloss_weighted", "lower"),
        ("ne", "lower"),
        ("ece", "lower"),
        ("parameters", "lower"),
        ("pcoc", "near one"),
        ("logloss_constant", None),
        ("ceiling_logloss", None),
        ("ceiling_auc", None),
        ("positives", None),
        ("xauc", "higher"),
        ("rmse", "lower"),
        ("mae", "lower"),
        ("rmse_constant", None),
    ],
)
def test_directions(name: str, better: str | None) -> None:
    assert metric(name).better == better


def test_an_unknown_metric_is_refused_with_the_closest() -> None:
    with pytest.raises(
        ValueError, match=r"unknown metric 'loglos' \(did you mean 'logloss'\?\)\. Known: auc, .*auc_on_"
    ):
        metric("loglos")
    with pytest.raises(ValueError, match=r"unknown metric 'brier'\. Known: "):
        metric("brier")
    for name in ("auc_on_s", "precision_at_2", "precision_at_x_own", "uxauc", "auc_"):
        assert find_metric(name) is None


def test_families_are_titled_by_what_they_are_of() -> None:
    assert metric("auc_on_long_views").title == "AUC on long views"
    assert metric("auc_on_clicks").rows == "rows whose click label is 1"
    assert metric("precision_at_2_export").title == "P@2 export"
    assert metric("precision_at_2_of_10_own").title == "P@2 of 10 own"
    assert metric("lists_at_2_of_10").title == "lists @2 of 10"


def test_values_are_compared_in_the_metrics_direction() -> None:
    assert metric("auc").score(0.7) == 0.7
    assert metric("logloss").score(0.3) == -0.3
    assert metric("pcoc").score(0.75) == metric("pcoc").score(1.25) == -0.25
    assert (metric("pcoc").compared(0.75), metric("ece").compared(0.75)) == (0.25, 0.75)
    with pytest.raises(ValueError, match="log loss floor describes the data, so no value is better"):
        metric("ceiling_logloss").score(0.3)


def test_values_are_shown_with_the_metrics_digits() -> None:
    shown = {"rows": "1,200", "excess_auc_share": "12.3%", "logloss": "0.12346", "auc": "0.1235"}
    values = {"rows": 1200.0, "excess_auc_share": 0.1234, "logloss": 0.123456, "auc": 0.123456}
    assert {name: metric(name).text(value) for name, value in values.items()} == shown


def test_what_can_select_weights() -> None:
    named = selectable([])
    assert {"auc", "xauc", "gauc", "uauc", "logloss", "ne", "pcoc", "ece", "rmse", "mae"} <= set(named)
    describe, of_the_run, of_test_rows, derived = "logloss_constant", "weighted_uauc", "excess_auc_share", "auc_gain"
    assert not {describe, of_the_run, of_test_rows, derived} & set(named)
    assert len(named) == len(set(named))
    assert selectable(["click", "click"])[-1] == "auc_on_clicks"
    assert selectable(["click", "click"]).count("auc_on_clicks") == 1


def test_columns_are_shown_in_the_order_of_the_entries() -> None:
    names = ["rows", "auc_on_views", "auc", "nonsense", "auc_on_clicks", "ece", "auc"]
    assert ordered_names(names) == ["auc", "auc_on_clicks", "auc_on_views", "ece", "rows"]


def test_names_and_results_are_known_without_torch() -> None:
    """What prints a table of finished runs does not wait for torch."""
    light = "mtlbench.metrics.names, mtlbench.result, mtlbench.report.result, mtlbench.tracking.folder"
    code = f"import sys, {light}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
