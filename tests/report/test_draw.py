"""Drawings: the numbers are where they belong, marks stand on them, and nothing that may happen breaks them."""

import re
from dataclasses import replace
from importlib.resources import files
from itertools import combinations
from pathlib import Path
from xml.etree.ElementTree import fromstring

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from mtlbench.report.draw import COLUMN, PAGE, PRINTED, draw, numbered, pdf, svg
from mtlbench.report.figure import Curve, FigureResult, HeatMap, Lines, Panel, Point, Scatter, Series
from mtlbench.report.panels import PALETTE, cell_texts
from mtlbench.report.stored import read_stored
from mtlbench.reproduce.write import write
from report.drawings import BARS, HEAT, LINES, SCATTER, drawing
from report.tables import EVIL, MARKS


def only(*panels: Panel) -> FigureResult:
    return replace(drawing(), panels=panels)


def axes_of(figure: Figure, title: str) -> Axes:
    [axes] = [axes for axes in figure.axes if axes.get_title("left") == title]
    return axes


def mesh_of(axes: Axes) -> QuadMesh:
    [mesh] = [artist for artist in axes.collections if isinstance(artist, QuadMesh)]
    return mesh


def texts_of(markup: str) -> list[str]:
    return [" ".join("".join(e.itertext()).split()) for e in fromstring(markup).iter() if e.tag.endswith("}text")]


@pytest.fixture(scope="module")
def figure() -> Figure:
    drawn = draw(drawing())
    drawn.draw_without_rendering()
    return drawn


# -- numbers


