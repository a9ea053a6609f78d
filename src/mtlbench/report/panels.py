"""Draws one panel on its axes: heat map, line plot, bar chart or scatter plot; the figure draws the legend."""

from collections.abc import Iterable, Mapping, Sequence
from math import ceil, isclose, log10
from textwrap import wrap
from typing import TypeVar

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import CenteredNorm, Colormap, Normalize
from matplotlib.container import BarContainer
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from mtlbench.report.figure import Bars, HeatMap, Lines, Panel, Scatter

TEXT, SOFT, LINE, GROUND, WARNING = "#1b1d21", "#5b6069", "#d9dbdf", "#fefefe", "#5d3f00"
PALETTE = ("#006cf0", "#d83c00", "#005448", "#9c249c", "#483000", "#3c0ca8", "#c05448", "#6c7884")
"""Colours ``--c0`` to ``--c7`` of the page's light theme, safe for colour-blind readers."""
MARKERS, HATCHES = "osD^vPX*", ("", "////", "....", "\\\\\\\\", "xxxx", "----", "oooo", "++++")
DASHES = ("-", (0, (4, 1.5)), (0, (1, 1.2)), (0, (5, 1.2, 1, 1.2)))
REFERENCES = ((0, (6, 2)), (0, (1, 2)), (0, (6, 2, 1, 2)), "-")
LETTER = 0.056
"""Approximate width of a character of tick labels, in inches."""
LABELLED = 64
"""Maximum number of cells of a heat map that is annotated with its numbers, if they fit."""

T = TypeVar("T")
Scale = tuple[Normalize, Colormap]
Handle = Line2D | BarContainer
Styles = Mapping[str, int]
"""Index of each label among the series of the whole figure, or among its references."""


def styles_of(panels: Iterable[Panel]) -> tuple[dict[str, int], dict[str, int]]:
    """Indices of series and of references, by label, so that a label has the same style in all panels of a figure."""
    series: dict[str, int] = {}
    references: dict[str, int] = {}
    for panel in panels:
        if isinstance(panel, Lines):
            for curve in panel.curves:
                kind = references if curve.reference else series
                kind.setdefault(curve.label, len(kind))
        elif isinstance(panel, Bars):
            for bars in panel.series:
                series.setdefault(bars.label, len(series))
        elif isinstance(panel, Scatter):
            for point in panel.points:
                series.setdefault(point.label, len(series))
    return series, references


def scale_of(panel: HeatMap, panels: Iterable[Panel]) -> Scale:
    """A common colour scale for all heat maps of a figure with the same quantity."""
    alike = [
        other
        for other in panels
        if isinstance(other, HeatMap) and (other.value_name, other.centre) == (panel.value_name, panel.centre)
    ]
    values = [value for other in alike for row in other.values for value in row if value is not None] or [0.0]
    low, high = min(values), max(values)
    if panel.centre is not None:
        half = max(abs(low - panel.centre), abs(high - panel.centre)) or 1.0
        return CenteredNorm(panel.centre, half), colormaps["RdBu_r"].resampled(65)
    if isclose(low, high):
        low, high = low - 0.5, high + 0.5
    return Normalize(low, high), colormaps["YlGnBu"].resampled(64)


def draw_heat_map(axes: Axes, panel: HeatMap, scale: Scale, inches: float) -> QuadMesh:
    """Coloured cells, empty ones grey; annotated with their numbers if these fit."""
    numbers = [[float("nan") if value is None else value for value in row] for row in panel.values]
    axes.set_facecolor(LINE)
    mesh = axes.pcolormesh(numbers, norm=scale[0], cmap=scale[1], edgecolors=GROUND, linewidth=0.4)
    axes.invert_yaxis()
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_xlabel(panel.x_name)
    axes.set_ylabel(panel.y_name)
    _name_columns(axes, [column + 0.5 for column in range(len(panel.x))], panel.x, inches)
    step = ceil(len(panel.y) / 32)
    shown = range(0, len(panel.y), step)
    axes.set_yticks([row + 0.5 for row in shown], [_folded(panel.y[row], 24) for row in shown])
    texts = cell_texts(panel)
    room = inches / len(panel.x) * 72  # points
    size = min(7.0, room / (0.66 * max(map(len, texts.values()), default=1)))
    if len(panel.x) * len(panel.y) <= LABELLED and size >= 4.5:
        for (i, j), text in texts.items():
            value = panel.values[i][j]
            dark = value is not None and _is_dark(scale, value)
            colour = SOFT if value is None else "#ffffff" if dark else "#000000"
            axes.text(j + 0.5, i + 0.5, text, ha="center", va="center", fontsize=size, color=colour)
    return mesh


