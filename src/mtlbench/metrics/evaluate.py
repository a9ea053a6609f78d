"""Evaluates a split's logits: exact metrics over all rows, with names that state the label space.

A metric without a value (only one class, no rows, a logit that is not finite) is reported as undefined, with the
reason; it is never NaN and never left out.
"""

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
from torch import Tensor

from mtlbench.metrics.binary import BINARY_METRICS, auc
from mtlbench.metrics.ceiling import measure_ceiling
from mtlbench.metrics.grouped import measure_groups, measure_top, weighted_uauc
from mtlbench.metrics.own import OwnMetric, measure_own
from mtlbench.metrics.predictions import record
from mtlbench.metrics.ranking import Ranking, group_numbers
from mtlbench.metrics.regression import REGRESSION_METRICS
from mtlbench.result import Metrics
from mtlbench.schema import Task


def evaluate(
    logits: Tensor | np.ndarray,
    labels: Tensor | np.ndarray,
    observed: Tensor | np.ndarray | None,
    tasks: Sequence[Task],
    truth: Tensor | np.ndarray | None = None,
    *,
    group: Tensor | np.ndarray | None = None,
    ranking: Ranking | None = None,
    own: Sequence[OwnMetric] = (),
) -> Metrics:
    """Compute all metrics of all tasks over a whole split; N rows, T tasks.

    A binary task has ``rows`` and ``positives`` (observed ones), ``equal_scores`` (1 if all logits are equal, which
    makes every AUC 0.5, else 0), ``auc``, ``logloss`` and ``logloss_constant`` (in nats; the latter of the best
    constant prediction on this split), their ratio ``ne``, ``pcoc`` and ``ece``. A task with a parent task (conversion
    given click) also has ``auc_on_<parent>s``, on rows whose parent label is 1, ranked by the ratio of the two
    probabilities, the conditional one. If the true probabilities are known, there are ``ceiling_auc`` and
    ``ceiling_logloss``, the metrics of the true probabilities, and ``excess_auc_share``, (auc - 1/2) / (ceiling_auc -
    1/2).

    If rows have a group (a user), there are ``gauc`` and ``uauc``, the mean AUC over the groups with both classes,
    weighted by rows (Zhu et al., Optimized Cost per Click in Taobao Display Advertising, KDD 2017) and unweighted
    (WeChat Big Data Challenge 2021), ``groups``, their number, and ``one_class_groups``, the number of excluded ones.

    A regression task only has ``rows``, ``equal_scores``, ``xauc``, and in the units of its label ``rmse``, ``mae`` and
    ``rmse_constant`` (of the best constant on this split).

    `ranking` can add ``weighted_uauc``, the weighted mean of the tasks' ``uauc``, and the mean precision of the N best
    rows of a list: ``precision_at_<N>_export`` ranked by the weighted sum of the tasks' probabilities,
    ``precision_at_<N>_own`` ranked by the task's own logits, and ``lists_at_<N>``, the number of counted lists (see
    `hits_at`). If lists are sampled, the names have ``at_<N>_of_<size>`` instead of ``at_<N>``.

    Args:
        logits: ``[N, T]``, log-odds that the stored label is 1; for a regression task, standardised predictions.
        labels: ``[N, T]``, 0 or 1 if observed; for a regression task, standardised.
        observed: bool ``[N, T]``, or ``None`` for all.
        tasks: the T tasks, in the order of the columns.
        truth: ``[N, T]``, true probabilities of the stored labels, if known (simulated data).
        group: integers ``[N]``, the group of each row, if there are groups.
        ranking: settings of ranking metrics.
        own: the user's own metrics; one that fails is undefined, with a warning.

    Raises:
        ValueError: shapes do not fit, an observed label is not 0 or 1, or a true probability is outside 0..1.
    """
    score_NT, label_NT = _array(logits), _array(labels)
    observed_NT = None if observed is None else _array(observed).astype(bool, copy=False)
    truth_NT = None if truth is None else _array(truth)
    _check_shapes({"logits": score_NT, "labels": label_NT, "observed": observed_NT, "truth": truth_NT}, tasks)
    if group is not None and group.shape != label_NT.shape[:1]:
        raise ValueError(f"group: shape is {tuple(group.shape)}; expected [rows] = {label_NT.shape[:1]}")
    ranking = Ranking() if ranking is None else ranking
    group_N = None if group is None else group_numbers(_array(group)).astype(np.int32)  # half of the memory
    column = {task.name: position for position, task in enumerate(tasks)}
    metrics = Metrics()
    for t, task in enumerate(tasks):
        rows = slice(None) if observed_NT is None else observed_NT[:, t]
        score = np.ascontiguousarray(score_NT[rows, t])
        if task.kind == "regression":
            _measure_regression(metrics, task, score, label_NT[rows, t])
            continue
        label = _binary(label_NT[rows, t], task.name)
        _measure_task(metrics, task.name, score, label)
        if task.given is not None:
            _measure_given(metrics, task, (t, column[task.given]), score_NT, label_NT, observed_NT)
        if truth_NT is not None:
            measure_ceiling(metrics, task.name, truth_NT[rows, t], label)
        if group_N is not None:
            measure_groups(metrics, task.name, score, label, group_N[rows], ranking.decimals)
    if ranking.uauc_weights is not None:
        weights = ranking.uauc_weights
        record(metrics, "weighted_uauc", lambda: weighted_uauc(metrics, weights))
    if ranking.top is not None:
        measure_top(metrics, tasks, score_NT, label_NT == 1, observed_NT, ranking.top, group_N)
    if own:
        measure_own(metrics, own, tasks, score_NT, label_NT, observed_NT, group_N)
    return metrics


