"""A measured figure as plain data, with everything that a renderer needs.

Numbers are finite. A missing value is ``None`` in a heat map or bar, and is left out of a curve.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from math import isfinite
from typing import Annotated, Literal

from pydantic import Discriminator

from mtlbench.report.result import Claim, Run


@dataclass(frozen=True, kw_only=True, slots=True)
class HeatMap:
    """A heat map: numbers over two lists of names.

    Attributes:
        title, x_name, y_name, value_name: titles of the panel, of its axes, and of its colour scale.
        x, y: names of columns, left to right, and of rows, top to bottom.
        values: ``values[i][j]`` is the cell of ``y[i]`` and ``x[j]``; ``None`` if empty.
        centre: centre of a diverging colour scale, such as 1 for a gradient coefficient; ``None`` for a sequential
            scale.
    """

    title: str
    x_name: str
    y_name: str
    value_name: str
    x: tuple[str, ...]
    y: tuple[str, ...]
    values: tuple[tuple[float | None, ...], ...]
    centre: float | None = None
    kind: Literal["heat_map"] = "heat_map"

    def __post_init__(self) -> None:
        assert self.x, f"{self.title}: no columns"
        assert self.y, f"{self.title}: no rows"
        assert len(self.values) == len(self.y), f"{self.title}: {len(self.values)} rows of values, {len(self.y)} names"
        for name, row in zip(self.y, self.values, strict=True):
            assert len(row) == len(self.x), f"{self.title}, {name}: {len(row)} values, {len(self.x)} columns"
            _check_finite(f"{self.title}, {name}", row)


@dataclass(frozen=True, kw_only=True, slots=True)
class Curve:
    """A curve of a line plot.

    Attributes:
        label: legend label; a label has the same style in all panels of a figure.
        x, y: its points, in drawing order.
        low, high: bounds of its band, both or neither.
        reference: whether it is a thin reference line, such as a paper's level or a ground truth.
    """

    label: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    low: tuple[float, ...] | None = None
    high: tuple[float, ...] | None = None
    reference: bool = False

    def __post_init__(self) -> None:
        assert self.x, f"{self.label}: no points"
        assert (self.low is None) == (self.high is None), f"{self.label}: a band has two sides"
        for values in (self.x, self.y, self.low or self.y, self.high or self.y):
            assert len(values) == len(self.x), f"{self.label}: {len(values)} values at {len(self.x)} points"
            _check_finite(self.label, values)


@dataclass(frozen=True, kw_only=True, slots=True)
class Lines:
    """A line plot; with ``log_x`` the x axis is logarithmic, and all x must be above 0."""

    title: str
    x_name: str
    y_name: str
    curves: tuple[Curve, ...]
    log_x: bool = False
    kind: Literal["lines"] = "lines"

    def __post_init__(self) -> None:
        assert self.curves, f"{self.title}: no curves"
        labels = [curve.label for curve in self.curves]
        assert len(labels) == len(set(labels)), f"{self.title}: two curves of one label in {labels}"
        lowest = min(min(curve.x) for curve in self.curves)
        assert not self.log_x or lowest > 0, f"{self.title}: no logarithm of {lowest}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Series:
    """Bars of one style, one per group.

    Attributes:
        label: legend label.
        values: one per group; ``None`` if not run.
        errors: standard deviations over seeds; ``None`` for a single seed.
    """

    label: str
    values: tuple[float | None, ...]
    errors: tuple[float | None, ...]

    def __post_init__(self) -> None:
        assert len(self.errors) == len(self.values), f"{self.label}: {len(self.errors)} errors, {len(self.values)} bars"
        _check_finite(self.label, (*self.values, *self.errors))


@dataclass(frozen=True, kw_only=True, slots=True)
class Bars:
    """A grouped bar chart; bars start at ``base``, and ``absent`` is the text for a missing bar."""

    title: str
    y_name: str
    groups: tuple[str, ...]
    series: tuple[Series, ...]
    base: float = 0.0
    absent: str = "not run"
    kind: Literal["bars"] = "bars"

    def __post_init__(self) -> None:
        assert self.groups, f"{self.title}: no groups"
        assert self.series, f"{self.title}: no series"
        labels = [series.label for series in self.series]
        assert len(labels) == len(set(labels)), f"{self.title}: two series of one label in {labels}"
        for series in self.series:
            count = len(series.values)
            assert count == len(self.groups), f"{self.title}, {series.label}: {count} bars, {len(self.groups)} groups"


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """A labelled point of a scatter plot; errors are standard deviations over seeds, ``None`` for a single seed."""

    label: str
    x: float
    y: float
    x_error: float | None = None
    y_error: float | None = None

    def __post_init__(self) -> None:
        _check_finite(self.label, (self.x, self.y, self.x_error, self.y_error))


@dataclass(frozen=True, kw_only=True, slots=True)
class Scatter:
    """A scatter plot of two metrics; ``front`` has the labels of the Pareto front, left to right, filled and joined."""

    title: str
    x_name: str
    y_name: str
    points: tuple[Point, ...]
    front: tuple[str, ...] = ()
    kind: Literal["scatter"] = "scatter"

    def __post_init__(self) -> None:
        assert self.points, f"{self.title}: no points"
        labels = [point.label for point in self.points]
        assert len(labels) == len(set(labels)), f"{self.title}: two points of one label in {labels}"
        assert set(self.front) <= set(labels), f"{self.title}: the front {self.front} is not among {labels}"


Panel = HeatMap | Lines | Bars | Scatter


@dataclass(frozen=True, kw_only=True, slots=True)
class NumberTable:
    """A table of a figure's numbers, as text.

    Attributes:
        title: title of the table.
        head, rows: cells; the first column names the row.
        notes: notes below the table.
    """

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class FigureResult:
    """A measured figure of a paper, or the figure of an analysis of a run.

    Attributes:
        name: name of the figure's file, such as ``dephn_fig4``.
        title: title of the figure.
        paper, place: its source.
        panels: panels in reading order; empty if nothing could be drawn.
        claims: claims of the paper about the figure that can be tested. With several seeds they are tested like those
            of a table; without seeds they are decided by the numbers directly.
        findings: statements of the paper, each with the measured numbers, that are not tested.
        footnotes: notes on fewer seeds than the paper, departures, and origin of data.
        marks: warnings shown on top: ``SIMULATED DATA``, ``SCALED: ...``, ``OWN SETTINGS: ...``; empty for real
            data at full size with the settings of the table or figure.
        runs: the runs of the figure.
        missing: parts that could not be drawn because runs are missing.
        tables: numbers shown below the figure.
    """

    name: str
    title: str
    paper: str
    place: str
    panels: tuple[Annotated[Panel, Discriminator("kind")], ...]
    claims: tuple[Claim, ...] = ()
    findings: tuple[str, ...] = ()
    footnotes: tuple[str, ...] = ()
    marks: tuple[str, ...] = ()
    runs: tuple[Run, ...] = ()
    missing: tuple[str, ...] = ()
    tables: tuple[NumberTable, ...] = ()


def _check_finite(where: str, values: Iterable[float | None]) -> None:
    for value in values:
        assert value is None or isfinite(value), f"{where}: {value} cannot be drawn; use None for a gap"
