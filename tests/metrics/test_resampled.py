"""AUC on resampled users, against the AUC of rows that are really repeated."""

import time

import numpy as np
import pytest

from mtlbench.metrics.binary import auc
from mtlbench.metrics.resampled import _draws, affordable_draws, resampled_aucs


def test_a_draw_is_the_auc_of_its_rows_ties_included() -> None:
    """Scores of few values, so that most are tied; users of one to many rows."""
    generator = np.random.default_rng(0)
    unit = np.unique(generator.integers(0, 13, 101), return_inverse=True)[1]
    positive = generator.random(101) < 0.3
    models = [generator.integers(0, 7, 101).astype(np.float32), generator.normal(size=101).astype(np.float32)]
    found = resampled_aucs(models, positive, unit, draws=67, seed=5)
    weights = np.concatenate(list(_draws(13, 67, 64, 5)), axis=1)
    assert np.array_equal(weights, np.concatenate(list(_draws(13, 67, 9, 5)), axis=1)), "whatever the block size"
    assert (weights.sum(axis=0) == 13).all()
    for draw in range(67):
        rows = np.repeat(np.arange(101), weights[unit, draw])
        for model, scores in enumerate(models):
            assert found[model, draw] == pytest.approx(auc(scores[rows], positive[rows]), rel=1e-12)


def test_a_draw_of_one_class_has_no_auc() -> None:
    """One of three users holds the only positive: a draw lacks it with probability (2/3)^3."""
    found = resampled_aucs([np.array([0.1, 0.2, 0.3])], np.array([True, False, False]), np.arange(3), draws=3000)
    lacking = np.isnan(found).mean()
    assert lacking == pytest.approx(8 / 27 + 1 / 27, abs=0.03)  # or holds nothing else
    assert set(np.unique(found[~np.isnan(found)])) <= {0.0}


def test_resampling_users_is_wider_than_resampling_their_rows() -> None:
    """Ten rows of a user are one and the same: the variance is tenfold that of independent rows."""
    generator = np.random.default_rng(2)
    positive, scores = generator.random(200) < 0.5, generator.normal(size=200)
    ten = [np.repeat(each, 10) for each in (scores, positive, np.arange(200))]
    users, rows = (resampled_aucs([ten[0]], ten[1], unit, draws=400)[0] for unit in (ten[2], np.arange(2000)))
    assert users.var() / rows.var() == pytest.approx(10, rel=0.3)


def test_large_splits_are_drawn_less_often() -> None:
    assert [affordable_draws(rows) for rows in (0, 500_000, 1_000_000, 50_000_000)] == [1000, 1000, 500, 100]


@pytest.mark.long
def test_a_study_takes_seconds() -> None:
    """1,000 draws of 15,747 rows for two models of five seeds: 3 s of one core."""
    generator = np.random.default_rng(0)
    positive = generator.random(15_747) < 0.3
    scores = [generator.normal(size=15_747).astype(np.float32) for _ in range(10)]
    began = time.process_time()
    resampled_aucs(scores, positive, generator.permutation(15_747) % 6000, draws=1000)
    assert time.process_time() - began < 15
