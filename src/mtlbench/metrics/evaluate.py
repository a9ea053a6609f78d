"""Evaluates a split's logits: exact metrics over all of its rows, with the label space in every name.

A metric that has no value (one class only, no rows, a logit that is not finite) is reported as undefined, with its
reason; it is never NaN, never left out and never invented.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
from scipy.special import expit, xlog1py, xlogy
from torch import Tensor

from mtlbench.metrics.bins import equal_mass_bins
from mtlbench.metrics.own import OwnMetric, measure_own
from mtlbench.metrics.predictions import UndefinedError, equal_scores, require_finite, require_rows
from mtlbench.metrics.ranking import Ranking, Top, group_areas, group_numbers, hits_at, rounded, sampled_lists
from mtlbench.metrics.regression import REGRESSION_METRICS
from mtlbench.result import Metrics
from mtlbench.schema import Task

CALIBRATION_BINS = 15
"""Bins of the calibration error, as many as Guo et al. use (On Calibration of Modern Neural Networks, ICML 2017)."""


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
    """Every metric of every task over a whole split; N rows, T tasks.

    Per task: ``rows`` and ``positives`` (those observed), ``equal_scores`` (1 if all logits are one number, which makes
    every AUC 0.5, else 0), ``auc``, ``logloss`` and ``logloss_constant`` (nats; what the best constant prediction would
    get on this split), their ratio ``ne``, ``pcoc`` and ``ece``. A task that is
    given another (a conversion, given a click) also has ``auc_on_<given>s``: rows whose given label is 1, ranked by
    the ratio of the two probabilities, the conditional one. Where the true probabilities are known: ``ceiling_auc``
    and ``ceiling_logloss``, which the truth itself gets on these labels, and ``excess_auc_share``, the part of the way
    from chance to that ceiling, (auc - 1/2) / (ceiling_auc - 1/2).

    Where rows carry a group (a user): ``gauc`` and ``uauc``, the mean AUC over the groups that hold both classes,
    weighted by their rows (Zhu et al., Optimized Cost per Click in Taobao Display Advertising, KDD 2017) and unweighted
    (WeChat Big Data Challenge 2021); ``groups``, how many there are, and ``one_class_groups``, those left out.

    A regression task has ``rows``, ``equal_scores``, ``xauc``, and in the units of its label ``rmse``, ``mae`` and
    ``rmse_constant`` (of the best constant on this split), and nothing of what is said of the others.

    Where `ranking` asks for it: ``weighted_uauc``, the weighted mean of the tasks' ``uauc``; and the mean share of
    positives among the N best rows of a list, ``precision_at_<N>_export`` ranked by the weighted sum of the tasks'
    probabilities and ``precision_at_<N>_own`` by the task's own logits, with ``lists_at_<N>``, how many lists count
    (see `hits_at`). Where lists are sampled, ``at_<N>_of_<size>`` stands in the place of ``at_<N>``.

    Args:
        logits: ``[N, T]``, log-odds that the stored label is 1; of a regression task, standardised predictions.
        labels: ``[N, T]``, 0 or 1 wherever observed; of a regression task, standardised.
        observed: bool ``[N, T]``, or ``None`` if all are.
        tasks: the T tasks, in the order of the columns.
        truth: ``[N, T]``, true probabilities of the stored labels, where they are known (simulated data).
        group: integers ``[N]``, what the rows of a ranking have in common, where there is such a thing.
        ranking: metrics that depend on settings.
        own: metrics of the user's own; one that fails is undefined, with a warning.

    Raises:
        ValueError: shapes that do not fit, an observed label other than 0 and 1, a truth outside 0..1.
    """
    score_NT, label_NT = _array(logits), _array(labels)
    observed_NT = np.ones(label_NT.shape, dtype=bool) if observed is None else _array(observed).astype(bool)
    truth_NT = None if truth is None else _array(truth)
    _check_shapes({"logits": score_NT, "labels": label_NT, "observed": observed_NT, "truth": truth_NT}, tasks)
    if group is not None and group.shape != label_NT.shape[:1]:
        raise ValueError(f"group: shape is {tuple(group.shape)}; expected [rows] = {label_NT.shape[:1]}")
    ranking = Ranking() if ranking is None else ranking
    group_N = None if group is None else group_numbers(_array(group))
    column = {task.name: position for position, task in enumerate(tasks)}
    metrics = Metrics()
    for t, task in enumerate(tasks):
        rows = observed_NT[:, t]
        if task.kind == "regression":
            _measure_regression(metrics, task, score_NT[rows, t], label_NT[rows, t])
            continue
        label = _binary(label_NT[rows, t], task.name)
        _measure_task(metrics, task.name, score_NT[rows, t], label)
        if task.given is not None:
            g = column[task.given]
            both = rows & observed_NT[:, g] & (label_NT[:, g] == 1)
            _measure_given(metrics, task, score_NT[both, t], score_NT[both, g], label_NT[both, t] == 1)
        if truth_NT is not None:
            _measure_ceiling(metrics, task.name, truth_NT[rows, t], label)
        if group_N is not None:
            _measure_groups(metrics, task.name, score_NT[rows, t], label, group_N[rows], ranking.decimals)
    if ranking.uauc_weights is not None:
        weights = ranking.uauc_weights
        _enter(metrics, "weighted_uauc", lambda: _weighted_uauc(metrics, weights))
    if ranking.top is not None:
        _measure_top(metrics, tasks, score_NT, label_NT == 1, observed_NT, ranking.top, group_N)
    if own:
        measure_own(metrics, own, tasks, score_NT, label_NT, observed_NT, group_N)
    return metrics


def auc(scores: np.ndarray, positive: np.ndarray) -> float:
    """Probability that a random positive row scores above a random negative one; ties count one half.

    Exact: the Mann-Whitney statistic with average ranks, counted in integers. The cost is two sorts of values and a
    search of one class within the other: 0.05 to 0.16 s for five million float32 scores on one core.

    Args:
        scores: floats ``[N]``, any increasing function of the logits.
        positive: bool ``[N]``.

    Raises:
        UndefinedError: no rows, one class only, or scores that are not finite.

    *Departure*: Eq. 13 of the MPA paper counts a tie as 0, which rewards nothing but makes the area depend on
    rounding; average ranks are what every other implementation reports.
    """
    require_finite(scores)
    _require_both_classes(positive)
    above, below = np.sort(scores[positive]), np.sort(scores[~positive])
    wins = int(np.searchsorted(below, above, side="left").sum())
    wins_and_ties = int(np.searchsorted(below, above, side="right").sum())
    return (wins + wins_and_ties) / (2 * len(above) * len(below))


def log_loss(logits: np.ndarray, positive: np.ndarray) -> float:
    """Mean of -ln p(label) in nats, from logits in float64: no probability is formed, so none is clipped.

    Raises:
        UndefinedError: no rows, or logits that are not finite.
    """
    require_finite(logits)
    wide = logits.astype(np.float64)
    return float(np.mean(np.logaddexp(0.0, np.where(positive, -wide, wide))))


def log_loss_of_constant(positive: np.ndarray) -> float:
    """Log loss of predicting the base rate of these very rows: its entropy, in nats (0 where all labels agree).

    Raises:
        UndefinedError: no rows.
    """
    require_rows(positive)
    rate = float(positive.mean())
    return float(-xlogy(rate, rate) - xlogy(1 - rate, 1 - rate))


def normalised_entropy(logits: np.ndarray, positive: np.ndarray) -> float:
    """NE: log loss / log loss of the best constant. Below 1 is better than knowing the base rate alone.

    Raises:
        UndefinedError: no rows, one class only, or logits that are not finite.

    Paper: He et al., Practical Lessons from Predicting Clicks on Ads at Facebook, ADKDD 2014, Eq. 3.
    """
    loss = log_loss(logits, positive)
    _require_both_classes(positive)
    return loss / log_loss_of_constant(positive)


def predicted_over_observed(logits: np.ndarray, positive: np.ndarray) -> float:
    """PCOC, predicted over observed: mean predicted probability / share of positives. 1 is calibrated, 2 is twofold.

    Raises:
        UndefinedError: no rows, no positive row, or logits that are not finite.
    """
    require_finite(logits)
    if not positive.any():
        raise UndefinedError(f"all {len(positive):,} labels are 0")
    return float(expit(logits.astype(np.float64)).mean() / positive.mean())


def calibration_error(logits: np.ndarray, positive: np.ndarray, bins: int = CALIBRATION_BINS) -> float:
    """ECE: mean over rows of |mean predicted probability - share of positives| of the row's bin.

    The bins hold equally many rows (quantiles of the logits), except that equal logits share a bin, so that the
    result depends on no order. Equal widths would put a task with one positive in thousands into a single bin.

    Raises:
        UndefinedError: no rows, or logits that are not finite.
    """
    require_finite(logits)
    bin_of_row = equal_mass_bins(logits, bins)
    gap = expit(logits.astype(np.float64)) - positive
    return float(np.abs(np.bincount(bin_of_row, weights=gap, minlength=bins)).sum() / len(logits))


TASK_METRICS: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "equal_scores": equal_scores,
    "auc": auc,
    "logloss": log_loss,
    "logloss_constant": lambda _logits, positive: log_loss_of_constant(positive),
    "ne": normalised_entropy,
    "pcoc": predicted_over_observed,
    "ece": calibration_error,
}
"""Metrics of a task's observed logits and labels; what else is known of each is in `mtlbench.metrics.names`."""


