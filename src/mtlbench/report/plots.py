"""Figures of a table as inline SVG: learning curves, and two tasks against each other.

Drawn here and not by a plotting library, because the colours of a page's figures follow its style sheet (light, dark,
print): lines wear the class of their row, ``c0`` to ``c7``, text and axes the colour of the text around them. Rows are
told apart by the number at their line or point, so that no figure depends on colours.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import cos, dist, pi, sin
from statistics import fmean
from xml.etree.ElementTree import Element, SubElement, tostring

from matplotlib.ticker import MaxNLocator

from mtlbench.report.result import Column, Measured, TableResult

WIDTH, HEIGHT = 380, 280
LEFT, RIGHT, TOP, BOTTOM = 56, 26, 42, 40
COLOURS = 8
"""Classes ``c0`` to ``c7`` of the style sheet; rows beyond share them and differ by their number and dashes."""
LABEL_DISTANCE = 13.0
"""Between two numbers, or a point and its number, in the units of the drawing: as high as a number is."""

Point = tuple[float, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """A drawing; ``svg`` is markup whose texts are escaped."""

    title: str
    caption: str
    svg: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Axes:
    """Where data lie on the drawing: ranges in data units, from the first tick to the last."""

    x_ticks: tuple[float, ...]
    y_ticks: tuple[float, ...]

    def place(self, x: float, y: float) -> Point:
        (x_low, x_high), (y_low, y_high) = (self.x_ticks[0], self.x_ticks[-1]), (self.y_ticks[0], self.y_ticks[-1])
        across = (x - x_low) / (x_high - x_low) * (WIDTH - LEFT - RIGHT)
        up = (y - y_low) / (y_high - y_low) * (HEIGHT - TOP - BOTTOM)
        return LEFT + across, HEIGHT - BOTTOM - up


def figures(result: TableResult) -> list[Figure]:
    """Learning curves and, where a data set has two AUC columns, the plane of its first two, by data set."""
    found = []
    for dataset in dict.fromkeys(column.dataset for column in result.columns):
        mark = _mark(result, dataset)
        if curves := mean_curves(result, dataset):
            found.append(_learning_curves(dataset, curves, mark))
        columns = [c for c in result.columns if (c.dataset, c.metric, c.statistic) == (dataset, "auc", "mean")]
        if len(columns) >= 2 and (points := _measured_pairs(result, columns[0], columns[1])):
            found.append(_plane(columns[0], columns[1], points, mark))
    return found


def mean_curves(result: TableResult, dataset: str) -> dict[int, tuple[float, ...]]:
    """By place of the row: mean of its runs' curves, as far as all of them went."""
    curves = {}
    for place, row in enumerate(result.rows):
        several = [run.curve for run in row.runs if run.dataset == dataset and run.curve]
        if several:
            curves[place] = tuple(fmean(values) for values in zip(*several, strict=False))
    return curves


def front(points: Mapping[int, Point]) -> list[int]:
    """Keys of the points that no other one beats in one coordinate without losing in the other, from left to right."""
    best = [
        key
        for key, (x, y) in points.items()
        if not any(u >= x and v >= y and (u, v) != (x, y) for u, v in points.values())
    ]
    return sorted(best, key=lambda key: points[key])


def _mark(result: TableResult, dataset: str) -> str:
    """What must stand in the drawing too, in a word each, since drawings are copied without their page."""
    origins = {run.origin for row in result.rows for run in row.runs if run.dataset == dataset}
    words = [mark.partition(":")[0] for mark in result.marks if not mark.startswith("SIMULATED")]
    return ", ".join(["SIMULATED DATA"] * ("simulated" in origins) + words)


def _learning_curves(dataset: str, curves: Mapping[int, Sequence[float]], mark: str) -> Figure:
    title = f"{dataset}: learning curves"
    longest = max(map(len, curves.values()))
    axes = Axes(
        x_ticks=_ticks([1, max(longest, 2)], whole=True),
        y_ticks=_ticks([value for curve in curves.values() for value in curve]),
    )
    svg = _canvas(title, axes, ("epoch", "mean validation AUC"), mark)
    ends: dict[int, Point] = {}
    for place, curve in curves.items():
        points = [axes.place(epoch, value) for epoch, value in enumerate(curve, start=1)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        SubElement(svg, "polyline", points=path, attrib={"class": f"line {_colour(place)}"})
        for x, y in points:
            SubElement(svg, "circle", cx=f"{x:.1f}", cy=f"{y:.1f}", r="2.5", attrib={"class": f"dot {_colour(place)}"})
        ends[place] = points[-1]
    for place, y in _apart({place: y for place, (_, y) in ends.items()}).items():
        _text(svg, ends[place][0] + 6, y + 4, str(place + 1), f"number {_colour(place)}")
    caption = "Mean over tasks and seeds, as far as all seeds ran. Numbers are those of the rows."
    return Figure(title=title, caption=caption, svg=tostring(svg, encoding="unicode"))


def _plane(across: Column, up: Column, measured: Mapping[int, tuple[Measured, Measured]], mark: str) -> Figure:
    title = f"{across.dataset}: {across.task} against {up.task}"
    points = {place: (x.mean, y.mean) for place, (x, y) in measured.items()}
    axes = Axes(
        x_ticks=_ticks([side for x, _ in measured.values() for side in _whisker(x)]),
        y_ticks=_ticks([side for _, y in measured.values() for side in _whisker(y)]),
    )
    svg = _canvas(title, axes, (f"AUC of {across.task}", f"AUC of {up.task}"), mark)
    best = front(points)
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (axes.place(*points[place]) for place in best))
    SubElement(svg, "polyline", points=path, attrib={"class": "front"})
    for place, (x, y) in measured.items():
        for ends in ([(side, y.mean) for side in _whisker(x)], [(x.mean, side) for side in _whisker(y)]):
            _line(svg, axes.place(*ends[0]), axes.place(*ends[1]), f"whisker {_colour(place)}")
    drawn = {place: axes.place(*point) for place, point in points.items()}
    for place, (x, y) in drawn.items():
        kind = "point" + " best" * (place in best)
        SubElement(svg, "circle", cx=f"{x:.1f}", cy=f"{y:.1f}", r="4.5", attrib={"class": f"{kind} {_colour(place)}"})
    taken = list(drawn.values())
    for place, point in drawn.items():
        taken.append(_beside(point, [other for other in taken if other != point]))
        _text(svg, taken[-1][0], taken[-1][1] + 4, str(place + 1), f"number middle {_colour(place)}")
    caption = "Mean and standard deviation over seeds; filled and joined: not beaten on both tasks (Pareto front)."
    return Figure(title=title, caption=caption, svg=tostring(svg, encoding="unicode"))


