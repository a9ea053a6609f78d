"""Properties of metrics by name: title, direction, digits, tolerance, and the rows they are computed on.

A new metric is a function in `mtlbench.metrics.binary` and an entry here, from which selection, tables and terminal
take it. The user's own metrics are added by `declare`, from their configuration.
"""

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal


@dataclass(frozen=True, kw_only=True, slots=True)
class Metric:
    """Properties of a metric.

    Attributes:
        title: column heading.
        better: direction; ``None`` for metrics that describe the data, not the model (counts, the log loss of a
            constant, ceilings): they are shown, but not used for selection, ranking or tests.
        rows: the rows it is computed on.
        digits: number of decimals.
        percent: whether it is shown in per cent.
        tolerance: kind of tolerance around a printed number: absolute, or relative for metrics without a common scale.
        per_task: whether it is per task, or over all tasks.
        measured: on validation and test; only on ``test``, for metrics of ``dataset.metrics`` or of true probabilities;
            or in a ``table``, derived from other numbers.
        constant: whether it is the same for every seed, so that there is nothing to test.
        summary: whether it is part of the summary of a run.
        kind: kind of tasks that have it; ``None`` for both.
        counterpart: metric of regression tasks that replaces it in a mean over tasks of both kinds.
    """

    title: str
    better: Literal["higher", "lower", "near one"] | None
    rows: str = "observed rows"
    digits: int = 4
    percent: bool = False
    tolerance: Literal["absolute", "relative"] = "absolute"
    per_task: bool = True
    measured: Literal["validation", "test", "table"] = "validation"
    constant: bool = False
    summary: bool = True
    kind: Literal["binary", "regression"] | None = "binary"
    counterpart: str | None = None

    def compared(self, value: float) -> float:
        """The number to compare: the value, or its distance from 1 for metrics that are better near 1."""
        return abs(value - 1) if self.better == "near one" else value

    def score(self, value: float) -> float:
        """The value with a sign such that higher is better.

        Raises:
            ValueError: the metric has no direction.
        """
        if self.better is None:
            raise ValueError(f"{self.title} describes the data, so no value is better than another")
        return value if self.better == "higher" else -self.compared(value)

    def text(self, value: float) -> str:
        """A value for display."""
        return f"{value:,.{self.digits}{'%' if self.percent else 'f'}}"


COUNT = Metric(title="count", better=None, digits=0, tolerance="relative", constant=True)
ERROR = Metric(title="error", better="lower", tolerance="relative", kind="regression")

METRICS: dict[str, Metric] = {
    "auc": Metric(title="AUC", better="higher", counterpart="xauc"),
    "xauc": Metric(
        title="XAUC", better="higher", rows="pairs of observed rows with different labels", kind="regression"
    ),
    "gauc": Metric(title="gAUC", better="higher", rows="groups with both classes, weighted by their rows"),
    "uauc": Metric(title="uAUC", better="higher", rows="groups with both classes", summary=False),
    "weighted_uauc": Metric(
        title="weighted uAUC", better="higher", rows="groups with both classes", per_task=False, measured="test"
    ),
    r"auc_on_(.+)s": Metric(title="AUC on {}s", better="higher", rows="rows whose {} label is 1"),
    r"precision_at_(\d+)((?:_of_\d+)?_(?:export|own))": Metric(
        title="P@{}{}", better="higher", rows="the {} best rows of each list with a positive", measured="test"
    ),
    r"lists_at_(\d+(?:_of_\d+)?)": replace(COUNT, title="lists @{}", measured="test", summary=False),
    "ceiling_auc": Metric(title="AUC ceiling", better=None, measured="test"),
    "excess_auc_share": Metric(title="excess AUC", better="higher", digits=1, percent=True, measured="test"),
    "logloss": Metric(title="log loss", better="lower", digits=5, tolerance="relative"),
    "logloss_constant": Metric(title="log loss of a constant", better=None, digits=5, tolerance="relative"),
    "ceiling_logloss": Metric(title="log loss floor", better=None, digits=5, tolerance="relative", measured="test"),
    "ne": Metric(title="NE", better="lower", summary=False),
    "pcoc": Metric(title="PCOC", better="near one"),
    "ece": Metric(title="ECE", better="lower"),
    "rmse": replace(ERROR, title="RMSE"),
    "rmse_constant": replace(ERROR, title="RMSE of a constant", better=None),
    "mae": replace(ERROR, title="MAE"),
    "equal_scores": Metric(title="equal scores", better=None, digits=0, summary=False, kind=None),
    "positives": replace(COUNT, title="positives"),
    "rows": replace(COUNT, title="rows", kind=None),
    "groups": replace(COUNT, title="groups", summary=False),
    "one_class_groups": replace(COUNT, title="groups of one class", summary=False),
    "logloss_sum": Metric(
        title="sum of log losses", better="lower", tolerance="relative", per_task=False, measured="table"
    ),
    "logloss_weighted": Metric(
        title="weighted sum of log losses", better="lower", tolerance="relative", per_task=False, measured="table"
    ),
    "auc_gain": Metric(title="AUC over the baselines' mean (%)", better="higher", measured="table"),
    "parameters": replace(
        COUNT, title="parameters", better="lower", rows="no rows", per_task=False, measured="table", kind=None
    ),
}
"""Metrics by name, or by a pattern for a family of names, in the order of columns."""