def _measure_task(metrics: Metrics, name: str, score: np.ndarray, positive: np.ndarray) -> None:
    metrics.values[f"{name}/rows"] = float(len(positive))
    metrics.values[f"{name}/positives"] = float(np.count_nonzero(positive))
    for metric, function in TASK_METRICS.items():
        _enter(metrics, f"{name}/{metric}", partial(function, score, positive))


def _measure_regression(metrics: Metrics, task: Task, score: np.ndarray, label: np.ndarray) -> None:
    predicted, label = (values.astype(np.float64) * task.deviation + task.mean for values in (score, label))
    metrics.values[f"{task.name}/rows"] = float(len(label))
    for metric, function in REGRESSION_METRICS.items():
        _enter(metrics, f"{task.name}/{metric}", partial(function, predicted, label))


def _enter(metrics: Metrics, name: str, metric: Callable[[], float]) -> None:
    """Enter what `metric` returns under `name`, or the reason why it is undefined."""
    try:
        metrics.values[name] = metric()
    except UndefinedError as reason:
        metrics.undefined[name] = str(reason)


def _measure_given(metrics: Metrics, task: Task, joint: np.ndarray, given: np.ndarray, positive: np.ndarray) -> None:
    """Rank by ln p(joint) - ln p(given), in float64, where a ratio of small probabilities keeps its digits."""
    ratio = np.logaddexp(0.0, -given.astype(np.float64)) - np.logaddexp(0.0, -joint.astype(np.float64))
    _enter(metrics, f"{task.name}/auc_on_{task.given}s", lambda: auc(ratio, positive))