def test_a_heat_maps_cells_hold_their_numbers_in_their_places(figure: Figure) -> None:
    axes = axes_of(figure, "coefficients")
    array = mesh_of(axes).get_array()
    assert np.array_equal(np.ma.filled(array, np.nan), [[0.25, 1.0, 1.5], [np.nan, 2.125, 0.5]], equal_nan=True)
    assert [label.get_text() for label in axes.get_xticklabels()] == ["cross", "field", "deep"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["click", "buy"]
    low, high = axes.get_ylim()
    assert low > high  # the first row on top
    places = {text.get_text(): text.get_position() for text in axes.texts}
    assert places == {
        "0.25": (0.5, 0.5),
        "1.00": (1.5, 0.5),
        "1.50": (2.5, 0.5),
        "–": (0.5, 1.5),
        "2.12": (1.5, 1.5),
        "0.50": (2.5, 1.5),
    }


def test_the_centre_divides_two_colours_and_distance_from_it_is_strength(figure: Figure) -> None:
    mesh = mesh_of(axes_of(figure, "coefficients"))
    red, _, blue, _ = (np.array(mesh.cmap(mesh.norm(value))) for value in (2.125, 1.0, -0.125, 1.0))
    assert red[0] > red[2] + 0.2
    assert blue[2] > blue[0] + 0.2
    assert np.ptp(mesh.cmap(mesh.norm(1.0))[:3]) < 0.02  # neither
    assert mesh.norm(1.0) - mesh.norm(0.5) == pytest.approx(mesh.norm(1.5) - mesh.norm(1.0))


def test_a_colour_is_one_number_in_all_heat_maps_that_show_the_same() -> None:
    low = replace(HEAT, title="low", values=((0.9, 1.0, 1.1),) * 2)
    other = replace(HEAT, title="other", value_name="share", centre=None, values=((0.0, 0.1, 0.2),) * 2)
    figure = draw(only(HEAT, low, other))
    norms = [mesh_of(axes_of(figure, title)).norm for title in ("coefficients", "low", "other")]
    assert (norms[0].vmin, norms[0].vmax) == (norms[1].vmin, norms[1].vmax) == (-0.125, 2.125)
    assert (norms[2].vmin, norms[2].vmax) == (0.0, 0.2)
    assert len(figure.axes) == 3 + 2  # one scale of colours for each quantity


def test_curves_bands_and_references_are_where_their_numbers_are(figure: Figure) -> None:
    axes = axes_of(figure, "width")
    ours, hostile, printed = axes.lines
    assert (list(ours.get_xdata()), list(ours.get_ydata())) == ([4, 8, 32], [0.61, 0.64, 0.63])
    assert list(hostile.get_ydata()) == [0.6, 0.605, 0.62]
    assert printed.get_linewidth() < ours.get_linewidth()
    assert printed.get_color() not in PALETTE
    [band] = axes.collections
    [path] = band.get_paths()
    corners = {(x, y) for x, y in path.vertices.tolist()}
    assert {(4, 0.6), (4, 0.62), (8, 0.63), (8, 0.65), (32, 0.62), (32, 0.64)} == corners
    assert axes.get_xscale() == "log"
    assert [label.get_text() for label in axes.get_xticklabels()] == ["4", "8", "32"]


def test_bars_stand_on_their_base_with_their_deviations(figure: Figure) -> None:
    axes = axes_of(figure, "functions")
    bars = [(bar.get_x() + bar.get_width() / 2, bar.get_y() + bar.get_height()) for bar in axes.patches]
    assert bars == [
        (pytest.approx(-0.205), pytest.approx(0.71)),
        (pytest.approx(0.205), pytest.approx(0.45)),
        (pytest.approx(1.205), pytest.approx(0.75)),
    ]
    assert {bar.get_y() for bar in axes.patches} == {0.5}
    whiskers = [c.lines[2][0].get_segments()[0].tolist() for c in axes.containers if hasattr(c, "has_yerr")]
    assert whiskers == [
        [[pytest.approx(-0.205), pytest.approx(0.70)], [pytest.approx(-0.205), pytest.approx(0.72)]],
        [[pytest.approx(1.205), pytest.approx(0.73)], [pytest.approx(1.205), pytest.approx(0.77)]],
    ]
    [hole] = axes.texts
    assert (hole.get_text().strip(), hole.get_position()) == ("not run", (pytest.approx(0.795), 0.5))


def test_points_have_their_whiskers_and_those_of_the_front_are_filled_and_joined(figure: Figure) -> None:
    axes = axes_of(figure, "tasks")
    front, *points = axes.lines
    assert front.get_xydata().tolist() == [[0.6, 0.8], [0.7, 0.7]]
    assert [point.get_xydata().tolist() for point in points] == [[[0.6, 0.8]], [[0.7, 0.7]], [[0.6, 0.7]]]
    filled = [point.get_markerfacecolor() == point.get_color() for point in points]
    assert filled == [True, True, False]
    across, up = (lines.get_segments()[0].tolist() for lines in axes.collections[:2])
    assert across == [[pytest.approx(0.59), 0.8], [pytest.approx(0.61), 0.8]]
    assert up == [[0.6, pytest.approx(0.78)], [0.6, pytest.approx(0.82)]]
    assert points[1].get_color() == axes_of(figure, "width").lines[0].get_color()  # MPA


def test_points_beyond_the_colours_differ_by_their_markers_and_have_those_of_their_lines() -> None:
    labels = [str(i) for i in range(3 * len(PALETTE))]
    points = tuple(Point(label=label, x=int(label), y=0.5) for label in labels)
    curves = tuple(Curve(label=label, x=(1, 2), y=(0.5, 0.6)) for label in labels)
    plane = Scatter(title="plane", x_name="x", y_name="y", points=points)
    lines = Lines(title="lines", x_name="x", y_name="y", curves=curves)
    figure = draw(only(lines, plane))
    looks = [(line.get_color(), line.get_marker()) for line in axes_of(figure, "plane").lines[1:]]
    assert len(set(looks)) == len(labels)
    assert looks == [(line.get_color(), line.get_marker()) for line in axes_of(figure, "lines").lines]


def test_a_label_looks_the_same_in_all_panels_and_once_in_the_legend(figure: Figure) -> None:
    line = axes_of(figure, "width").lines[0]
    bar = axes_of(figure, "functions").patches[0]
    assert to_rgba(line.get_color()) == bar.get_facecolor() == to_rgba(PALETTE[0])
    [legend] = figure.legends
    assert [" ".join(text.get_text().split()) for text in legend.get_texts()] == ["MPA", EVIL, "as printed", "DEPHN"]


def test_series_beyond_the_colours_differ_by_more_than_colour() -> None:
    curves = tuple(Curve(label=str(i), x=(1, 2), y=(i, i)) for i in range(3 * len(PALETTE)))
    panel = Lines(title="many", x_name="x", y_name="y", curves=curves)
    looks = [
        (line.get_color(), line.get_marker(), str(line.get_linestyle()), line._dash_pattern)
        for line in axes_of(draw(only(panel)), "many").lines
    ]
    assert len({str(look) for look in looks}) == len(curves)


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        ((0.1, 0.9), ["0.10", "0.90"]),
        ((0.701, 0.709), ["0.7010", "0.7090"]),
        ((120.0, 4300.0), ["120", "4300"]),
        ((3.0, 3.0), ["3.00", "3.00"]),
        ((0.0, 0.0), ["0.00", "0.00"]),
        ((-1.5, None), ["-1.50", "–"]),
    ],
)
def test_cells_have_as_many_digits_as_tell_them_apart(values: tuple[float | None, ...], texts: list[str]) -> None:
    panel = replace(HEAT, x=("a", "b"), y=("c",), values=(values,), centre=None)
    assert list(cell_texts(panel).values()) == texts