def _measure_task(metrics: Metrics, name: str, score: np.ndarray, positive: np.ndarray) -> None:
    metrics.values[f"{name}/rows"] = float(len(positive))
    metrics.values[f"{name}/positives"] = float(np.count_nonzero(positive))
    for metric, function in BINARY_METRICS.items():
        record(metrics, f"{name}/{metric}", partial(function, score, positive))


def _measure_regression(metrics: Metrics, task: Task, score: np.ndarray, label: np.ndarray) -> None:
    predicted, label = (values.astype(np.float64) * task.deviation + task.mean for values in (score, label))
    metrics.values[f"{task.name}/rows"] = float(len(label))
    for metric, function in REGRESSION_METRICS.items():
        record(metrics, f"{task.name}/{metric}", partial(function, predicted, label))


def _measure_given(
    metrics: Metrics,
    task: Task,
    columns: tuple[int, int],
    score_NT: np.ndarray,
    label_NT: np.ndarray,
    observed_NT: np.ndarray | None,
) -> None:
    """Record the AUC of ln p(joint) - ln p(parent), in float64, which is accurate for small probabilities.

    Args:
        metrics: metrics of the split, which are extended.
        task: a task with a parent.
        columns: columns of the task and of its parent.
        score_NT, label_NT, observed_NT: of the split.
    """
    t, g = columns
    rows = label_NT[:, g] == 1
    if observed_NT is not None:
        rows &= observed_NT[:, t] & observed_NT[:, g]
    joint, parent = (np.logaddexp(0.0, -score_NT[rows, at].astype(np.float64)) for at in columns)
    record(metrics, f"{task.name}/auc_on_{task.given}s", lambda: auc(parent - joint, label_NT[rows, t] == 1))


def _check_shapes(arrays: Mapping[str, np.ndarray | None], tasks: Sequence[Task]) -> None:
    """Check that arrays have the shape ``[rows, tasks]``."""
    labels = arrays["labels"]
    assert labels is not None
    for what, array in arrays.items():
        if array is not None and (array.shape != labels.shape or array.shape[1:] != (len(tasks),)):
            raise ValueError(
                f"{what}: shape is {array.shape}; expected [rows, tasks] = "
                f"{(len(labels), len(tasks))} for tasks {[task.name for task in tasks]}"
            )


def _array(values: Tensor | np.ndarray) -> np.ndarray:
    """Values as a numpy array; numpy has no bfloat16, so half precision is converted to float32 (exactly)."""
    if isinstance(values, np.ndarray):
        return values
    half = values.is_floating_point() and values.itemsize < 4
    return (values.float() if half else values).detach().cpu().numpy()


def _binary(label: np.ndarray, task: str) -> np.ndarray:
    positive = label == 1
    if wrong := int(np.count_nonzero(~positive & (label != 0))):
        raise ValueError(f"labels of task '{task}': {wrong:,} of {len(label):,} observed ones are neither 0 nor 1")
    return positive