def _measure_ceiling(metrics: Metrics, name: str, truth: np.ndarray, positive: np.ndarray) -> None:
    if not ((truth >= 0) & (truth <= 1)).all():
        raise ValueError(f"truth of task '{name}': some values are outside 0..1; true probabilities are expected")

    def ceiling_log_loss() -> float:
        require_rows(truth)
        probability = truth.astype(np.float64)
        losses = -np.where(positive, xlogy(1.0, probability), xlog1py(1.0, -probability))
        if impossible := int(np.isinf(losses).sum()):
            raise UndefinedError(f"{impossible:,} of {len(losses):,} labels have true probability 0")
        return float(losses.mean())

    def excess_share() -> float:
        reached, ceiling = (metrics.values.get(f"{name}/{metric}") for metric in ("auc", "ceiling_auc"))
        if reached is None or ceiling is None:
            raise UndefinedError("auc or ceiling_auc is undefined")
        if ceiling <= 0.5:
            raise UndefinedError(f"ceiling_auc is {ceiling:.4f}: the truth itself ranks no better than chance")
        return (reached - 0.5) / (ceiling - 0.5)

    _enter(metrics, f"{name}/ceiling_auc", lambda: auc(truth, positive))
    _enter(metrics, f"{name}/ceiling_logloss", ceiling_log_loss)
    _enter(metrics, f"{name}/excess_auc_share", excess_share)