def has_numbers(panel: HeatMap) -> bool:
    """Whether any cell has a value."""
    return any(value is not None for row in panel.values for value in row)


def cell_texts(panel: HeatMap) -> dict[tuple[int, int], str]:
    """Texts of the cells, with digits according to the panel's range; a dash for an empty cell."""
    values = [value for row in panel.values for value in row if value is not None]
    spread = max(values) - min(values) if values else 0.0
    spread = spread or max(map(abs, values), default=0.0) or 1.0
    digits = min(max(ceil(log10(50 / spread)), 0), 4)
    return {
        (i, j): "–" if value is None else f"{value:.{digits}f}"
        for i, row in enumerate(panel.values)
        for j, value in enumerate(row)
    }


def draw_lines(axes: Axes, panel: Lines, series: Styles, references: Styles) -> dict[str, Handle]:
    """Curves with their bands; returns the legend handle of every label."""
    handles: dict[str, Handle] = {}
    for curve in panel.curves:
        if curve.reference:
            dash = _cycle(REFERENCES, references[curve.label])
            [handles[curve.label]] = axes.plot(curve.x, curve.y, color=SOFT, linewidth=0.8, linestyle=dash, zorder=1.5)
            continue
        index = series[curve.label]
        colour = _cycle(PALETTE, index)
        marker = _marker(index) if len(curve.x) <= 16 else None
        dash = DASHES[index // len(PALETTE) % len(DASHES)] if marker else _cycle(DASHES, index)
        [handles[curve.label]] = axes.plot(
            curve.x, curve.y, color=colour, linewidth=1.2, linestyle=dash, marker=marker, markersize=3.2
        )
        if curve.low is not None and curve.high is not None:
            axes.fill_between(curve.x, curve.low, curve.high, color=colour, alpha=0.18, linewidth=0)
    axes.grid(visible=True)
    axes.set_axisbelow(True)
    axes.set_xlabel(panel.x_name)
    axes.set_ylabel(panel.y_name)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 2.5, 5, 10]))
    _number_columns(axes, panel)
    return handles


def draw_bars(axes: Axes, panel: Bars, series: Styles, inches: float) -> dict[str, Handle]:
    """Groups of bars with error bars, and a text for missing ones; returns the legend handle of every label."""
    handles: dict[str, Handle] = {}
    width = 0.82 / len(panel.series)
    for index, bars in enumerate(panel.series):
        offset = (index - (len(panel.series) - 1) / 2) * width
        present = [(i, value) for i, value in enumerate(bars.values) if value is not None]
        style = series[bars.label]
        handles[bars.label] = axes.bar(
            [i + offset for i, _ in present],
            [value - panel.base for _, value in present],
            width,
            bottom=panel.base,
            facecolor=_cycle(PALETTE, style),
            edgecolor=GROUND,
            hatch=_cycle(HATCHES, style),
            linewidth=0.4,
        )
        for i, (value, error) in enumerate(zip(bars.values, bars.errors, strict=True)):
            if value is None:
                where = (i + offset, panel.base)
                axes.text(*where, f" {panel.absent}", rotation=90, ha="center", va="bottom", fontsize=6, color=SOFT)
            elif error is not None:
                axes.errorbar(i + offset, value, error, color=TEXT, elinewidth=0.7, capsize=1.6, capthick=0.7)
    axes.axhline(panel.base, color=SOFT, linewidth=0.6)
    axes.grid(visible=True, axis="y")
    axes.set_axisbelow(True)
    axes.tick_params(axis="x", length=0)
    axes.set_xlim(-0.5, len(panel.groups) - 0.5)
    axes.set_ylabel(panel.y_name)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 2.5, 5, 10]))
    _name_columns(axes, range(len(panel.groups)), panel.groups, inches)
    return handles