# -- what stands on it


def test_marks_title_and_what_is_missing_stand_on_the_drawing_as_text() -> None:
    texts = texts_of(svg(drawing()))
    assert set(MARKS) <= set(texts)
    assert "Made up $x_1$ & <b>drawn</b>" in texts
    assert "Not drawn, since its runs are missing: DEPHN with mul_exp on MPA" in texts
    assert {"2.12", "click", "buy", "add cos", "embedding width", "as printed"} <= set(texts)


def test_without_its_title_a_drawing_still_has_its_marks() -> None:
    texts = [text.get_text() for text in draw(drawing(), titled=False).texts]
    assert texts == list(MARKS)


def test_real_data_bear_no_mark() -> None:
    texts = texts_of(svg(replace(only(HEAT), marks=())))
    assert "2.12" in texts
    assert not [text for text in texts if "SIMULATED" in text or "SCALED" in text]


def test_nothing_lies_on_anything_else(figure: Figure) -> None:
    """Panels below the marks, the legend below the panels, all of it on the sheet."""
    boxes = [box for axes in figure.axes if (box := axes.get_tightbbox()) is not None]
    header = min(text.get_window_extent().y0 for text in figure.texts)
    legend = figure.legends[0].get_window_extent()
    assert max(box.y1 for box in boxes) <= header
    assert min(box.y0 for box in boxes) >= legend.y1
    assert not [pair for pair in combinations(boxes, 2) if pair[0].overlaps(pair[1])]
    sheet = figure.bbox
    for box in (*boxes, legend):
        assert sheet.x0 <= box.x0
        assert box.x1 <= sheet.x1
        assert sheet.y0 <= box.y0


def test_widths_are_those_of_a_printed_column_and_page() -> None:
    assert draw(only(LINES)).get_figwidth() == COLUMN
    assert draw(only(LINES, BARS)).get_figwidth() == PAGE
    many = tuple(f"function {i}" for i in range(8))
    pair = tuple(Series(label=label, values=(0.6,) * 8, errors=(0.01,) * 8) for label in ("one", "two"))
    assert draw(only(replace(BARS, groups=many, series=pair))).get_figwidth() == PAGE


@pytest.mark.parametrize(("panels", "inches"), [((LINES,), 3.33), ((LINES, BARS), 7.0)])
def test_a_pdf_is_as_wide_as_it_is_printed_and_embeds_truetype(panels: tuple[Panel, ...], inches: float) -> None:
    content = pdf(only(*panels))
    [box] = re.findall(rb"/MediaBox \[ 0 0 ([\d.]+) ", content)
    assert float(box) == pytest.approx(72 * inches, abs=0.01)
    assert b"/FontFile2" in content
    assert b"STIXGeneral" in content
    assert b"/Type3" not in content
    assert pdf(only(*panels)) == content


def test_text_of_a_pdf_has_eight_points_and_its_title_is_the_captions() -> None:
    figure = draw(only(LINES), titled=False, style=PRINTED)
    figure.draw_without_rendering()
    [axes] = figure.axes
    [legend] = figure.legends
    texts = [*axes.get_xticklabels(), *axes.get_yticklabels(), axes.xaxis.label, axes.yaxis.label, *legend.get_texts()]
    assert {text.get_fontsize() for text in texts} == {8.0}
    assert [text.get_text() for text in figure.texts] == list(MARKS)


def test_eight_small_heat_maps_stand_four_in_a_row() -> None:
    figure = draw(only(*(replace(HEAT, title=str(i)) for i in range(8))))
    figure.draw_without_rendering()
    tops = [round(axes_of(figure, str(i)).get_position().y1, 3) for i in range(8)]
    assert len(set(tops[:4])) == len(set(tops[4:])) == 1
    assert tops[0] > tops[4]


# -- whatever may happen