def _measure_groups(
    metrics: Metrics, name: str, score: np.ndarray, positive: np.ndarray, group: np.ndarray, decimals: int | None
) -> None:
    found = group_areas(rounded(score, decimals), positive, group)

    def mean(weights: np.ndarray | None) -> float:
        require_finite(score)
        if not len(found.area):
            raise UndefinedError(f"all {found.groups:,} groups hold labels of one class only")
        return float(np.average(found.area, weights=weights))

    _enter(metrics, f"{name}/gauc", lambda: mean(found.rows))
    _enter(metrics, f"{name}/uauc", lambda: mean(None))
    metrics.values[f"{name}/groups"] = float(found.groups)
    metrics.values[f"{name}/one_class_groups"] = float(found.groups - len(found.area))


def _weighted_uauc(metrics: Metrics, weights: Mapping[str, float]) -> float:
    if lacking := [task for task in weights if f"{task}/uauc" not in metrics.values]:
        raise UndefinedError(f"uauc of {', '.join(lacking)} is undefined")
    return sum(weight * metrics.values[f"{task}/uauc"] for task, weight in weights.items()) / sum(weights.values())


def _measure_top(
    metrics: Metrics,
    tasks: Sequence[Task],
    score_NT: np.ndarray,
    positive_NT: np.ndarray,
    observed_NT: np.ndarray,
    top: Top,
    group_N: np.ndarray | None,
) -> None:
    """Precision of each task's N best rows, by the one score of all tasks and by its own."""
    if top.lists == "sampled":
        list_N, at = sampled_lists(len(score_NT), top.size, top.seed), f"at_{top.n}_of_{top.size}"
    elif group_N is not None:
        list_N, at = group_N, f"at_{top.n}"
    else:
        raise ValueError("top.lists is 'group', but there is no group")
    binary = [(t, task) for t, task in enumerate(tasks) if task.kind == "binary"]
    weight_T = np.array([top.weights.get(task.name, 0.0) for task in tasks])
    export_N = (expit(score_NT.astype(np.float64)) @ weight_T).astype(np.float32)  # as fine as the logits themselves
    for t, task in binary:
        rows = observed_NT[:, t]
        for which, score_N in (("export", export_N), ("own", score_NT[:, t])):
            hits = hits_at(top.n, score_N[rows], positive_NT[rows, t], list_N[rows])
            _enter(metrics, f"{task.name}/precision_{at}_{which}", partial(_precision, hits, top.n, score_N[rows]))
        metrics.values[f"{task.name}/lists_{at}"] = float(len(hits))


def _precision(hits: np.ndarray, n: int, score: np.ndarray) -> float:
    require_finite(score)
    if not len(hits):
        raise UndefinedError(f"no list holds {n:,} rows and a positive")
    return float(hits.mean() / n)


def _check_shapes(arrays: Mapping[str, np.ndarray | None], tasks: Sequence[Task]) -> None:
    """Refuse arrays that have not a row for each label row and a column for each task."""
    labels = arrays["labels"]
    assert labels is not None
    for what, array in arrays.items():
        if array is not None and (array.shape != labels.shape or array.shape[1:] != (len(tasks),)):
            raise ValueError(
                f"{what}: shape is {array.shape}; expected [rows, tasks] = "
                f"{(len(labels), len(tasks))} for tasks {[task.name for task in tasks]}"
            )


def _array(values: Tensor | np.ndarray) -> np.ndarray:
    """Values as they are, on the host; numpy has no bfloat16, so half precision becomes float32 (exactly)."""
    if isinstance(values, np.ndarray):
        return values
    half = values.is_floating_point() and values.itemsize < 4
    return (values.float() if half else values).detach().cpu().numpy()


def _binary(label: np.ndarray, task: str) -> np.ndarray:
    positive = label == 1
    if wrong := int(np.count_nonzero(~positive & (label != 0))):
        raise ValueError(f"labels of task '{task}': {wrong:,} of {len(label):,} observed ones are neither 0 nor 1")
    return positive


def _require_both_classes(positive: np.ndarray) -> None:
    for label, found in ((0, positive.any()), (1, not positive.all())):
        if not found:
            raise UndefinedError(f"all {len(positive):,} labels are {label}")
