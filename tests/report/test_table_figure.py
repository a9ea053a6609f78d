"""The figure of a table, by hand-made numbers."""

from dataclasses import replace

import pytest

from mtlbench.report.draw import svg
from mtlbench.report.figure import Lines, Scatter
from mtlbench.report.table_figure import mean_curves, pareto_front, table_figure
from report.tables import EVIL, MARKS, example


def test_the_pareto_front_is_what_no_other_point_beats() -> None:
    points = {"0": (0.1, 0.9), "1": (0.5, 0.5), "2": (0.4, 0.4), "3": (0.9, 0.1), "4": (0.5, 0.4), "5": (0.1, 0.9)}
    assert pareto_front(points) == ["0", "5", "1", "3"]  # equal points do not beat each other


def test_curves_are_means_as_far_as_all_seeds_went() -> None:
    result = example()
    run = result.rows[0].runs[0]
    runs = (replace(run, curve=(0.5, 0.7, 0.9)), replace(run, curve=(0.7, 0.8)), replace(run, curve=()))
    curves = mean_curves(replace(result, rows=(replace(result.rows[0], runs=runs),)), "Ali-CCP")
    assert curves == {"DNN": pytest.approx((0.6, 0.75))}


def test_a_panel_of_curves_and_one_of_the_first_two_tasks() -> None:
    figure = table_figure(example())
    assert figure is not None
    assert figure.marks == MARKS
    curves, plane = figure.panels
    assert isinstance(curves, Lines)
    assert (curves.title, [curve.label for curve in curves.curves]) == (
        "Ali-CCP: learning curves",
        ["DNN", "MM_oE", EVIL],
    )
    assert (curves.curves[1].x, curves.curves[1].y) == ((1, 2), (0.61, 0.71))
    assert isinstance(plane, Scatter)
    assert plane.title == "Ali-CCP: click against buy_now"
    dnn, mmoe = plane.points  # the others lack one of the two
    assert (dnn.x, dnn.y, dnn.x_error, dnn.y_error) == (0.7034, 0.6123, 0.0027, 0.0027)
    assert (mmoe.label, mmoe.y_error) == ("MM_oE", None)
    assert plane.front == ("DNN", "MM_oE")


def test_what_never_ran_has_no_figure() -> None:
    assert table_figure(replace(example(), columns=(), rows=())) is None


def test_one_epoch_and_equal_values_are_drawn() -> None:
    result = example()
    rows = tuple(replace(r, runs=tuple(replace(run, curve=(0.5,)) for run in r.runs)) for r in result.rows)
    figure = table_figure(replace(result, rows=rows))
    assert figure is not None
    assert "nan" not in svg(figure)
