"""Draws a measured figure with matplotlib: PNG, SVG with selectable text, and PDF for papers.

``pyplot`` is not used, because of its global state. Marks (simulated, scaled) and missing parts are included in the
image, since it may be copied without its page. Series differ in colour, and also in marker, dash or hatch.
"""

import re
from collections.abc import Iterable, Sequence
from io import BytesIO, StringIO
from math import ceil
from textwrap import fill, wrap
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from mtlbench.report.figure import Bars, FigureResult, HeatMap, Lines, Panel, Scatter
from mtlbench.report.panels import (
    GROUND,
    LETTER,
    LINE,
    SOFT,
    TEXT,
    WARNING,
    Handle,
    draw_bars,
    draw_heat_map,
    draw_lines,
    draw_scatter,
    has_numbers,
    names_height,
    scale_of,
    styles_of,
)

COLUMN, PAGE = 3.33, 7.0
"""Widths of one and of two printed columns, in inches."""
HASHED = re.compile(r'id="([hmp][0-9a-f]{10})"')
"""Pattern of ids of hatches, markers and clipping paths."""
MARGIN = 0.75
"""Width of a panel's vertical axis and of its colour bar, in inches."""
WIDE = 12
"""A panel with more bars, or heat map columns, than this takes the whole width of the page."""
LONGEST = 48
"""Maximum number of characters in one line of the legend."""
STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",  # shipped with matplotlib, so the same on every machine
    "font.size": 7.5,
    "axes.titlesize": 8,
    "axes.titlelocation": "left",
    "axes.labelsize": 7.5,
    "axes.edgecolor": SOFT,
    "axes.labelcolor": TEXT,
    "axes.titlecolor": TEXT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "axes.formatter.useoffset": False,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "grid.color": LINE,
    "grid.linewidth": 0.5,
    "text.color": TEXT,
    "text.parse_math": False,  # labels are literal, including dollar signs
    "legend.fontsize": 7.5,
    "hatch.linewidth": 0.5,
    "hatch.color": GROUND,
    "figure.facecolor": GROUND,
    "axes.facecolor": GROUND,
    "savefig.facecolor": "auto",
    "savefig.dpi": 200,
    "savefig.bbox": None,
    "svg.fonttype": "none",
}
PRINTED: dict[Any, Any] = STYLE | {
    "font.family": "STIXGeneral",  # shipped with matplotlib too; looks like Times
    "pdf.fonttype": 42,  # embeds TrueType: publishers reject Type 3, matplotlib's default
    **dict.fromkeys(
        ["font.size", "axes.titlesize", "axes.labelsize", "xtick.labelsize", "ytick.labelsize", "legend.fontsize"], 8
    ),
}
"""Style of a figure in a paper: a serif font at 8 points."""


def png(result: FigureResult) -> bytes:
    """The figure as a PNG image."""
    file = BytesIO()
    with matplotlib.rc_context(STYLE):
        draw(result).savefig(file, format="png")
    return file.getvalue()


def svg(result: FigureResult, *, titled: bool = True) -> str:
    """The figure as SVG with selectable text; ids are unique to the figure, so that a page can contain several.

    The output is deterministic.
    """
    file = StringIO()
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": result.name}):
        draw(result, titled=titled).savefig(file, format="svg", metadata={"Date": None, "Title": result.title})
    return numbered(file.getvalue(), result.name)


def pdf(result: FigureResult) -> bytes:
    """The figure as PDF for a paper: with embedded fonts and marks, without a title, which is in the caption.

    The output is deterministic.
    """
    file = BytesIO()
    with matplotlib.rc_context(PRINTED):
        draw(result, titled=False, style=PRINTED).savefig(
            file, format="pdf", metadata={"CreationDate": None, "Title": result.title}
        )
    return file.getvalue()


def numbered(text: str, name: str) -> str:
    """Renumber the ids, which matplotlib derives from layout numbers whose last digits differ between processes."""
    ids = list(dict.fromkeys(HASHED.findall(text)))
    numbers = {id_: f"{name}-{index}" for index, id_ in enumerate(ids)}
    return re.sub("|".join(ids), lambda match: numbers[match[0]], text) if ids else text


def draw(result: FigureResult, *, titled: bool = True, style: dict[Any, Any] = STYLE) -> Figure:
    """Draw title and marks, all panels, and one legend below them; a note if there are no panels.

    Args:
        result: the figure to draw.
        titled: whether to draw title, source and missing parts; marks are always drawn.
        style: matplotlib's settings.
    """
    with matplotlib.rc_context(style):
        rows = _rows(result.panels)
        width = COLUMN if len(result.panels) == 1 and not _is_wide(result.panels[0]) else PAGE
        columns = max(map(len, rows), default=1)
        heights = [max(_height(panel, width, columns) for panel in row) for row in rows]
        header = _header(result, width, titled)
        series, references = styles_of(result.panels)
        above = sum(_line_height(size) for _, size, _, _ in header) + 0.1
        below = _legend_height([*series, *references], width)
        height = above + sum(heights) + below
        inside = ConstrainedLayoutEngine(rect=(0, below / height, 1, 1 - (above + below) / height), hspace=0.06)
        figure = Figure(figsize=(width, height), layout=inside)
        _write_header(figure, header)
        if rows:
            handles = _draw_panels(figure, result.panels, rows, heights)
            _write_legend(figure, handles, width)
        return figure


