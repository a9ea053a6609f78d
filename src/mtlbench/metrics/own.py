"""Metrics of the user's own: a function of labels and predictions, called for each task of its kind."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.special import expit

from mtlbench.metrics.names import Metric
from mtlbench.metrics.predictions import UndefinedError, require_finite
from mtlbench.result import Metrics, metric_name
from mtlbench.schema import Task


class OwnMetricWarning(UserWarning):
    """A metric of the user's own failed, and is undefined for that reason."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OwnMetric:
    """A metric of the user's own.

    Attributes:
        name: without a task.
        about: title, direction, and the kind of the tasks that have it.
        function: of the arrays ``labels`` and ``predictions``, and ``groups`` where it takes them, all ``[N]``.
        grouped: whether it takes ``groups``.
    """

    name: str
    about: Metric
    function: Callable[..., Any]
    grouped: bool

    def measure(self, labels: np.ndarray, predictions: np.ndarray, groups: np.ndarray | None) -> float:
        """What the function returns of copies of the arrays; random numbers that it draws with torch move no other.

        Args:
            labels: of a binary task, integers 0 and 1; of a regression task, floats in the label's units; ``[N]``.
            predictions: probabilities, or numbers in the label's units, float64 ``[N]``.
            groups: integers ``[N]``, which the function gets as int64.

        Raises:
            ValueError: it returned something else than a finite number.
            Exception: whatever the function raises.
        """
        arguments = {"labels": labels.copy(), "predictions": predictions.copy()}
        if self.grouped:
            assert groups is not None, "data without groups were refused before"
            arguments["groups"] = groups.astype(np.int64)
        with torch.random.fork_rng(devices=[]):
            value = self.function(**arguments)
        number = np.asarray(value)
        if number.shape or number.dtype.kind not in "iuf":
            shape = f" of shape {list(number.shape)}" if number.shape else ""
            raise ValueError(f"it returned {type(value).__name__}{shape}; expected one number")
        if not np.isfinite(number):
            raise ValueError(f"it returned {number}; expected a finite number")
        return float(number)


def measure_own(
    metrics: Metrics,
    own: Sequence[OwnMetric],
    tasks: Sequence[Task],
    score_NT: np.ndarray,
    label_NT: np.ndarray,
    observed_NT: np.ndarray | None,
    group_N: np.ndarray | None,
) -> None:
    """Enter each metric of each task of its kind, over the rows that observe the label.

    One that fails is entered as undefined, with a warning: hours of training are not lost to a slip in a metric, and
    ``mtlbench evaluate`` measures it again. `UndefinedError` is a metric's own way to say that rows do not define it.
    """
    for t, task in enumerate(tasks):
        rows = slice(None) if observed_NT is None else observed_NT[:, t]
        label, score = label_NT[rows, t], score_NT[rows, t].astype(np.float64)
        if task.kind == "binary":
            label, predicted = label.astype(np.int64), expit(score)
        else:
            label, predicted = (values.astype(np.float64) * task.deviation + task.mean for values in (label, score))
        for each in own:
            if each.about.kind not in (None, task.kind):
                continue
            name = metric_name(each.name, task.name)
            try:
                require_finite(score)
                metrics.values[name] = each.measure(label, predicted, None if group_N is None else group_N[rows])
            except UndefinedError as reason:
                metrics.undefined[name] = str(reason)
            except Exception as error:  # noqa: BLE001  the function is not ours, and may raise anything
                metrics.undefined[name] = f"{type(error).__name__}: {error}"
                warnings.warn(f"{name} is undefined: {metrics.undefined[name]}", OwnMetricWarning, stacklevel=3)
