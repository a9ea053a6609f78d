"""The user's own metrics: functions of labels and predictions, called for each task of their kind."""

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
    """One of the user's own metrics failed, and is therefore undefined."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OwnMetric:
    """A metric of the user's own.

    Attributes:
        name: name of the metric, without a task.
        about: its title, direction, and kind of tasks.
        function: function of the arrays ``labels``, ``predictions`` and, if it takes them, ``groups``, all ``[N]``.
        grouped: whether it takes ``groups``.
    """

    name: str
    about: Metric
    function: Callable[..., Any]
    grouped: bool

    def measure(self, labels: np.ndarray, predictions: np.ndarray, groups: np.ndarray | None) -> float:
        """Call the function with copies of the arrays; torch's random state is not affected.

        Args:
            labels: of a binary task, integers 0 and 1; of a regression task, floats in the label's units; ``[N]``.
            predictions: probabilities, or numbers in the label's units, float64 ``[N]``.
            groups: integers ``[N]``, which the function gets as int64.

        Raises:
            ValueError: the function did not return a finite number.
            Exception: any exception of the function.
        """
        arguments = {"labels": labels.copy(), "predictions": predictions.copy()}
        if self.grouped:
            assert groups is not None, "validated: the data have groups"
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
    """Record every own metric for each task of its kind, over rows with an observed label.

    A metric that fails is undefined, with a warning, so that a mistake in it does not lose hours of training;
    ``mtlbench evaluate`` computes it again. A metric can raise `UndefinedError` if it is undefined for the rows.
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
            except Exception as error:  # noqa: BLE001  a user's function may raise anything
                metrics.undefined[name] = f"{type(error).__name__}: {error}"
                warnings.warn(f"{name} is undefined: {metrics.undefined[name]}", OwnMetricWarning, stacklevel=3)