_own: dict[str, Metric] = {}
"""Entries of the user's own metrics, see `declare`."""


def declare(own: Mapping[str, Metric]) -> None:
    """Add the user's own metrics, of a run to train or of a finished run to show.

    Built-in metrics cannot be replaced; a later declaration of a name replaces an earlier one.
    """
    _own.update({name: entry for name, entry in own.items() if built_in(name) is None})


def own_names() -> list[str]:
    """Names of the declared own metrics."""
    return list(_own)


def find_metric(name: str) -> Metric | None:
    """The entry of a metric, ``None`` for an unknown name."""
    return built_in(name) or _own.get(name)


@cache
def built_in(name: str) -> Metric | None:
    """The entry of a built-in metric, ``None`` for any other name."""
    if name in METRICS:
        return METRICS[name]
    for pattern, family in METRICS.items():
        if found := re.fullmatch(pattern, name):
            title, rows = (text.format(*found.groups()).replace("_", " ") for text in (family.title, family.rows))
            return replace(family, title=title, rows=rows)
    return None


def metric(name: str) -> Metric:
    """The entry of a metric.

    Raises:
        ValueError: the name is unknown.
    """
    if (found := find_metric(name)) is not None:
        return found
    names = [known for known in (*METRICS, *_own) if known.isidentifier()]
    raise ValueError(
        f"unknown metric '{name}'{did_you_mean(name, names)}. Known: {', '.join(names)}, auc_on_<task>s, "
        "precision_at_<n>[_of_<size>]_<export|own>, lists_at_<n>[_of_<size>]"
    )


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A suggestion for the end of a message; empty if no known name is close."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f" (did you mean '{close[0]}'?)" if close else ""


def selectable(given: Iterable[str]) -> list[str]:
    """Metrics by which weights can be selected: measured on validation, per task, and with a direction.

    Args:
        given: names of parent tasks.
    """
    fixed = [
        name
        for name, entry in (METRICS | _own).items()
        if name.isidentifier() and entry.better is not None and entry.per_task and entry.measured == "validation"
    ]
    return fixed + [f"auc_on_{task}s" for task in dict.fromkeys(given)]


def ordered_names(names: Iterable[str]) -> list[str]:
    """The distinct names, in the order of `METRICS`, followed by the user's own metrics."""
    patterns = [*METRICS, *_own]
    places = {
        name: next(at for at, pattern in enumerate(patterns) if name == pattern or re.fullmatch(pattern, name))
        for name in names
        if find_metric(name) is not None
    }
    return sorted(places, key=lambda name: (places[name], name))