ODD: dict[str, Panel] = {
    "one cell": replace(HEAT, x=("a",), y=("b",), values=((3.0,),), centre=None),
    "one cell at the centre": replace(HEAT, x=("a",), y=("b",), values=((1.0,),)),
    "no numbers": replace(HEAT, x=("a",), y=("b",), values=((None,),)),
    "many cells": HeatMap(
        title="many",
        x_name="x",
        y_name="y",
        value_name="v",
        x=tuple(f"a rather long name {i}" for i in range(48)),
        y=tuple(map(str, range(40))),
        values=tuple(tuple(float(i * j) for i in range(48)) for j in range(40)),
    ),
    "one point": Lines(title="t", x_name="x", y_name="y", curves=(Curve(label="_a $ b", x=(1,), y=(0.5,)),)),
    "one point, logarithm": Lines(
        title="t", x_name="x", y_name="y", curves=(Curve(label="a", x=(1,), y=(0.5,)),), log_x=True
    ),
    "flat": Lines(title="t", x_name="x", y_name="y", curves=(Curve(label="a", x=(1, 2), y=(0.5, 0.5)),)),
    "one place": replace(SCATTER, points=tuple(replace(p, x=0.5, y=0.5) for p in SCATTER.points)),
    "no bar": replace(BARS, groups=("a",), series=(Series(label="s", values=(None,), errors=(None,)),)),
    "one bar": replace(BARS, groups=("a",), series=(Series(label="s", values=(0.5,), errors=(0.0,)),)),
    "long": replace(
        BARS,
        title="long " * 60,
        groups=("an unbreakable " + "w" * 60, "b" * 40),
        series=(Series(label="label " * 40, values=(0.5, 0.6), errors=(None, None)),),
    ),
}


@pytest.mark.parametrize("panel", ODD.values(), ids=list(ODD))
def test_odd_panels_are_drawn_and_say_their_marks(panel: Panel) -> None:
    texts = texts_of(svg(only(panel)))
    assert " ".join(texts).count(MARKS[0]) == 1
    assert panel.title.split()[0] in " ".join(texts)


def test_where_nothing_ran_it_says_so() -> None:
    assert "Nothing was drawn." in texts_of(svg(replace(only(), missing=("all",))))


def test_names_of_many_columns_are_thinned_to_what_can_be_read() -> None:
    figure = draw(only(ODD["many cells"]))
    axes = axes_of(figure, "many")
    named = [label.get_text() for label in axes.get_xticklabels() if label.get_text()]
    assert 10 <= len(named) <= PAGE / 0.13
    assert len(axes.get_yticklabels()) <= 36
    assert not axes.texts


def test_numbers_below_a_heat_map_stay_level_and_are_thinned() -> None:
    grid = tuple(f"{i / 10:g}" for i in range(11))
    panels = [
        replace(HEAT, title=str(i), x=grid, y=grid[::-1], values=tuple((0.1 * j,) * 11 for j in range(11)))
        for i in range(8)
    ]
    labels = axes_of(draw(only(*panels)), "7").get_xticklabels()
    assert [label.get_text() for label in labels if label.get_text()] == ["0", "0.3", "0.6", "0.9"]
    assert {label.get_rotation() for label in labels} == {0}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: replace(HEAT, values=((1.0, 2.0, 3.0),)), "1 rows of values, 2 names"),
        (lambda: replace(HEAT, values=((1.0, 2.0), (1.0, 2.0))), "2 values, 3 columns"),
        (lambda: replace(HEAT, values=((1.0, 2.0, float("nan")),) * 2), "nan cannot be drawn"),
        (lambda: Curve(label="c", x=(1, 2), y=(1,)), "1 values at 2 points"),
        (lambda: Curve(label="c", x=(1,), y=(float("inf"),)), "inf cannot be drawn"),
        (lambda: Curve(label="c", x=(1,), y=(1,), low=(0,)), "a band has two sides"),
        (lambda: replace(LINES, curves=(Curve(label="c", x=(0,), y=(1,)),)), "no logarithm of 0"),
        (lambda: replace(LINES, curves=LINES.curves[:1] * 2), "two curves of one label"),
        (lambda: replace(BARS, groups=("a",)), "2 bars, 1 groups"),
        (lambda: Series(label="s", values=(1.0,), errors=()), "0 errors, 1 bars"),
        (lambda: Point(label="p", x=float("nan"), y=1.0), "nan cannot be drawn"),
        (lambda: replace(SCATTER, points=()), "no points"),
        (lambda: replace(SCATTER, points=SCATTER.points[:1] * 2), "two points of one label"),
        (lambda: replace(SCATTER, front=("?",)), "is not among"),
    ],
)
def test_what_cannot_be_drawn_is_refused(make: object, message: str) -> None:
    assert callable(make)
    with pytest.raises(AssertionError, match=message):
        make()


