"""Metrics of regression tasks, by hand, by all pairs, and in the units of the label."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtlbench.metrics.binary import auc
from mtlbench.metrics.evaluate import evaluate
from mtlbench.metrics.regression import mean_absolute, root_mean_square, xauc
from mtlbench.schema import Task

CLICK = Task(name="click", label="click")
WATCH = Task(name="watch", label="seconds", kind="regression", mean=100.0, deviation=20.0)


def array(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float64)


def test_errors_by_hand():
    predicted, label = array(1, 5, 2), array(1, 2, 6)  # off by 0, 3 and -4
    assert root_mean_square(predicted, label) == pytest.approx((25 / 3) ** 0.5)
    assert mean_absolute(predicted, label) == pytest.approx(7 / 3)


def test_xauc_counts_pairs_by_hand():
    # Labels 1 < 2 < 3 < 3; the pair of equal labels does not count. Predictions 5, 4, 5, 9:
    # (1, 2) wrong, (1, 3) tie, (1, 3) right, (2, 3) right, (2, 3) right -> 3.5 of 5.
    assert xauc(array(5, 4, 5, 9), array(1, 2, 3, 3)) == pytest.approx(3.5 / 5)


@settings(max_examples=80)
@given(st.lists(st.tuples(st.integers(-3, 3), st.integers(0, 4)), min_size=2, max_size=30))
def test_xauc_is_the_share_of_all_pairs(rows: list[tuple[int, int]]):
    pairs = [
        0.5 if p == q else float((p > q) == (a > b)) for at, (p, a) in enumerate(rows) for q, b in rows[:at] if a != b
    ]
    predicted, label = (array(*values) for values in zip(*rows, strict=True))
    if pairs:
        assert xauc(predicted, label) == pytest.approx(sum(pairs) / len(pairs), abs=1e-12)
    else:
        with pytest.raises(ValueError, match=f"all {len(rows)} labels are equal"):
            xauc(predicted, label)


def test_xauc_of_labels_of_zero_and_one_is_the_auc():
    random = np.random.default_rng(0)
    scores, positive = random.integers(0, 50, 999).astype(float), random.random(999) < 0.3
    assert xauc(scores, positive.astype(float)) == pytest.approx(auc(scores, positive), abs=1e-12)


def test_a_split_of_both_kinds_is_measured_in_the_units_of_the_label():
    scores = np.array([[0.5, 1.0], [-1.0, 0.0], [2.0, np.nan]], dtype=np.float32)
    labels = np.array([[1, 0.5], [0, 0.0], [1, np.nan]], dtype=np.float32)  # 110 and 100; the third is not known
    observed = np.array([[True, True], [True, True], [True, False]])
    found = evaluate(scores, labels, observed, (CLICK, WATCH), np.array([[0.9, 0.5], [0.2, 0.5], [0.8, 0.5]]))
    assert found.undefined == {}
    assert found.of_task("watch") == pytest.approx(
        {"rows": 2, "equal_scores": 0, "xauc": 1, "rmse": 50**0.5, "mae": 5, "rmse_constant": 5}
    )
    assert found.value("auc", "click") == 1
    assert found.value("ceiling_auc", "click") == 1


def test_what_has_no_value_says_why():
    found = evaluate(np.array([[np.inf], [0.0]]), np.zeros((2, 1)), None, (WATCH,))
    assert found.undefined == dict.fromkeys(("watch/xauc", "watch/rmse", "watch/mae"), "1 of 2 logits are not finite")
    none = evaluate(np.zeros((2, 1)), np.zeros((2, 1)), np.zeros((2, 1), bool), (WATCH,))
    assert none.values == {"watch/rows": 0}
    assert set(none.undefined.values()) == {"no observed rows"}
