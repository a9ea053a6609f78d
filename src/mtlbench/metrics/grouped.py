"""Metrics within groups and lists of rows: gAUC, uAUC, and the precision of the best rows of a list."""

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
from scipy.special import expit

from mtlbench.metrics.predictions import UndefinedError, record, require_finite
from mtlbench.metrics.ranking import Top, group_areas, hits_at, rounded, sampled_lists
from mtlbench.result import Metrics
from mtlbench.schema import Task


def measure_groups(
    metrics: Metrics, name: str, score: np.ndarray, positive: np.ndarray, group: np.ndarray, decimals: int | None
) -> None:
    """Record ``gauc``, ``uauc``, ``groups`` and ``one_class_groups`` of a task.

    Args:
        metrics: metrics of the split, which are extended.
        name: name of the task.
        score: floats ``[N]``.
        positive: bool ``[N]``.
        group: int32 or int64 ``[N]``, numbered from 0, see `group_numbers`.
        decimals: see `Ranking`.
    """
    found = group_areas(rounded(score, decimals), positive, group)

    def mean(weights: np.ndarray | None) -> float:
        require_finite(score)
        if not len(found.area):
            raise UndefinedError(f"all {found.groups:,} groups hold labels of one class only")
        return float(np.average(found.area, weights=weights))

    record(metrics, f"{name}/gauc", lambda: mean(found.rows))
    record(metrics, f"{name}/uauc", lambda: mean(None))
    metrics.values[f"{name}/groups"] = float(found.groups)
    metrics.values[f"{name}/one_class_groups"] = float(found.groups - len(found.area))


def weighted_uauc(metrics: Metrics, weights: Mapping[str, float]) -> float:
    """Weighted mean of the tasks' recorded ``uauc``.

    Raises:
        UndefinedError: one of them is undefined.
    """
    if undefined := [task for task in weights if f"{task}/uauc" not in metrics.values]:
        raise UndefinedError(f"uauc of {', '.join(undefined)} is undefined")
    return sum(weight * metrics.values[f"{task}/uauc"] for task, weight in weights.items()) / sum(weights.values())


def measure_top(
    metrics: Metrics,
    tasks: Sequence[Task],
    score_NT: np.ndarray,
    positive_NT: np.ndarray,
    observed_NT: np.ndarray | None,
    top: Top,
    group_N: np.ndarray | None,
) -> None:
    """Record each task's precision of the N best rows, ranked by the common score of all tasks and by its logits."""
    if top.lists == "sampled":
        list_N, at = sampled_lists(len(score_NT), top.size, top.seed), f"at_{top.n}_of_{top.size}"
    elif group_N is not None:
        list_N, at = group_N, f"at_{top.n}"
    else:
        raise ValueError("top.lists is 'group', but the rows have no group")
    binary = [(t, task) for t, task in enumerate(tasks) if task.kind == "binary"]
    weight_T = np.array([top.weights.get(task.name, 0.0) for task in tasks])
    export_N = (expit(score_NT.astype(np.float64)) @ weight_T).astype(np.float32)  # the precision of the logits
    for t, task in binary:
        rows = slice(None) if observed_NT is None else observed_NT[:, t]
        for which, score_N in (("export", export_N), ("own", score_NT[:, t])):
            hits = hits_at(top.n, score_N[rows], positive_NT[rows, t], list_N[rows])
            record(metrics, f"{task.name}/precision_{at}_{which}", partial(_precision, hits, top.n, score_N[rows]))
        metrics.values[f"{task.name}/lists_{at}"] = float(len(hits))


def _precision(hits: np.ndarray, n: int, score: np.ndarray) -> float:
    require_finite(score)
    if not len(hits):
        raise UndefinedError(f"no list holds {n:,} rows and a positive")
    return float(hits.mean() / n)