# -- files


def test_files_are_the_same_to_the_byte_and_the_numbers_come_back(tmp_path: Path) -> None:
    first = write(drawing(), tmp_path / "a")
    second = write(drawing(), tmp_path / "b")
    assert [path.name for path in first] == ["made_fig1.png", "made_fig1.svg", "made_fig1.pdf", "made_fig1.json"]
    assert [path.read_bytes() for path in first[1:]] == [path.read_bytes() for path in second[1:]]
    assert read_stored(first[3]) == drawing()
    assert first[0].read_bytes()[:4] == b"\x89PNG"
    width, height = (int.from_bytes(first[0].read_bytes()[i : i + 4]) for i in (16, 20))
    assert width == PAGE * 200
    assert height == pytest.approx(draw(drawing()).get_figheight() * 200, abs=1)
    assert "<image" not in first[1].read_text(encoding="utf-8")


def test_ids_are_the_drawings_own_and_do_not_hang_on_hashes_of_its_layout() -> None:
    first = svg(drawing())
    assert 'clip-path="url(#made_fig1-' in first
    assert not re.findall(r"[#\"][hmp][0-9a-f]{10}\b", first)
    one = '<clipPath id="p0123456789"/><path clip-path="url(#p0123456789)"/><path id="mffffffffff"/>'
    other = one.replace("0123456789", "abcdefabcd").replace("mffffffffff", "m0000000000")
    expected = '<clipPath id="x-0"/><path clip-path="url(#x-0)"/><path id="x-1"/>'
    assert numbered(one, "x") == numbered(other, "x") == expected


# -- colours

KINDS_OF_SIGHT = {  # Machado, Oliveira, Fernandes, IEEE TVCG 2009, severity 1: what is seen of linear red, green, blue
    "full": np.eye(3),
    "no red": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "no green": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "no blue": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


def _linear(colour: str) -> np.ndarray:
    parts = np.array(to_rgba(colour)[:3])
    return np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)


def _lab(linear: np.ndarray) -> np.ndarray:
    """CIE L*a*b*, under daylight."""
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    x, y, z = np.cbrt(to_xyz @ np.clip(linear, 0, 1) / np.array([0.9505, 1, 1.089]))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def _palettes() -> list[list[str]]:
    """Light and dark, of the page's style sheet."""
    style = (files("mtlbench.report") / "page.css").read_text(encoding="utf-8")
    lines = [line for line in style.splitlines() if "--c0: #" in line]
    return [re.findall(r"--c\d: (#\w{6});", line) for line in lines]


def test_page_and_drawing_have_the_same_colours() -> None:
    light, dark = _palettes()
    assert light == list(PALETTE)
    assert len(dark) == len(light)


@pytest.mark.parametrize("palette", _palettes(), ids=["light", "dark"])
@pytest.mark.parametrize("sight", KINDS_OF_SIGHT)
def test_colours_are_told_apart_by_all_kinds_of_sight(palette: list[str], sight: str) -> None:
    """Ten units of the L*a*b* space are a difference at a glance; the first five, which most figures use, have 25."""
    seen = [_lab(np.array(KINDS_OF_SIGHT[sight]) @ _linear(colour)) for colour in palette]
    apart = {(i, j): float(np.linalg.norm(seen[i] - seen[j])) for i, j in combinations(range(len(seen)), 2)}
    assert min(apart.values()) > 18
    assert min(distance for (_, j), distance in apart.items() if j < 5) > 25


@pytest.mark.parametrize(("palette", "ground"), list(zip(_palettes(), ["#ffffff", "#1b1e23"], strict=True)))
def test_colours_can_be_read_as_text(palette: list[str], ground: str) -> None:
    """Contrast of 4.5 to 1, since rows are named by numbers in these colours (WCAG 2.1, 1.4.3)."""
    weights = np.array([0.2126, 0.7152, 0.0722])
    for colour in palette:
        dark, light = sorted((weights @ _linear(colour), weights @ _linear(ground)))
        assert (light + 0.05) / (dark + 0.05) >= 4.4, colour
