"""Scales: hand numbers, weights as repetition, and the same bits however rows are divided."""

from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest

from mtlbench.data import numbers
from mtlbench.data.numbers import Scale, allowed, compressed, expanded, fit_scale, number_matrix
from mtlbench.schema import Field

X = Field(name="x", kind="number")
PAIR = Field(name="pair", kind="number", width=2)


def test_hand_numbers() -> None:
    scale = fit_scale(X, [(pa.array([2.0, 4.0, None, 100.0, 6.0]), np.array([1, 1, 1, 0, 1]))])
    assert scale.mean.tolist() == [4.0]
    np.testing.assert_allclose(scale.deviation, [np.sqrt(8 / 3)], rtol=1e-15)  # population: divided by 3, not 2
    values, missing = number_matrix(X, pa.array([4.0, None, 4 + np.sqrt(8 / 3)]))
    np.testing.assert_allclose(scale.apply(values, missing), [[0], [0], [1]], atol=1e-7)


def test_compressed_numbers_by_hand() -> None:
    """ln 1 = 0, ln e = 1, ln e^3 = 3, with the sign of the number; the scale is that of what they become."""
    counts = pa.array([0.0, np.e - 1, 1 - np.e, np.e**3 - 1, None])
    tail = Field(name="x", kind="number", compress=True)
    values, missing = number_matrix(tail, counts)
    np.testing.assert_allclose(values[:, 0], [0, 1, -1, 3, 0], rtol=1e-15)
    assert missing[:, 0].tolist() == [False] * 4 + [True]
    scale = fit_scale(tail, [(counts, np.ones(5, int))])
    np.testing.assert_allclose([*scale.mean, *scale.deviation], [0.75, np.std([0, 1, -1, 3])], rtol=1e-15)
    np.testing.assert_allclose(expanded(compressed(np.array([-3.0, 0, 2e6]))), [-3, 0, 2e6], rtol=1e-12)
    assert allowed(tail, Scale(np.zeros(1), np.full(1, 2.0**-63)), 0).startswith("-1.71828 to 1.71828, so that,")


def test_weights_repeat_rows() -> None:
    values, times = np.array([1.0, 5.0, 7.0]), np.array([3, 1, 2])
    weighted = fit_scale(X, [(pa.array(values), times)])
    repeated = np.repeat(values, times)
    np.testing.assert_allclose([*weighted.mean, *weighted.deviation], [repeated.mean(), repeated.std()], rtol=1e-14)


def test_parts_and_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    values, uses = random.lognormal(3, 2, 1000), random.integers(0, 3, 1000)
    monkeypatch.setattr(numbers, "CHUNK", 64)
    cuts = [[0, 1000], [0, 1, 63, 64, 65, 700, 1000], [0, *range(7, 1000, 13), 1000]]
    scales = [fit_scale(X, [(pa.array(values[a:b]), uses[a:b]) for a, b in pairwise(cut)]) for cut in cuts]
    assert len({(scale.mean.tobytes(), scale.deviation.tobytes()) for scale in scales}) == 1
    repeated = np.repeat(values, uses)
    np.testing.assert_allclose([*scales[0].mean, *scales[0].deviation], [repeated.mean(), repeated.std()], rtol=1e-12)
    pairs = np.stack([values, 3 * values + 1], axis=1).tolist()
    wide = [fit_scale(PAIR, [(pa.array(pairs[a:b]), uses[a:b]) for a, b in pairwise(cut)]) for cut in cuts]
    assert len({(scale.mean.tobytes(), scale.deviation.tobytes()) for scale in wide}) == 1
    np.testing.assert_allclose(wide[0].mean, [repeated.mean(), 3 * repeated.mean() + 1], rtol=1e-12)
    np.testing.assert_allclose(wide[0].deviation, [repeated.std(), 3 * repeated.std()], rtol=1e-12)


def test_lists_of_components() -> None:
    values, missing = number_matrix(PAIR, pa.array([[1.0, None], None, [3.0, 4.0]]))
    assert values.tolist() == [[1, 0], [0, 0], [3, 4]]
    assert missing.tolist() == [[False, True], [True, True], [False, False]]
    with pytest.raises(ValueError, match="width 2 was read with 3 components in 2 rows"):
        number_matrix(PAIR, pa.array([[1.0], [2.0, 3.0]]))


@pytest.mark.parametrize("constant", [[0.1] * 7, [0.1 + 0.2, 0.3, 0.3], [1.7e18] * 3, [0.0, 0.0], [None, None]])
def test_a_constant_is_zero_whatever_else_is_scored(constant: list[float | None]) -> None:
    """Up to rounding: 0.1 + 0.2 is not 0.3. A component that no training row holds is one of these too."""
    scale = fit_scale(X, [(pa.array(constant, pa.float64()), np.ones(len(constant), int))])
    assert scale.deviation.tolist() == [0]
    assert scale.apply(*number_matrix(X, pa.array([constant[0], None, 0.6], pa.float64()))).tolist() == [[0], [0], [0]]


def test_large_numbers_that_differ_little_are_standardised() -> None:
    """Nanoseconds since 1970: float64 holds every 256th of them, so their deviation of 9,000 is known to 1 %."""
    random = np.random.default_rng(0)
    whole = 1_700_000_000_000_000_000 + np.round(random.normal(0, 9000, 200_000)).astype(np.int64)
    scale = fit_scale(X, [(pa.array(whole), np.ones(len(whole), int))])
    exact = (whole - whole[0]).astype(np.float64)
    np.testing.assert_allclose(scale.deviation, exact.std(), rtol=1e-3)
    found = scale.apply(*number_matrix(X, pa.array(whole)))[:, 0]
    assert np.abs(found - (exact - exact.mean()) / exact.std()).max() < 0.05


def test_a_value_that_no_training_row_uses_has_no_part_in_the_scale() -> None:
    values, uses = np.array([1.0, 2.0, 1.7e308, 4.0, -1e300]), np.array([1, 2, 0, 1, 0])
    scale = fit_scale(X, [(pa.array(values), uses)])
    without = fit_scale(X, [(pa.array([1.0, 2.0, 4.0]), np.array([1, 2, 1]))])
    np.testing.assert_allclose([*scale.mean, *scale.deviation], [*without.mean, *without.deviation], rtol=1e-15)


def test_limits_leave_room_for_the_square() -> None:
    scale = fit_scale(X, [(pa.array([-1.0, 1.0]), np.ones(2, int))])
    assert scale.limits[1].tolist() == [2.0**63]
    assert scale.unfit(np.array([[1e18], [1e19], [-1e300]])).tolist() == [[False], [True], [True]]
    assert np.isfinite(scale.apply(np.array([[2.0**63]]), np.array([[False]])) ** 2).all()
    assert Scale.unfitted(1).unfit(np.array([[3.4e38], [3.5e38]])).tolist() == [[False], [True]]


def test_values_that_are_not_finite_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match="field 'x' was read with values that are not finite, the first of them inf"):
        fit_scale(X, [(pa.array([1.0, float("inf")]), np.ones(2, int))])
