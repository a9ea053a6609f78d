"""What figures show, by hand-made numbers."""

from dataclasses import replace
from itertools import pairwise
from math import dist

import pytest

from mtlbench.report.plots import LABEL_DISTANCE, Axes, _apart, _beside, figures, front, mean_curves
from report.tables import example


def test_front_is_what_no_other_point_beats() -> None:
    points = {0: (0.1, 0.9), 1: (0.5, 0.5), 2: (0.4, 0.4), 3: (0.9, 0.1), 4: (0.5, 0.4), 5: (0.1, 0.9)}
    assert front(points) == [0, 5, 1, 3]  # equal points do not beat each other


def test_curves_are_means_as_far_as_all_seeds_went() -> None:
    result = example()
    run = result.rows[0].runs[0]
    runs = (replace(run, curve=(0.5, 0.7, 0.9)), replace(run, curve=(0.7, 0.8)), replace(run, curve=()))
    curves = mean_curves(replace(result, rows=(replace(result.rows[0], runs=runs),)), "Ali-CCP")
    assert curves == {0: pytest.approx((0.6, 0.75))}


def test_axes_span_the_drawing() -> None:
    axes = Axes(x_ticks=(1, 3), y_ticks=(0.5, 0.6, 0.7))
    (left, bottom), (right, top) = axes.place(1, 0.5), axes.place(3, 0.7)
    assert left < right
    assert top < bottom
    assert axes.place(2, 0.6) == pytest.approx(((left + right) / 2, (top + bottom) / 2))


def test_labels_do_not_lie_on_each_other_nor_leave_the_drawing() -> None:
    moved = sorted(_apart(dict.fromkeys(range(6), 235.0)).values())
    assert max(moved) <= 240
    assert all(b - a >= LABEL_DISTANCE - 1e-9 for a, b in pairwise(moved))
    assert _apart({0: 50.0, 1: 100.0}) == {0: 50.0, 1: 100.0}


def test_a_number_stands_where_there_is_room() -> None:
    right_and_above = [(120.0, 90.0), (100.0, 80.0), (120.0, 110.0)]
    x, y = _beside((100.0, 100.0), right_and_above)
    assert min(dist((x, y), other) for other in right_and_above) >= LABEL_DISTANCE
    assert dist((x, y), (100.0, 100.0)) == pytest.approx(LABEL_DISTANCE)
    assert _beside((100.0, 100.0), [])[0] > 100 > _beside((100.0, 100.0), [])[1]


def test_what_never_ran_has_no_figure() -> None:
    result = example()
    assert [figure.title for figure in figures(result)] == [
        "Ali-CCP: learning curves",
        "Ali-CCP: click against buy_now",
    ]
    assert figures(replace(result, columns=(), rows=())) == []


def test_one_epoch_and_equal_values_are_drawn() -> None:
    result = example()
    rows = tuple(replace(r, runs=tuple(replace(run, curve=(0.5,)) for run in r.runs)) for r in result.rows)
    svg = figures(replace(result, rows=rows))[0].svg
    assert svg.count('class="dot') == 3
    assert "nan" not in svg
