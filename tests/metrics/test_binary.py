import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import log_loss as reference_log_loss
from sklearn.metrics import roc_auc_score

from metrics.logits import scored
from mtlbench.metrics.binary import auc, calibration_error, log_loss


def test_auc_counts_pairs_by_hand():
    # Positives 0.8, 0.4; negatives 0.4, 0.1. Pairs: win, win, tie, win -> 3.5 of 4.
    scores = np.array([0.8, 0.4, 0.4, 0.1])
    assert auc(scores, np.array([True, True, False, False])) == 3.5 / 4


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=2, max_size=40))
def test_auc_equals_the_count_of_all_pairs(rows: list[tuple[int, bool]]):
    positives = [score for score, label in rows if label]
    negatives = [score for score, label in rows if not label]
    if not positives or not negatives:
        return
    pairs = [1.0 if p > n else 0.5 if p == n else 0.0 for p in positives for n in negatives]
    scores, labels = (np.array(values) for values in zip(*rows, strict=True))
    assert auc(scores.astype(np.float32), labels) == pytest.approx(sum(pairs) / len(pairs), abs=1e-12)


@pytest.mark.parametrize("distinct", [1, 5, 100_000])
def test_auc_and_log_loss_equal_scikit_learn(distinct: int):
    logits, positive = scored(5_003, distinct)
    assert auc(logits, positive) == pytest.approx(roc_auc_score(positive, logits), abs=1e-12)
    probability = 1 / (1 + np.exp(-logits.astype(np.float64)))
    assert log_loss(logits, positive) == pytest.approx(reference_log_loss(positive, probability), rel=1e-12)


def test_auc_has_no_batches_and_no_order():
    logits, positive = scored(997, 4)
    shuffle = np.random.default_rng(1).permutation(997)
    assert auc(logits[shuffle], positive[shuffle]) == auc(logits, positive)
    assert auc(-logits, positive) == pytest.approx(1 - auc(logits, positive), abs=1e-15)


def test_log_loss_keeps_its_digits_where_probabilities_saturate():
    # float32 probabilities would be exactly 1 here: a loss of 0 and of infinity.
    assert log_loss(np.array([40.0], dtype=np.float32), np.array([True])) == pytest.approx(math.exp(-40), rel=1e-6)
    assert log_loss(np.array([200.0], dtype=np.float32), np.array([False])) == pytest.approx(200)


def test_calibration_error_bins_hold_equally_many_rows_and_depend_on_no_order():
    random = np.random.default_rng(2)
    logits = random.standard_normal(1_501).astype(np.float32)  # no ties: bins of 100 or 101 rows
    positive = random.random(1_501) < 0.3
    order = np.argsort(logits)
    cuts = [1_501 * cut // 15 for cut in range(16)]
    probability = 1 / (1 + np.exp(-logits[order].astype(np.float64)))
    naive = sum(
        (stop - start) / 1_501 * abs(probability[start:stop].mean() - positive[order][start:stop].mean())
        for start, stop in pairwise(cuts)
    )
    assert calibration_error(logits, positive) == pytest.approx(naive, rel=1e-12)
    constant = np.zeros(1_501, dtype=np.float32)
    assert calibration_error(constant, positive) == pytest.approx(abs(0.5 - positive.mean()), rel=1e-12)
