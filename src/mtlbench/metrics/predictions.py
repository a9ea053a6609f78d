"""Common parts of metrics of binary and regression tasks: undefined values, and checks of predictions."""

from collections.abc import Callable, Iterator

import numpy as np

from mtlbench.result import Metrics

BLOCK = 2**17
"""Number of rows of a block: a megabyte of float64, which fits into a core's cache."""


class UndefinedError(ValueError):
    """A metric is undefined for the given rows; the message says why."""


def record(metrics: Metrics, name: str, metric: Callable[[], float]) -> None:
    """Record the value of `metric()` under `name`, or the reason why it is undefined."""
    try:
        metrics.values[name] = metric()
    except UndefinedError as reason:
        metrics.undefined[name] = str(reason)


def blocks(rows: int) -> Iterator[slice]:
    """Blocks of rows, so that temporary arrays fit into the cache."""
    return (slice(start, start + BLOCK) for start in range(0, rows, BLOCK))


def require_rows(values: np.ndarray) -> None:
    if not len(values):
        raise UndefinedError("no observed rows")


def require_finite(logits: np.ndarray) -> None:
    require_rows(logits)
    if wrong := int(np.count_nonzero(~np.isfinite(logits))):
        raise UndefinedError(f"{wrong:,} of {len(logits):,} logits are not finite")


def equal_scores(logits: np.ndarray, _positive: np.ndarray) -> float:
    """1 if all logits are equal, which makes every AUC 0.5, else 0.

    Raises:
        UndefinedError: no rows.
    """
    require_rows(logits)
    return float(logits.min() == logits.max())