def draw_scatter(axes: Axes, panel: Scatter, series: Styles) -> dict[str, Handle]:
    """Points with error bars, and their Pareto front; returns the legend handle of every label."""
    handles: dict[str, Handle] = {}
    by_label = {point.label: point for point in panel.points}
    front = [by_label[label] for label in panel.front]
    axes.plot([point.x for point in front], [point.y for point in front], color=SOFT, linewidth=0.8, linestyle=":")
    for point in panel.points:
        index = series[point.label]
        colour = _cycle(PALETTE, index)
        fill = colour if point.label in panel.front else GROUND
        axes.errorbar(point.x, point.y, point.y_error, point.x_error, fmt="none", ecolor=colour, elinewidth=0.7)
        [handles[point.label]] = axes.plot(
            point.x, point.y, color=colour, linestyle="", marker=_marker(index), markersize=4.5, markerfacecolor=fill
        )
    axes.grid(visible=True)
    axes.set_axisbelow(True)
    axes.set_xlabel(panel.x_name)
    axes.set_ylabel(panel.y_name)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10]))
    return handles


def names_height(names: Sequence[str], inches: float) -> float:
    """Height of the tick labels below a panel beyond one line, in inches."""
    texts, turned = _fitted(names, inches)
    if turned:
        return 0.1 + 0.75 * LETTER * max(len(line) for text in texts for line in text.split("\n"))
    return 0.12 * max(text.count("\n") for text in texts)


def _name_columns(axes: Axes, positions: Sequence[float], names: Sequence[str], inches: float) -> None:
    texts, turned = _fitted(names, inches)
    axes.set_xticks(positions, texts)
    if turned:
        for label in axes.get_xticklabels():
            label.set(rotation=40, ha="right", rotation_mode="anchor")


def _fitted(names: Sequence[str], inches: float) -> tuple[list[str], bool]:
    """Tick labels that fit below a panel, and whether they are rotated.

    Labels are wrapped to the width of a column, or rotated if a word is too long. If there are too many, only every
    n-th is kept.
    """
    letters = int(inches / len(names) / LETTER) - 1
    if all(name.lstrip("-").replace(".", "", 1).isdecimal() for name in names):
        step = ceil((max(map(len, names)) + 1.5) * len(names) * LETTER / inches)
        return [name if index % step == 0 else "" for index, name in enumerate(names)], False
    if letters > 0 and all(len(word) <= letters for name in names for word in name.split()):
        return [_folded(name, letters) for name in names], False
    step = ceil(len(names) * 0.14 / inches)
    return [_folded(name, 24) if index % step == 0 else "" for index, name in enumerate(names)], True


def _folded(name: str, letters: int) -> str:
    return "\n".join(wrap(name, letters)) or name


def _number_columns(axes: Axes, panel: Lines) -> None:
    """Ticks at the measured points if they are few and short, otherwise at round numbers."""
    points = sorted({x for curve in panel.curves for x in curve.x})
    if panel.log_x:
        axes.set_xscale("log", base=2)
    few = len(points) <= 8 and all(len(f"{point:g}") <= 5 for point in points)
    if few:
        axes.xaxis.set_major_locator(FixedLocator(points))
    elif not panel.log_x:
        integers = all(point == int(point) for point in points)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=integers, steps=[1, 2, 5, 10]))
    if panel.log_x or few:
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    axes.xaxis.set_minor_locator(NullLocator())


def _is_dark(scale: Scale, value: float) -> bool:
    norm, colours = scale
    red, green, blue, _ = colours(float(norm(value)))
    return 0.2126 * red**2.2 + 0.7152 * green**2.2 + 0.0722 * blue**2.2 < 0.18


def _marker(index: int) -> str:
    """The marker of a series; 64 series have distinct pairs of colour and marker."""
    return _cycle(MARKERS, index + index // len(PALETTE))


def _cycle(kinds: Sequence[T], index: int) -> T:
    return kinds[index % len(kinds)]