def _draw_panels(
    figure: Figure, panels: Sequence[Panel], rows: Sequence[Sequence[Panel]], heights: Sequence[float]
) -> dict[str, Handle]:
    series, references = styles_of(panels)
    columns = max(map(len, rows))
    grid = figure.add_gridspec(len(rows), columns, height_ratios=heights)
    handles: dict[str, Handle] = {}
    scales: dict[tuple[str, float | None], tuple[QuadMesh, list[Axes]]] = {}
    for i, row in enumerate(rows):
        for j, panel in enumerate(row):
            inches = _inches(panel, figure.get_figwidth(), columns)
            axes = figure.add_subplot(grid[i, :] if _is_wide(panel) else grid[i, j])
            axes.set_title("\n".join(wrap(panel.title, int((inches + 0.5 * MARGIN) / LETTER / 1.1))))
            drawn: dict[str, Handle] = {}
            if isinstance(panel, HeatMap):
                mesh = draw_heat_map(axes, panel, scale_of(panel, panels), inches)
                if has_numbers(panel):
                    scales.setdefault((panel.value_name, panel.centre), (mesh, []))[1].append(axes)
            elif isinstance(panel, Lines):
                drawn = draw_lines(axes, panel, series, references)
            elif isinstance(panel, Scatter):
                drawn = draw_scatter(axes, panel, series)
            else:
                drawn = draw_bars(axes, panel, series, inches)
            for label, handle in drawn.items():
                handles.setdefault(label, handle)
    for (name, _), (mesh, axes_of_scale) in scales.items():
        thin = max(20.0, 10 * sum(heights) * (len(axes_of_scale) > 1))  # a tenth of an inch, independent of the height
        bar = figure.colorbar(mesh, ax=axes_of_scale, aspect=thin, pad=0.02, fraction=0.05)
        bar.set_label(name)
        bar.outline.set_visible(False)
        assert bar.solids is not None
        bar.solids.set(rasterized=False, edgecolor="face")
    return handles


def _rows(panels: Sequence[Panel]) -> list[list[Panel]]:
    """Panels by rows, in reading order; a wide panel takes a whole row."""
    narrow = [panel for panel in panels if not _is_wide(panel)]
    small = all(isinstance(panel, HeatMap) and max(map(len, panel.y)) <= 8 for panel in narrow)
    columns = 4 if len(narrow) > 6 and small else 2 if len(narrow) in (2, 4) else 3
    rows: list[list[Panel]] = []
    for panel in panels:
        if rows and len(rows[-1]) < columns and not _is_wide(panel) and not _is_wide(rows[-1][0]):
            rows[-1].append(panel)
        else:
            rows.append([panel])
    return rows


def _is_wide(panel: Panel) -> bool:
    if isinstance(panel, HeatMap):
        return len(panel.x) > WIDE
    return isinstance(panel, Bars) and len(panel.groups) * len(panel.series) > WIDE


def _inches(panel: Panel, width: float, columns: int) -> float:
    """Approximate width of a panel's axes."""
    return (width if _is_wide(panel) else width / columns) - MARGIN


def _height(panel: Panel, width: float, columns: int) -> float:
    """Height of a panel with its title and labels, in inches."""
    inches = _inches(panel, width, columns)
    if isinstance(panel, HeatMap):
        cell = min(max(inches / len(panel.x), 0.1), 0.2)
        return min(max(0.8, cell * len(panel.y)), 5.5) + 0.6 + names_height(panel.x, inches)
    if isinstance(panel, Bars):
        return 1.9 + names_height(panel.groups, inches)
    return 2.2


def _header(result: FigureResult, width: float, titled: bool) -> list[tuple[str, float, str, str]]:
    """Lines of text above the panels, each with size in points, weight and colour."""
    source = f"{result.paper}. {result.place}. {result.name}"
    missing = "Not drawn, since its runs are missing: " + "; ".join(result.missing)
    kinds = [(result.title, 9.0, "bold", TEXT), (source, 7.0, "normal", SOFT)] if titled else []
    kinds += [(mark, 8.0, "bold", WARNING) for mark in result.marks]
    kinds += [] if result.panels else [("Nothing was drawn.", 8.0, "normal", TEXT)]
    kinds += [(missing, 7.0, "normal", SOFT)] if result.missing and titled else []
    return [
        (line, size, weight, colour)
        for text, size, weight, colour in kinds
        for line in wrap(text, int(width / LETTER * 7 / size / (1.1 if weight == "bold" else 1)))
    ]


def _write_header(figure: Figure, header: Sequence[tuple[str, float, str, str]]) -> None:
    height = figure.get_figheight()
    top = height - 0.05
    for text, size, weight, colour in header:
        where = (0.06 / figure.get_figwidth(), top / height)
        figure.text(*where, text, fontsize=size, fontweight=weight, color=colour, va="top")
        top -= _line_height(size)


def _line_height(size: float) -> float:
    return size * 1.35 / 72


def _legend_columns(labels: Iterable[str], width: float) -> int:
    longest = min(max(map(len, labels)), LONGEST)
    return max(int(width / (0.5 + 1.08 * LETTER * longest)), 1)


def _legend_height(labels: Sequence[str], width: float) -> float:
    if not labels:
        return 0.0
    lines = max(len(wrap(label, LONGEST)) for label in labels)
    return 0.06 + 0.165 * lines * ceil(len(labels) / _legend_columns(labels, width))


def _write_legend(figure: Figure, handles: dict[str, Handle], width: float) -> None:
    if not handles:
        return
    figure.legend(
        [*handles.values()],  # pyright: ignore[reportArgumentType]  # a container of bars is a valid legend handle
        [fill(label, LONGEST) for label in handles],
        loc="lower center",
        ncols=_legend_columns(handles, width),
        frameon=False,
        borderaxespad=0.3,
        borderpad=0,
        labelspacing=0.35,
        handlelength=2.6,
        columnspacing=1.3,
    ).set_in_layout(False)
