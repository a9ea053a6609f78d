"""Everything known about a metric by its name: title, direction, digits, tolerance, and the rows it is computed on.

A new metric is a function in `mtlbench.metrics.binary` and an entry here; selection, tables and terminal follow.
Metrics of the user's own are entered by `declare`, from the configuration that brings them.
"""

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal


@dataclass(frozen=True, kw_only=True, slots=True)
class Metric:
    """What is known about a metric.

    Attributes:
        title: heading of a column.
        better: which values are better; ``None`` for what describes the data and not the model (counts, the log loss
            of a constant, ceilings): it is shown, and nothing is selected, ranked or tested by it.
        rows: what it is computed on.
        digits: behind the point.
        percent: whether a share is shown in per cent.
        tolerance: of a printed number: a distance, or a share of it for what has no common scale.
        per_task: whether each task has one, or the run as a whole.
        measured: on validation and test; on ``test`` alone, if ``dataset.metrics`` or known true probabilities ask for
            it; or derived from other numbers when a ``table`` is made.
        constant: the same for every seed, so there is nothing to test.
        summary: whether it is shown where a run is shown.
        kind: of the tasks that have it; ``None``: of both.
        counterpart: metric of a regression task that takes its place in a mean over tasks of both kinds.
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
        """The number by which two values are compared: the value, or its distance from 1 if that should be small."""
        return abs(value - 1) if self.better == "near one" else value

    def score(self, value: float) -> float:
        """The value with a sign such that higher is better.

        Raises:
            ValueError: the metric has no direction.
        """
        if self.better is None:
            raise ValueError(f"{self.title} describes the data: no value of it is better than another")
        return value if self.better == "higher" else -self.compared(value)

    def text(self, value: float) -> str:
        """A value as it is shown."""
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
"""By name, or by a pattern for a family of names; in the order in which columns are shown."""


_own: dict[str, Metric] = {}
"""Entries of the user's own metrics, see `declare`."""


def declare(own: Mapping[str, Metric]) -> None:
    """Enter metrics of the user's own: of a run that is to be trained, or of a finished one that is to be shown.

    A built-in metric keeps its entry; of two declarations of a name, the later counts.
    """
    _own.update({name: entry for name, entry in own.items() if built_in(name) is None})


def own_names() -> list[str]:
    """Names of the user's own metrics that were declared."""
    return list(_own)


def find_metric(name: str) -> Metric | None:
    """The entry of a metric, ``None`` for a name that has none."""
    return built_in(name) or _own.get(name)


@cache
def built_in(name: str) -> Metric | None:
    """The entry of a metric in `METRICS`, ``None`` for a name that has none there."""
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
        ValueError: there is none of this name.
    """
    if (found := find_metric(name)) is not None:
        return found
    names = [known for known in (*METRICS, *_own) if known.isidentifier()]
    raise ValueError(
        f"unknown metric '{name}'{did_you_mean(name, names)}. Known: {', '.join(names)}, auc_on_<task>s, "
        "precision_at_<n>[_of_<size>]_<export|own>, lists_at_<n>[_of_<size>]"
    )


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A question for the end of a message; empty where no known name is close."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f" (did you mean '{close[0]}'?)" if close else ""


def selectable(given: Iterable[str]) -> list[str]:
    """Metrics that weights can be selected by: measured on validation for each task, and some values are better.

    Args:
        given: names of the tasks that other tasks are given.
    """
    named = [
        name
        for name, entry in (METRICS | _own).items()
        if name.isidentifier() and entry.better is not None and entry.per_task and entry.measured == "validation"
    ]
    return named + [f"auc_on_{task}s" for task in dict.fromkeys(given)]


def ordered_names(names: Iterable[str]) -> list[str]:
    """Names of known metrics, each once, in the order of `METRICS`; the user's own behind them."""
    patterns = [*METRICS, *_own]
    places = {
        name: next(at for at, pattern in enumerate(patterns) if name == pattern or re.fullmatch(pattern, name))
        for name in names
        if find_metric(name) is not None
    }
    return sorted(places, key=lambda name: (places[name], name))
