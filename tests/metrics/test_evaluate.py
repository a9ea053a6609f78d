import math
import tracemalloc

import numpy as np
import pytest
import torch

from metrics.logits import column, scored
from mtlbench.metrics.binary import BINARY_METRICS
from mtlbench.metrics.evaluate import evaluate
from mtlbench.schema import Task

CLICK = Task(name="click", label="click")
CONVERSION = Task(name="conversion", label="buy", given="click")
CEILINGS = ("ceiling_auc", "ceiling_logloss", "excess_auc_share")
OF_CLICK = {f"click/{name}" for name in BINARY_METRICS}


def test_every_metric_by_hand():
    # Logits ln 3 and -ln 3: probabilities 3/4 and 1/4.
    logits = column(math.log(3), math.log(3), -math.log(3), -math.log(3))
    values = evaluate(logits, column(1, 0, 0, 0), None, [CLICK]).values
    assert values["click/rows"] == 4
    assert values["click/positives"] == 1
    assert values["click/auc"] == (1 + 1 + 0.5) / 3
    assert values["click/logloss"] == pytest.approx(-(3 * math.log(3 / 4) + math.log(1 / 4)) / 4)
    assert values["click/logloss_constant"] == pytest.approx(-(math.log(1 / 4) + 3 * math.log(3 / 4)) / 4)
    assert values["click/ne"] == pytest.approx(1)  # no better than the constant 1/4
    assert values["click/pcoc"] == pytest.approx((2 * 3 / 4 + 2 * 1 / 4) / 4 / (1 / 4))
    # Two bins, two rows each: |3/4 - 1/2| and |1/4 - 0|, half of the rows in each.
    assert values["click/ece"] == pytest.approx(0.5 * 0.25 + 0.5 * 0.25)


def test_normalised_entropy_by_hand():
    # Three rows of four right at probability 3/4; the base rate is one half: (ln 4 - 3/4 ln 3) / ln 2.
    logits = column(math.log(3), math.log(3), -math.log(3), math.log(3))
    values = evaluate(logits, column(1, 1, 0, 0), None, [CLICK]).values
    assert values["click/ne"] == pytest.approx((math.log(4) - 0.75 * math.log(3)) / math.log(2))


def test_the_constant_log_loss_is_what_the_base_rate_predicts():
    labels = column(*([1] * 7 + [0] * 93))
    constant = np.full_like(labels, math.log(7 / 93))
    values = evaluate(constant, labels, None, [CLICK]).values
    assert values["click/logloss"] == pytest.approx(values["click/logloss_constant"], rel=1e-6)
    assert values["click/pcoc"] == pytest.approx(1, rel=1e-6)
    assert values["click/ece"] == pytest.approx(0, abs=1e-7)
    assert values["click/auc"] == 0.5


def test_log_loss_of_a_rare_event_is_the_published_order():
    # 1 of 4,584 rows: an entropy of 0.00206 nats (models of conversions are read against it).
    labels = np.zeros((4584, 1), dtype=np.float32)
    labels[17] = 1
    assert evaluate(labels, labels, None, [CLICK]).values["click/logloss_constant"] == pytest.approx(0.00206, abs=5e-6)


def test_only_observed_rows_count():
    random = np.random.default_rng(3)
    logits = random.standard_normal((211, 2)).astype(np.float32)
    labels = (random.random((211, 2)) < 0.4).astype(np.float32)
    observed = random.random((211, 2)) < 0.5
    tasks = [Task(name="a", label="a"), Task(name="b", label="b")]
    whole = evaluate(logits, np.where(observed, labels, np.nan), observed, tasks)
    for t, task in enumerate(tasks):
        rows = observed[:, t]
        part = evaluate(logits[rows, t : t + 1], labels[rows, t : t + 1], None, [task])
        assert {name: whole.values[name] for name in part.values} == part.values


def test_conversion_on_clicks_is_ranked_by_the_conditional_probability():
    click = np.array([0.1, 0.9, 0.5, 0.5, 0.2])
    conditional = np.array([0.9, 0.1, 0.4, 0.3, 0.9])
    joint = click * conditional
    logits = np.log(np.stack([click, joint], axis=1)) - np.log1p(-np.stack([click, joint], axis=1))
    labels = np.array([[1, 1], [1, 0], [1, 1], [1, 0], [0, 0]], dtype=np.float32)
    values = evaluate(logits, labels, None, [CLICK, CONVERSION]).values
    # Clicked rows only: 0.9 and 0.4 beat 0.1 and 0.3. By the joint (0.09, 0.2 against 0.09, 0.15) it would be 2.5 of 4.
    assert values["conversion/auc_on_clicks"] == 1.0
    assert values["conversion/auc"] == pytest.approx(3.5 / 6)  # 0.09 and 0.2 against 0.09, 0.15, 0.18
    assert "click/auc_on_clicks" not in values
    # A row whose click nobody saw is no clicked row, whatever is stored there; here it would be a loss against 0.3.
    labels[1, 1] = 1
    unseen = np.array([[True, True], [False, True], [True, True], [True, True], [True, True]])
    assert evaluate(logits, labels, None, [CLICK, CONVERSION]).values["conversion/auc_on_clicks"] == 2 / 3
    assert evaluate(logits, labels, unseen, [CLICK, CONVERSION]).values["conversion/auc_on_clicks"] == 1.0


