import numpy as np
import pytest

from metrics.logits import column
from mtlbench.metrics.evaluate import evaluate
from mtlbench.schema import Task

CLICK = Task(name="click", label="click")


def test_the_truth_reaches_its_own_ceiling():
    random = np.random.default_rng(4)
    truth = random.random((2_003, 1)).astype(np.float32) * 0.8 + 0.1
    labels = (random.random((2_003, 1)) < truth).astype(np.float32)
    logits = np.log(truth) - np.log1p(-truth)
    best = evaluate(logits, labels, None, [CLICK], truth).values
    assert best["click/ceiling_auc"] == pytest.approx(best["click/auc"], abs=1e-4)
    assert best["click/ceiling_logloss"] == pytest.approx(best["click/logloss"], rel=1e-5)
    assert best["click/excess_auc_share"] == pytest.approx(1, abs=1e-3)
    chance = evaluate(np.zeros_like(logits), labels, None, [CLICK], truth).values
    assert chance["click/excess_auc_share"] == 0
    assert chance["click/logloss"] > best["click/logloss"]


def test_a_ceiling_without_structure_or_against_the_labels_is_undefined():
    half = np.full((4, 1), 0.5, dtype=np.float32)
    logits, labels = column(1, 2, 3, 4), column(0, 1, 0, 1)
    assert "no better than chance" in evaluate(logits, labels, None, [CLICK], half).undefined["click/excess_auc_share"]
    certain = evaluate(logits, labels, None, [CLICK], column(0, 1, 0, 0))
    assert certain.undefined == {"click/ceiling_logloss": "1 of 4 labels have true probability 0"}
    assert evaluate(logits, labels, None, [CLICK], labels).values["click/ceiling_logloss"] == 0