def _measured_pairs(result: TableResult, across: Column, up: Column) -> dict[int, tuple[Measured, Measured]]:
    places = result.columns.index(across), result.columns.index(up)
    pairs = {}
    for place, row in enumerate(result.rows):
        x, y = (row.cells[i].measured for i in places)
        if x is not None and y is not None:
            pairs[place] = (x, y)
    return pairs


def _whisker(measured: Measured) -> Point:
    half = measured.deviation or 0.0
    return measured.mean - half, measured.mean + half


def _ticks(values: Sequence[float], *, whole: bool = False) -> tuple[float, ...]:
    low, high = min(values), max(values)
    if low == high:
        low, high = low - 0.01, high + 0.01
    ticks = [float(tick) for tick in MaxNLocator(nbins=5, integer=whole, steps=[1, 2, 5, 10]).tick_values(low, high)]
    if whole:  # epochs begin at the first and end at the last one, wherever round numbers lie
        return (low, *(tick for tick in ticks if low < tick < high), high)
    return tuple(ticks)


def _apart(heights: Mapping[int, float]) -> dict[int, float]:
    """Heights of labels, moved down where they would lie on each other, and then up if they leave the drawing."""
    moved: dict[int, float] = {}
    lowest = float("-inf")
    for place in sorted(heights, key=lambda place: heights[place]):
        moved[place] = lowest = max(heights[place], lowest + LABEL_DISTANCE)
    highest = HEIGHT - BOTTOM + LABEL_DISTANCE
    for place in sorted(moved, key=lambda place: -moved[place]):
        moved[place] = min(moved[place], highest - LABEL_DISTANCE)
        highest = moved[place]
    return moved


def _beside(point: Point, taken: Sequence[Point]) -> Point:
    """Where a point's number goes: in the first of eight directions that is free, or the one with most room."""
    angles = [pi / 4 * (turn - 1) for turn in range(8)]  # from the upper right on
    places = [(point[0] + LABEL_DISTANCE * cos(angle), point[1] + LABEL_DISTANCE * sin(angle)) for angle in angles]
    return max(places, key=lambda place: min([LABEL_DISTANCE, *(dist(place, other) for other in taken)]))


def _canvas(title: str, axes: Axes, names: tuple[str, str], mark: str) -> Element:
    svg = Element("svg", viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img", attrib={"aria-label": title})
    SubElement(svg, "title").text = title
    for x, text in zip(axes.x_ticks, _tick_texts(axes.x_ticks), strict=True):
        across, bottom = axes.place(x, axes.y_ticks[0])
        _line(svg, (across, bottom), (across, TOP), "grid")
        _text(svg, across, bottom + 16, text, "tick middle")
    for y, text in zip(axes.y_ticks, _tick_texts(axes.y_ticks), strict=True):
        left, up = axes.place(axes.x_ticks[0], y)
        _line(svg, (left, up), (WIDTH - RIGHT, up), "grid")
        _text(svg, left - 6, up + 4, text, "tick end")
    _text(svg, (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8, names[0], "name middle")
    _text(svg, 2, TOP - 12, names[1], "name")
    if mark:
        _text(svg, 2, 12, mark, "mark")
    return svg


def _tick_texts(ticks: Sequence[float]) -> list[str]:
    """All with as many digits as the longest needs."""
    digits = max(len(f"{tick:g}".partition(".")[2]) for tick in ticks)
    return [f"{tick:.{digits}f}" for tick in ticks]


def _line(svg: Element, start: Point, end: Point, kind: str) -> None:
    place = {"x1": f"{start[0]:.1f}", "y1": f"{start[1]:.1f}", "x2": f"{end[0]:.1f}", "y2": f"{end[1]:.1f}"}
    SubElement(svg, "line", attrib={**place, "class": kind})


def _text(svg: Element, x: float, y: float, text: str, kind: str) -> None:
    SubElement(svg, "text", x=f"{x:.1f}", y=f"{y:.1f}", attrib={"class": kind}).text = text


def _colour(place: int) -> str:
    return f"c{place % COLOURS}" + " dashed" * (place // COLOURS % 2)
