"""What metrics of binary and regression tasks share: the error of an undefined metric, and checks of predictions."""

import numpy as np


class UndefinedError(ValueError):
    """A metric that these rows do not define; the message says why."""


def require_rows(values: np.ndarray) -> None:
    if not len(values):
        raise UndefinedError("no observed rows")


def require_finite(logits: np.ndarray) -> None:
    require_rows(logits)
    if wrong := int(np.count_nonzero(~np.isfinite(logits))):
        raise UndefinedError(f"{wrong:,} of {len(logits):,} logits are not finite")


def equal_scores(logits: np.ndarray, _positive: np.ndarray) -> float:
    """1 if all logits are one number, which makes every AUC 0.5, else 0.

    Raises:
        UndefinedError: no rows.
    """
    require_rows(logits)
    return float(logits.min() == logits.max())
