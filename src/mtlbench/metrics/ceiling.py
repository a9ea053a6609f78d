"""Ceilings on simulated data: metrics of the true probabilities, and how close a model comes to them."""

import numpy as np
from scipy.special import xlog1py, xlogy

from mtlbench.metrics.binary import auc
from mtlbench.metrics.predictions import UndefinedError, record, require_rows
from mtlbench.result import Metrics


def measure_ceiling(metrics: Metrics, name: str, truth: np.ndarray, positive: np.ndarray) -> None:
    """Record ``ceiling_auc``, ``ceiling_logloss`` and ``excess_auc_share`` of a task whose AUC has been recorded.

    Args:
        metrics: metrics of the split, which are extended.
        name: name of the task.
        truth: true probabilities of the labels, floats ``[N]``.
        positive: bool ``[N]``.

    Raises:
        ValueError: a true probability is outside 0..1.
    """
    if not ((truth >= 0) & (truth <= 1)).all():
        raise ValueError(f"truth of task '{name}': some values are outside 0..1; expected true probabilities")

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
            raise UndefinedError(f"ceiling_auc is {ceiling:.4f}: the true probabilities rank no better than chance")
        return (reached - 0.5) / (ceiling - 0.5)

    record(metrics, f"{name}/ceiling_auc", lambda: auc(truth, positive))
    record(metrics, f"{name}/ceiling_logloss", ceiling_log_loss)
    record(metrics, f"{name}/excess_auc_share", excess_share)