def test_labels_of_one_class_leave_the_area_undefined_and_the_rest_defined():
    logits = np.zeros((1234, 2), dtype=np.float32)
    labels = np.zeros((1234, 2), dtype=np.float32)
    labels[:, 0] = 1
    metrics = evaluate(logits, labels, None, [CLICK, CONVERSION])
    assert metrics.undefined == {
        "click/auc": "all 1,234 labels are 1",
        "click/ne": "all 1,234 labels are 1",
        "conversion/auc": "all 1,234 labels are 0",
        "conversion/auc_on_clicks": "all 1,234 labels are 0",
        "conversion/ne": "all 1,234 labels are 0",
        "conversion/pcoc": "all 1,234 labels are 0",
    }
    assert metrics.values["conversion/logloss"] == pytest.approx(math.log(2))
    assert metrics.values["conversion/logloss_constant"] == 0
    assert metrics.values["click/pcoc"] == 0.5


def test_no_observed_row_is_a_reason_and_no_crash():
    empty = np.zeros((5, 1), dtype=np.float32)
    metrics = evaluate(empty, empty, np.zeros((5, 1), dtype=bool), [CLICK], truth=empty)
    assert metrics.values == {"click/rows": 0, "click/positives": 0}
    reasons = {name: reason for name, reason in metrics.undefined.items() if name != "click/excess_auc_share"}
    assert set(reasons.values()) == {"no observed rows"}
    assert set(metrics.undefined) == OF_CLICK | {f"click/{name}" for name in CEILINGS}


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_logits_that_are_not_finite_are_a_reason(bad: float):
    metrics = evaluate(column(0.1, bad, 0.3), column(0, 1, 1), None, [CLICK])
    assert set(metrics.undefined) == OF_CLICK - {"click/equal_scores", "click/logloss_constant"}
    assert set(metrics.undefined.values()) == {"1 of 3 logits are not finite"}
    assert all(math.isfinite(value) for value in metrics.values.values())


def test_torch_and_numpy_agree_in_every_float_type():
    logits, positive = scored(301, 3)
    array, labels = logits[:, None], positive[:, None]
    expected = evaluate(array, labels, None, [CLICK])
    assert evaluate(torch.tensor(array), torch.tensor(labels), None, [CLICK]) == expected
    assert evaluate(torch.tensor(array).double(), torch.tensor(labels).float(), None, [CLICK]).values == pytest.approx(
        expected.values, rel=1e-12
    )
    half = torch.tensor(array).bfloat16()
    assert evaluate(half, torch.tensor(labels), None, [CLICK]) == evaluate(half.float(), labels, None, [CLICK])


def test_the_split_stands_in_front():
    metrics = evaluate(column(1, 2), column(1, 1), None, [CLICK]).prefixed("valid")
    assert metrics.values["valid/click/rows"] == 2
    assert set(metrics.undefined) == {"valid/click/auc", "valid/click/ne"}


def test_wrong_shapes_labels_and_truths_are_refused():
    ones = np.ones((3, 2), dtype=np.float32)
    with pytest.raises(ValueError, match=r"logits: shape is \(3, 1\); expected \[rows, tasks\] = \(3, 2\)"):
        evaluate(ones[:, :1], ones, None, [CLICK, CONVERSION])
    with pytest.raises(ValueError, match=r"for tasks \['click'\]"):
        evaluate(ones, ones, None, [CLICK])
    with pytest.raises(ValueError, match=r"for tasks \['click', 'conversion'\]"):
        evaluate(ones[:, :1], ones[:, :1], None, [CLICK, CONVERSION])
    with pytest.raises(ValueError, match="labels of task 'click': 1 of 2 observed ones are neither 0 nor 1"):
        evaluate(column(0, 0), column(1, np.nan), None, [CLICK])
    with pytest.raises(ValueError, match=r"truth of task 'click': some values are outside 0\.\.1"):
        evaluate(column(0, 0), column(1, 0), None, [CLICK], column(0.5, np.nan))


def test_numbers_are_those_of_one_block_whatever_its_size(monkeypatch: pytest.MonkeyPatch):
    """To the bit: rows are added in their order, and means are taken of all rows at once."""
    logits, positive = scored(1_003, 50)
    columns = np.stack([logits, -logits], axis=1), np.stack([positive, ~positive], axis=1)
    whole = evaluate(*columns, None, [CLICK, CONVERSION], group=np.arange(1_003) // 9)
    monkeypatch.setattr("mtlbench.metrics.predictions.BLOCK", 7)
    assert evaluate(*columns, None, [CLICK, CONVERSION], group=np.arange(1_003) // 9) == whole


def test_temporary_arrays_take_a_few_bytes_for_each_row(monkeypatch: pytest.MonkeyPatch):
    """So that 43 million rows of two tasks fit beside what a process holds anyway."""
    rows = 400_000
    logits, positive = scored(rows, 100_000)
    columns = np.stack([logits, logits], axis=1), np.stack([positive, positive], axis=1).astype(np.int8)
    group = np.arange(rows) // 100
    monkeypatch.setattr("mtlbench.metrics.predictions.BLOCK", 4_096)
    tracemalloc.start()
    evaluate(*columns, None, [CLICK, CONVERSION], group=group)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak / rows < 35
